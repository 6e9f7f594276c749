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
  /** HTTP's; 0 where no answer arrived. */
  readonly status: number;
  /**
   * The broker's stable code, for example "invalid_credentials", or one of the SDK's own: "network"
   * (no answer, or one that is not the broker's), "timeout", "no_session", "user_changed", "closed",
   * and "no_browser" on a server.
   */
  readonly code: string;
  /** Seconds, with 429 and 503. */
  readonly retryAfter?: number;
  /** With "network": what fetch rejected with. */
  readonly cause?: unknown;
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
  /**
   * Leaves for the provider's page. The browser comes back to returnTo, which is resolved like a
   * link of this page; by default it is this page, with its query and hash. If that is longer than
   * the broker takes (512 characters), the hash and then the query are left out.
   */
  login(options?: { provider?: string; returnTo?: string }): void;
  /** Asks the broker for a new access token. The option force has no effect. */
  refresh(options?: { force?: boolean }): Promise<string>;
  token(): Promise<string>;
  /** fetch, with the access token for the page's origin and those of api, without it for others. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Ends the session of this browser, also one that another tab has opened since. */
  logOff(options?: { wait?: string }): Promise<LogOff>;
  /**
   * Called with null when signed out, in this tab or another. The reason "user_changed" says that
   * another user has signed in: discard what the page shows and stores of the last one. The new
   * session follows only if this page signs in or calls start. Returns how to stop.
   */
  onChange(listener: (session: Session | null, reason?: "user_changed") => void): () => void;
  /** Abandons what is under way with the code "closed", and releases timers and listeners. Signs nobody out. */
  close(): void;
}

export declare function createClient(options?: {
  /**
   * The broker's URL, with or without a slash at its end; the page's origin by default. Its origin
   * gets no access token. createClient throws a TypeError if it is not an http or https URL.
   */
  base?: string | URL;
  /** Origins, as https://api.example.com, that auth.fetch sends the access token to, besides the page's. */
  api?: string[];
  fetch?: typeof fetch;
}): Client;
