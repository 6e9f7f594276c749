/** The SPA's SDK for tokenbroker. Times are this machine's. */
export interface Session {
  user: Record<string, unknown> | null;
  /** When the access token in memory expires; null before there is one. */
  expiresAt: Date | null;
}

export interface UpstreamTokens {
  id_token: string;
  /** Only where the id token has its at_hash, and for Cognito. */
  access_token?: string;
  refresh_token?: string;
  expires_in?: number;
  token_type?: string;
  provider?: string;
}

export declare class AuthError extends Error {
  readonly status: number;
  /** The broker's stable code, for example "invalid_credentials"; or "user_changed", of start. */
  readonly code: string;
  /** Seconds, with 429 and 503. */
  readonly retryAfter?: number;
}

export interface LogOff {
  logout_url?: string;
  /** With wait: how many of how many services know it, and after how long. */
  applied?: number;
  of?: number;
  slowest_ms?: number;
}

export interface Client {
  /**
   * Finds out who is signed in (after a reload) and gets an access token; null if no one is.
   * Rejects with the code "user_changed" if it is another user than this tab had: the tab is
   * then signed out, and another start takes over the new user.
   */
  start(): Promise<Session | null>;
  session(): Session | null;
  signIn(username: string, password: string): Promise<Session | null>;
  /** A nonce for this page's own authentication request to a provider, for one exchange. */
  exchangeNonce(): Promise<string>;
  exchange(tokens: UpstreamTokens): Promise<Session | null>;
  login(options?: { provider?: string; returnTo?: string }): void;
  refresh(options?: { force?: boolean }): Promise<string>;
  token(): Promise<string>;
  /** fetch, with the access token for the page's origin and those of api, without it for others. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  logOff(options?: { wait?: string }): Promise<LogOff>;
  /**
   * Called with null when signed out, in this tab or another. The reason "user_changed" says that
   * another user has signed in: discard what the page shows and stores of the last one. The new
   * session follows only if this page signs in or calls start. Returns how to stop.
   */
  onChange(listener: (session: Session | null, reason?: "user_changed") => void): () => void;
}

export declare function createClient(options?: {
  /** The broker's URL; the page's origin by default. Its origin gets no access token. */
  base?: string;
  /** Origins, as https://api.example.com, that auth.fetch sends the access token to, besides the page's. */
  api?: string[];
  fetch?: typeof fetch;
}): Client;
