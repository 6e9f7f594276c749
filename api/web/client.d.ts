/** The SPA's SDK for tokenbroker. Times are this machine's. */

/** The version of client.js. */
export declare const version: string;

export interface Session {
  readonly user: Record<string, unknown> | null;
  /** When the access token in memory expires; null before there is one. */
  readonly expiresAt: Date | null;
}

/** "unknown" until the broker has answered who is signed in: before start, and on a server. */
export type Status = "unknown" | "signed_in" | "signed_out";

export interface Snapshot {
  readonly status: Status;
  readonly session: Session | null;
  /** The reason if the tab is signed out because another user has signed in. */
  readonly reason?: "user_changed";
}

/** Codes of the SDK itself; "no_session" is also the broker's. */
export type ClientErrorCode = "network" | "timeout" | "no_session" | "user_changed" | "closed" | "no_browser" | "other_host";

/** Codes of the broker's public listener. */
export type BrokerErrorCode =
  | "body_too_large"
  | "busy"
  | "claims_failed"
  | "csrf_mismatch"
  | "duplicate_cookie"
  | "email_not_verified"
  | "exchange_disabled"
  | "exchange_nonce_expired"
  | "exchange_nonce_invalid"
  | "exchange_nonce_used"
  | "forbidden_origin"
  | "generation_ahead"
  | "id_token_unproven"
  | "internal"
  | "invalid_body"
  | "invalid_client"
  | "invalid_credentials"
  | "invalid_parameter"
  | "invalid_position"
  | "invalid_redirect"
  | "invalid_request"
  | "invalid_return_to"
  | "login_already_used"
  | "login_state_invalid"
  | "method_not_allowed"
  | "no_session"
  | "not_found"
  | "not_ready"
  | "profile_invalid"
  | "profile_too_large"
  | "protocol_outdated"
  | "provider_error"
  | "refresh_token_reused"
  | "refresh_token_superseded"
  | "repeated_parameter"
  | "session_ended"
  | "session_expired"
  | "session_revoked"
  | "token_already_used"
  | "token_expired"
  | "token_invalid"
  | "token_revoked"
  | "too_many_attempts"
  | "too_many_replays"
  | "too_many_sessions"
  | "unavailable"
  | "unknown_provider"
  | "unsupported_media_type"
  | "upstream_token_expired"
  | "upstream_token_invalid"
  | "upstream_unavailable"
  | "user_disabled"
  | "writes_refused"
  | "wrong_channel";

/** Later brokers may have further codes. */
export type ErrorCode = ClientErrorCode | BrokerErrorCode | (string & {});

export interface UpstreamTokens {
  id_token: string;
  /** Only if the id token has its at_hash, and for Cognito. */
  access_token?: string;
  refresh_token?: string;
  expires_in?: number;
  token_type?: string;
  provider?: string;
}

export declare class AuthError extends Error {
  /** The HTTP status; 0 if no answer arrived. */
  readonly status: number;
  /**
   * The broker's stable code, for example "invalid_credentials", or one of the SDK's own: "network"
   * (no answer, or one that is not the broker's), "timeout", "no_session", "user_changed", "closed",
   * "no_browser" on a server, and "other_host" if the page is on localhost and base on 127.0.0.1.
   */
  readonly code: ErrorCode;
  /** Seconds, with 429 and 503. */
  readonly retryAfter?: number;
  /** With "network": what fetch rejected with. */
  readonly cause?: unknown;
}

export interface LogOff {
  logout_url?: string;
  /** With wait: how many services have applied it, of how many, and after how long. */
  applied?: number;
  of?: number;
  slowest_ms?: number;
}

export interface Client {
  /**
   * Finds out who is signed in (after a reload) and gets an access token; null if no one is.
   * Rejects with the code "user_changed" if it is another user than this tab had: the tab is
   * then signed out, and another start adopts the new user.
   */
  start(): Promise<Session | null>;
  session(): Session | null;
  /**
   * The state: the same object until it changes, and then listeners are called. For React:
   * useSyncExternalStore(auth.onChange, auth.snapshot, auth.snapshot).
   */
  snapshot(): Snapshot;
  signIn(username: string, password: string): Promise<Session | null>;
  /** A nonce for this page's own authentication request to a provider, for one exchange. */
  exchangeNonce(): Promise<string>;
  exchange(tokens: UpstreamTokens): Promise<Session | null>;
  /**
   * Leaves for the provider's page. The browser comes back to returnTo, which is resolved like a
   * link of this page; by default it is this page, with its query and hash. If that is longer than
   * the broker accepts (512 characters), the hash and then the query are removed.
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
   * Calls listener at every change, with null when signed out, in this tab or another, and when
   * the first start finds no one. The reason "user_changed" means that
   * another user has signed in: discard what the page shows and stores of the previous one. The new
   * session follows only if this page signs in or calls start. Returns a function that removes listener.
   */
  onChange(listener: (session: Session | null, reason?: "user_changed") => void): () => void;
  /** Rejects the calls in progress with the code "closed", and releases timers and listeners. The session continues. */
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
