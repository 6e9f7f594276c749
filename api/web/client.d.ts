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
  /** The broker's stable code, for example "invalid_credentials". */
  readonly code: string;
  /** Seconds, with 429 and 503. */
  readonly retryAfter?: number;
}

export interface LogOff {
  logout_url?: string;
  /** With wait: how many of how many services know it, after how long, and who does not yet. */
  applied?: number;
  of?: number;
  slowest_ms?: number;
  laggards?: string[];
}

export interface Client {
  /** Finds out who is signed in (after a reload) and gets an access token; null: nobody. */
  start(): Promise<Session | null>;
  session(): Session | null;
  signIn(username: string, password: string): Promise<Session | null>;
  /** A nonce for this page's own authentication request to a provider, for one exchange. */
  exchangeNonce(): Promise<string>;
  exchange(tokens: UpstreamTokens): Promise<Session | null>;
  login(options?: { provider?: string; returnTo?: string }): void;
  refresh(options?: { force?: boolean }): Promise<string>;
  token(): Promise<string>;
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  logOff(options?: { wait?: string }): Promise<LogOff>;
  /** Called with null when signed out, in this tab or another. Returns how to stop. */
  onChange(listener: (session: Session | null) => void): () => void;
}

export declare function createClient(options?: { base?: string; fetch?: typeof fetch }): Client;
