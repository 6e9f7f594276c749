// client.js: the SDK of a single-page application that signs in at tokenbroker.
//
//   import { createClient } from "/web/client.js";
//   const auth = createClient({ api: ["https://api.example.com"] }); // base: "https://auth.example.com"
//   auth.onChange((session) => render(session)); // null when signed out, in any tab
//   await auth.start();                          // who is signed in, after a reload
//   await auth.signIn("ada", "lovelace");        // or auth.login({ provider: "cognito" })
//   const answer = await auth.fetch("https://api.example.com/hello");
//
// The access token is kept only in this module's memory; the refresh token is an HttpOnly
// cookie. One refresh is in flight per browser. Types: client.d.ts.
//
// fetch sends the token only to the page's own origin and to the origins of api.
//
// A tab never continues silently under another user. If it finds another user's session than
// the one it had, also after a reload, it is signed out: listeners get (null, "user_changed"),
// and start rejects with the code user_changed. The next start takes over the new user.

// A token is refreshed at a random point of this part of its life: at a fixed one, who stole the
// refresh cookie would know when to use it beside the owner, within the broker's grace.
const REFRESH_FROM = 0.55;
const REFRESH_TO = 0.85;

/** An error that the broker answered with: `code` is stable, `status` is HTTP's. */
export class AuthError extends Error {
  constructor(status, problem = {}) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = "AuthError";
    this.status = status;
    this.code = problem.code || "network";
    this.retryAfter = problem.retryAfter;
  }
}

const userChanged = () => new AuthError(401, { code: "user_changed", title: "Another user has signed in" });

// subjectOf reads the user's id from an access token; null if it is not a JWT.
function subjectOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sub ?? null;
  } catch {
    return null;
  }
}

// originOf checks an entry of api: an origin names no path, which would restrict nothing.
function originOf(text) {
  const { origin, protocol } = new URL(text);
  if (!/^https?:$/.test(protocol) || (text !== origin && text !== `${origin}/`)) {
    throw new TypeError(`createClient: api: ${text} is not an origin; write it as https://api.example.com`);
  }
  return origin;
}

export function createClient({ base = "", api = [], fetch: send = globalThis.fetch.bind(globalThis) } = {}) {
  const trusted = new Set(api.map(originOf)).add(location.origin);
  const warned = new Set();
  const scope = `tokenbroker:${base || location.origin}`;
  const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(scope) : null;
  const listeners = new Set();
  let csrf = null;
  let token = null; // { value, due, ends } by this machine's clock
  let user = null;
  let sub = tabUser(); // whose tab this is: set while signed in, and over a reload
  let timer = 0;

  const session = () => (csrf ? { user, expiresAt: token && new Date(token.ends) } : null);
  const tell = (reason) => listeners.forEach((listener) => listener(session(), reason));

  // tabUser reads the tab's user from sessionStorage, or stores it. Without storage (a sandboxed
  // frame) the tab does not know its user after a reload.
  function tabUser(next) {
    const key = `${scope}:sub`;
    try {
      if (next) sessionStorage.setItem(key, next);
      else if (next === null) sessionStorage.removeItem(key);
      return sessionStorage.getItem(key);
    } catch {
      return next ?? null;
    }
  }

  const isOther = (subject) => Boolean(sub && subject && sub !== subject);

  // own makes the tab subject's, unless it is another user's.
  function own(subject) {
    if (isOther(subject)) {
      drop("user_changed");
      throw userChanged();
    }
    sub = subject ?? sub;
    tabUser(sub);
  }

  async function call(method, path, body) {
    const answer = await send(base + path, {
      method,
      credentials: "include",
      cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const value = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new AuthError(answer.status, { ...value, retryAfter: Number(answer.headers.get("Retry-After")) || undefined });
    }
    return value;
  }

  function accept(grant) {
    own(subjectOf(grant.access_token));
    const now = Date.now();
    const life = grant.expires_in * 1000;
    const share = REFRESH_FROM + (REFRESH_TO - REFRESH_FROM) * Math.random();
    csrf = grant.CSRF_token;
    user = grant.user ?? user;
    token = { value: grant.access_token, due: now + life * share, ends: now + life };
    schedule();
    tell();
    return session();
  }

  function drop(reason) {
    const had = csrf !== null;
    clearTimeout(timer);
    csrf = token = user = sub = null;
    tabUser(null);
    if (had || reason) tell(reason);
  }

  function due() {
    return token?.due ?? Infinity;
  }

  function schedule() {
    clearTimeout(timer);
    if (token) timer = setTimeout(() => refresh().catch(() => {}), Math.max(0, due() - Date.now()));
  }

  const locked = (work) => (navigator.locks ? navigator.locks.request(`${scope}:refresh`, work) : work());

  let inFlight = null;
  // refresh gives a fresh access token. Calls of this tab share one; tabs take turns.
  function refresh({ force = false } = {}) {
    const stale = token?.value;
    inFlight ??= locked(async () => {
      // While this tab waited, the token may have become a new one.
      if (token && token.value !== stale && !force) return token.value;
      if (!csrf) throw new AuthError(401, { code: "no_session", title: "Not signed in" });
      const grant = await call("POST", "/auth/refresh/", { CSRF_token: csrf }).catch((error) => {
        if (error.status === 401 || error.status === 410) signedOut();
        throw error;
      });
      accept(grant);
      return token.value;
    }).finally(() => {
      inFlight = null;
    });
    return inFlight;
  }

  function signedOut() {
    drop();
    channel?.postMessage("signed-out");
  }

  channel?.addEventListener("message", ({ data }) => {
    if (data === "signed-out") drop();
    if (data === "signed-in") start().catch(() => {}); // perhaps as another user
  });
  const wake = () => {
    if (document.visibilityState !== "hidden" && Date.now() >= due()) refresh().catch(() => {});
  };
  addEventListener("visibilitychange", wake);
  addEventListener("online", wake);
  addEventListener("pageshow", wake);

  // start finds out who is signed in, without rotating anything, and then gets a token.
  async function start() {
    const known = await call("GET", "/auth/session/").catch((error) => {
      if (error.status !== 401 && error.status !== 410) throw error;
      drop();
    });
    if (!known) return null;
    own(known.sub);
    csrf = known.CSRF_token;
    user = known.user ?? null;
    await refresh();
    return session();
  }

  // opened takes the session that this page asked for, which may be another user's.
  async function opened(grant) {
    if (isOther(subjectOf(grant.access_token))) drop("user_changed");
    accept(grant);
    channel?.postMessage("signed-in");
    return session();
  }

  // mayCarryToken resolves the URL as fetch does. A blob: URL has an origin and no server.
  function mayCarryToken(url) {
    const { origin, protocol } = new URL(url, document.baseURI);
    const may = /^https?:$/.test(protocol) && trusted.has(origin);
    if (!may && !warned.has(origin)) {
      warned.add(origin);
      console.warn(`auth.fetch sends no token to ${origin}: name it in createClient({ api })`);
    }
    return may;
  }

  async function authorized(input, init, value) {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
    headers.set("Authorization", `Bearer ${value}`);
    return send(input instanceof Request ? input.clone() : input, { ...init, headers });
  }

  return {
    start,
    refresh,
    session,
    /** The access token in force, refreshed first when it is due. */
    async token() {
      return token && Date.now() < due() ? token.value : refresh();
    },
    async signIn(username, password) {
      return opened(await call("POST", "/auth/sign-in/", { username, password }));
    },
    /**
     * A nonce for this page's own authentication request to a provider. It is for one exchange
     * in this browser, within ten minutes; its cookie goes along by itself.
     */
    async exchangeNonce() {
      return (await call("GET", "/auth/exchange-nonce")).nonce;
    },
    /**
     * Trade tokens that the provider gave to this page. Unless the provider is Cognito, send the
     * access token that the id token's at_hash names, or sign in with a nonce of exchangeNonce().
     */
    async exchange(tokens) {
      return opened(await call("POST", "/auth/social-exchange/", tokens));
    },
    /** Leave for the provider's page; the browser comes back to returnTo, signed in. */
    login({ provider, returnTo = location.pathname + location.search } = {}) {
      tabUser(null); // whoever comes back has signed in here
      const query = new URLSearchParams({ return_to: returnTo, ...(provider && { provider }) });
      location.assign(`${base}/auth/login/?${query}`);
    },
    /**
     * End the session everywhere. `logout_url`, if any, ends it at the provider, too. With
     * wait ("2s") the answer says how many services know it, and how fast.
     */
    async logOff({ wait } = {}) {
      const query = wait ? `?wait=${encodeURIComponent(wait)}` : "";
      const answer = await call("POST", `/auth/logoff/${query}`, { CSRF_token: csrf ?? "" });
      signedOut();
      return answer;
    },
    /**
     * fetch with the access token, sent only to the page's origin and to those of api; one more
     * try after a 401 that a new token can fix. To other origins it is fetch without a token.
     */
    async fetch(input, init) {
      if (!input.url) input = String(input); // a URL object could change before it is used
      if (!mayCarryToken(input.url ?? input)) return send(input, init);
      const begun = sub;
      const still = (value) => { // the request is not made as another user
        if (begun && sub !== begun) throw userChanged();
        return value;
      };
      const first = await authorized(input, init, still(await this.token()));
      if (first.status !== 401) return first;
      const { code } = await first.clone().json().catch(() => ({}));
      if (code !== "token_expired" && code !== "token_revoked") return first;
      return authorized(input, init, still(await refresh()));
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
