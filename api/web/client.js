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
// cookie. Types: client.d.ts.
//
// fetch sends the token only to the page's own origin and to the origins of api.
//
// All tabs of a browser share one cookie, so any of them can sign in or out for all. A tab asks
// the broker who is signed in when another tab signs in, when the page becomes visible again or
// is restored by Back, and when the broker reports that the cookie belongs to another session.
//
// A tab never continues silently under another user. If it finds a session of another user than
// before, also after a reload, it is signed out: listeners get (null, "user_changed"),
// and start rejects with the code user_changed. The next start adopts the new user.

/** The version of this file, of package.json and of the broker's release. */
export const version = "0.1.0-dev";

// A token is refreshed at a random point of this part of its life. With a fixed point, a thief of
// the refresh cookie would know when to use it at the same time as the owner, within the broker's grace.
const REFRESH_FROM = 0.55;
const REFRESH_TO = 0.85;

// Bounds in milliseconds. The broker itself answers within 30 s.
const CALL_TIME = 40e3; // one call, with the wait for the lock and for retries
const LOCK_TIME = 5e3; // waiting for another tab; two concurrent refreshes are within the broker's grace
const RETRY_TIME = 10e3; // all waits for Retry-After of one call
const RETRIES = 3;
const MAX_TIMER = 2 ** 31 - 1;

const MAX_RETURN_TO = 512; // the broker's limit
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])$/;

/**
 * An error of the SDK. `code` is stable: the broker's, or one of the SDK. `status` is the
 * HTTP status, or 0 if no answer arrived.
 */
export class AuthError extends Error {
  constructor(status, problem = {}) {
    super(problem.detail || problem.title || `HTTP ${status}`, problem.cause && { cause: problem.cause });
    this.name = "AuthError";
    this.status = status;
    this.code = problem.code || "network";
    this.retryAfter = problem.retryAfter;
  }
}

const UNKNOWN = Object.freeze({ status: "unknown", session: null });

const userChanged = () => new AuthError(401, { code: "user_changed", title: "Another user has signed in" });
const noSession = () => new AuthError(401, { code: "no_session", title: "Not signed in" });
const isOver = (error) => error.status === 401 || error.status === 410;

// SUPERSEDED is the reason to abort a call for a session that this tab no longer has.
const SUPERSEDED = new Error("superseded");

// subjectOf reads the user's id from an access token; null if it is not a JWT.
function subjectOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sub ?? null;
  } catch {
    return null;
  }
}

// originOf checks an entry of api: an origin has no path, because a path would have no effect.
function originOf(text) {
  const { origin, protocol } = new URL(text);
  if (!/^https?:$/.test(protocol) || (text !== origin && text !== `${origin}/`)) {
    throw new TypeError(`createClient: api: ${text} is not an origin; write it as https://api.example.com`);
  }
  return origin;
}

// brokerAt checks base: an absolute URL, a path of the page's own origin, or nothing.
function brokerAt(base, page) {
  const text = String(base ?? "").trim().replace(/\/+$/, "");
  try {
    const url = new URL(text || "/", page);
    if (/^(https?:\/\/|\/|$)/i.test(text) && /^https?:$/.test(url.protocol) && !/[?#\\]/.test(text) && !url.username && !url.password) {
      const href = url.href.replace(/\/+$/, "");
      return { prefix: text, href, origin: url.origin, hostname: url.hostname, scope: `tokenbroker:${href}` };
    }
  } catch {
    // The error below states what is expected.
  }
  throw new TypeError(`createClient: base: ${JSON.stringify(base)} is not the broker's URL; write it as https://auth.example.com`);
}

// secondsOf reads Retry-After: seconds, or a date as some proxies write it.
function secondsOf(text) {
  if (!text) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return seconds >= 0 ? seconds : undefined;
}

// abortable settles as promise does, or rejects with the signal's reason as soon as it aborts.
function abortable(signal, promise) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    Promise.resolve(promise).then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

// joined calls work with a signal that aborts with the first of signals. It replaces AbortSignal.any,
// which Safari has only since 17.4, and removes its listeners after work.
async function joined(signals, work) {
  const stop = new AbortController();
  const end = ({ target }) => stop.abort(target.reason);
  for (const signal of signals) signal.addEventListener("abort", end);
  try {
    return await work(stop.signal);
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", end);
  }
}

function sleep(signal, ms) {
  let timer;
  return abortable(signal, new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  })).finally(() => clearTimeout(timer));
}

export function createClient({ base, api = [], fetch: send = (...request) => globalThis.fetch(...request) } = {}) {
  const inBrowser = typeof document !== "undefined"; // false on a server that renders the page
  const broker = brokerAt(base, inBrowser ? location.href : "http://server.invalid");
  const trusted = new Set(api.map(originOf));
  const warned = new Set();
  const channel = inBrowser && "BroadcastChannel" in globalThis ? new BroadcastChannel(broker.scope) : null;
  const listeners = new Set();
  const life = new AbortController(); // ends with close
  let era = new AbortController(); // ends when the session that this tab knows ends or changes
  let csrf = null;
  let token = null; // { value, due, ends } by this machine's clock
  let user = null;
  let sub = tabUser(); // the user of this tab: set while signed in, and across a reload
  let timer = 0;
  let view = UNKNOWN; // the state that listeners got last
  let started = false;
  let halted = false; // after user_changed, until the page itself asks for a session
  let otherHost = null; // the reason why this page cannot send the session's cookie
  if (inBrowser) {
    trusted.add(location.origin);
    if (LOOPBACK.test(broker.hostname) && LOOPBACK.test(location.hostname) && broker.hostname !== location.hostname) {
      otherHost = `base is on ${broker.hostname} and this page on ${location.hostname}: to browsers these are two sites, and the session's cookie is not sent. Use the same name in both.`;
      console.warn(`createClient: ${otherHost}`);
    }
  }

  // addressOf returns the broker's URL for a path. A relative URL would not be safe: a <base> of the page,
  // which an attacker may have injected, could send passwords to another origin.
  function addressOf(path) {
    const address = broker.prefix + path;
    return new URL(address, document.baseURI).origin === broker.origin ? address : broker.href + path;
  }

  const session = () => view.session;

  // tell publishes the state. If a listener throws, the others are still called.
  function tell(reason) {
    const session = csrf ? Object.freeze({ user, expiresAt: token && new Date(token.ends) }) : null;
    view = Object.freeze({ status: csrf ? "signed_in" : "signed_out", session, ...(reason && { reason }) });
    for (const listener of listeners) {
      try {
        listener(session, reason);
      } catch (error) {
        queueMicrotask(() => {
          throw error; // for the page's error handler
        });
      }
    }
  }

  // tabUser reads the tab's user from sessionStorage, or stores it. Without storage (a sandboxed
  // frame) the tab does not know its user after a reload.
  function tabUser(next) {
    const key = `${broker.scope}:sub`;
    if (!inBrowser) return null;
    try {
      if (next) sessionStorage.setItem(key, next);
      else if (next === null) sessionStorage.removeItem(key);
      return sessionStorage.getItem(key);
    } catch {
      return next ?? null;
    }
  }

  const isOther = (subject) => Boolean(sub && subject && sub !== subject);

  // own assigns the tab to subject, unless it belongs to another user.
  function own(subject) {
    if (isOther(subject)) {
      drop("user_changed");
      throw userChanged();
    }
    sub = subject ?? sub;
    tabUser(sub);
  }

  // within calls work with a signal that aborts after CALL_TIME, or when parent does.
  async function within(parent, work) {
    if (!inBrowser) throw new AuthError(0, { code: "no_browser", title: "client.js signs in only in a browser, not on a server" });
    if (otherHost) throw new AuthError(0, { code: "other_host", title: otherHost });
    if (parent.aborted) throw parent.reason;
    return joined([parent, AbortSignal.timeout(CALL_TIME)], work).catch((error) => {
      if (error.name !== "TimeoutError") throw error;
      throw new AuthError(0, { code: "timeout", title: `No answer within ${CALL_TIME / 1000} s` });
    });
  }

  // locked calls work while no other tab does. It waits at most LOCK_TIME for a tab that holds
  // the lock.
  async function locked(signal, work) {
    if (!navigator.locks) return work();
    let begun = false;
    return joined([signal, AbortSignal.timeout(LOCK_TIME)], (wait) =>
      navigator.locks.request(`${broker.scope}:refresh`, { signal: wait }, () => {
        begun = true;
        return work();
      })).catch((error) => {
      if (begun) throw error;
      signal.throwIfAborted();
      return work(); // also if the page may not use locks
    });
  }

  // call sends a request to the broker. An answer 429 or 503 with Retry-After means that nothing was
  // done, so the same request is sent again. Without an answer the outcome is unknown, and the request
  // is not repeated.
  async function call(signal, method, path, body) {
    for (let left = RETRY_TIME, tries = 0; ; tries++) {
      const { status, ok, retryAfter, value } = await ask(signal, method, addressOf(path), body);
      if (ok) return value;
      const wait = retryAfter * 1000;
      if ((status !== 429 && status !== 503) || !(wait <= left) || tries === RETRIES) {
        throw new AuthError(status, { ...value, retryAfter });
      }
      left -= wait;
      await sleep(signal, wait + 250 * Math.random()); // so that tabs do not repeat requests at the same time
    }
  }

  async function ask(signal, method, url, body) {
    const fail = (status, reason, cause) => new AuthError(status, { code: "network", title: `${method} ${url}: ${reason}`, cause });
    let answer, value;
    try {
      answer = await abortable(signal, send(url, {
        method,
        credentials: "include",
        cache: "no-store",
        headers: body === undefined ? {} : { "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
      }));
      value = await abortable(signal, answer.json().catch((error) => {
        if (error.name !== "SyntaxError") throw error;
      }));
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw fail(0, `no answer that this page may read (${error.message}); is the broker up, and ${location.origin} one of its origins?`, error);
    }
    if (answer.ok && (typeof value !== "object" || value === null)) throw fail(answer.status, "the answer is not JSON; is base the broker's URL?");
    return { status: answer.status, ok: answer.ok, retryAfter: secondsOf(answer.headers.get("Retry-After")), value };
  }

  // grantOf asks for a grant.
  async function grantOf(signal, path, body) {
    const grant = await call(signal, "POST", path, body);
    if (typeof grant.access_token !== "string" || !(grant.expires_in > 0)) {
      throw new AuthError(200, { code: "network", title: "The answer has no access token; is base the broker's URL?" });
    }
    signal.throwIfAborted();
    return grant;
  }

  function accept(grant) {
    own(subjectOf(grant.access_token));
    const now = Date.now();
    const life = grant.expires_in * 1000;
    const share = REFRESH_FROM + (REFRESH_TO - REFRESH_FROM) * Math.random();
    csrf = grant.CSRF_token;
    user = grant.user ?? user;
    token = { value: grant.access_token, due: now + life * share, ends: now + life };
    halted = false;
    schedule();
    tell();
    return session();
  }

  // supersede aborts all calls for the present session: a late answer must not restore it.
  function supersede() {
    refreshing = null;
    era.abort(SUPERSEDED);
    era = new AbortController();
  }

  function drop(reason) {
    const isNews = csrf !== null || reason || view === UNKNOWN;
    supersede();
    clearTimeout(timer);
    csrf = token = user = sub = null;
    tabUser(null);
    halted = Boolean(reason);
    if (isNews) tell(reason);
  }

  function schedule() {
    clearTimeout(timer);
    timer = setTimeout(() => refresh().catch(() => {}), Math.min(Math.max(0, token.due - Date.now()), MAX_TIMER));
  }

  const isDue = () => !token || Date.now() >= token.due;
  const current = () => (isDue() ? refresh() : token.value);

  // who returns the session of the browser's cookie, or null if there is none.
  async function who(signal) {
    for (let again = true; ; again = false) {
      try {
        return await call(signal, "GET", "/auth/session/");
      } catch (error) {
        if (again && error.code === "refresh_token_superseded") continue; // another tab has replaced the cookie in the meantime
        if (isOver(error)) return null;
        throw error;
      }
    }
  }

  // take adopts the session that was found, and reports whether there is one.
  function take(known) {
    if (!known) {
      drop();
      return false;
    }
    own(known.sub);
    if (known.CSRF_token !== csrf) token = null;
    csrf = known.CSRF_token;
    user = known.user ?? null;
    return true;
  }

  // arrive gets a token for the adopted session. If that fails, the page still knows the user.
  async function arrive() {
    try {
      await refresh();
    } catch (error) {
      if (csrf && !token) tell();
      throw error;
    }
  }

  let refreshing = null;
  // refresh returns a new access token. Calls of this tab share one request; tabs take turns. If a
  // sign-in happens in between, callers get the token of the new session if it has the same user.
  function refresh() {
    if (refreshing) return refreshing;
    const whose = sub;
    const run = within(era.signal, (signal) => locked(signal, () => renew(signal)))
      .catch((error) => {
        if (error !== SUPERSEDED) throw error;
        if (whose && sub !== whose) throw sub ? userChanged() : noSession();
        return current();
      })
      .finally(() => {
        if (refreshing === run) refreshing = null;
      });
    refreshing = run;
    return run;
  }

  async function renew(signal) {
    for (let again = true; ; again = false) {
      if (!csrf) throw noSession();
      const grant = await grantOf(signal, "/auth/refresh/", { CSRF_token: csrf }).catch((error) => {
        if (again && error.code === "csrf_mismatch") return null;
        if (isOver(error)) signedOut();
        throw error;
      });
      if (grant) {
        accept(grant);
        return token.value;
      }
      const known = await who(signal); // another tab has signed in
      signal.throwIfAborted();
      take(known);
    }
  }

  function signedOut() {
    drop();
    channel?.postMessage("signed-out");
  }

  // begin is start without the sharing among its callers.
  async function begin() {
    if (!inBrowser) return null;
    const arrived = !started && !sub; // perhaps from a provider
    started = true;
    halted = false;
    try {
      const known = await within(era.signal, who);
      if (!take(known)) return null;
    } catch (error) {
      if (error !== SUPERSEDED) throw error;
      if (!csrf) return null; // a log-off was faster
      await current(); // a sign-in was faster
      return session();
    }
    await arrive();
    if (arrived) channel?.postMessage("signed-in");
    return session();
  }

  let starting = null;
  // start finds out who is signed in, without rotating anything, and then gets a token.
  function start() {
    starting ??= begin().finally(() => {
      starting = null;
    });
    return starting;
  }

  let looks = 0;
  // look adopts the current session. A call during another one makes it look again,
  // because the pending answer may be older.
  async function look() {
    if (looks++) return;
    do {
      looks = 1;
      await lookOnce().catch(() => {}); // listeners are notified of a change; the next call handles the rest
    } while (looks > 1);
    looks = 0;
  }

  async function lookOnce() {
    await starting?.catch(() => {}); // its answer may be older
    if (halted) return;
    const known = await within(era.signal, who);
    if (known && known.CSRF_token !== csrf) supersede();
    if (take(known) && isDue()) await arrive();
  }

  // opened adopts the session that this page requested, which may be of another user.
  function opened(path, body) {
    return within(life.signal, (signal) => locked(signal, async () => {
      const grant = await grantOf(signal, path, body);
      supersede();
      if (isOther(subjectOf(grant.access_token))) drop("user_changed");
      accept(grant);
      channel?.postMessage("signed-in");
      return session();
    }));
  }

  // returnAddress is where the broker sends the browser after a login: on this page's origin. If that is
  // the broker's own, a path is enough. Beyond the broker's limit hash and query are removed.
  function returnAddress(to) {
    const { origin, pathname, search, hash } = new URL(to, location.href);
    const path = (origin === broker.origin && !pathname.startsWith("//") ? "" : origin) + pathname.replace(/%(?![\da-f]{2})/gi, "%25");
    const query = search.replace(/\\/g, "%5C");
    return [path + query + hash, path + query, path].find((text) => text.length <= MAX_RETURN_TO) ?? `${origin}/`;
  }

  // mayCarryToken resolves the URL as fetch does. A blob: URL has an origin but no server.
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

  if (inBrowser) {
    const on = (type, listener) => addEventListener(type, listener, { signal: life.signal });
    const wake = () => {
      if (document.visibilityState !== "hidden" && (started || view !== UNKNOWN)) look();
    };
    on("visibilitychange", wake);
    on("online", wake);
    on("pageshow", ({ persisted }) => persisted && wake()); // restored by Back, with its old memory
    channel?.addEventListener("message", ({ data }) => {
      if (data === "signed-out") drop();
      if (data === "signed-in") look();
    });
  }

  return {
    start,
    refresh,
    session,
    /** The state as { status, session, reason }: the same object until it changes. */
    snapshot: () => view,
    /** The current access token, refreshed first if it is due. */
    async token() {
      return current();
    },
    async signIn(username, password) {
      return opened("/auth/sign-in/", { username, password });
    },
    /**
     * A nonce for this page's own authentication request to a provider. It is for one exchange
     * in this browser, within ten minutes; the browser sends its cookie automatically.
     */
    async exchangeNonce() {
      return (await within(life.signal, (signal) => call(signal, "GET", "/auth/exchange-nonce"))).nonce;
    },
    /**
     * Exchange tokens that this page got from the provider. Unless the provider is Cognito, send the
     * access token of the id token's at_hash, or sign in with a nonce of exchangeNonce().
     */
    async exchange(tokens) {
      return opened("/auth/social-exchange/", tokens);
    },
    /** Leave for the provider's page; the browser comes back to returnTo, by default this page, signed in. */
    login({ provider, returnTo = location.href } = {}) {
      tabUser(null); // any user may come back
      const query = new URLSearchParams({ return_to: returnAddress(returnTo), ...(provider && { provider }) });
      location.assign(addressOf(`/auth/login/?${query}`));
    },
    /**
     * End the session of this browser everywhere, also one that another tab has opened since.
     * `logout_url`, if any, also ends it at the provider. With wait ("2s") the answer counts the
     * services that have applied it, with the time.
     */
    async logOff({ wait } = {}) {
      return within(life.signal, async (signal) => {
        const path = `/auth/logoff/${wait ? `?wait=${encodeURIComponent(wait)}` : ""}`;
        const end = (value) => call(signal, "POST", path, { CSRF_token: value ?? "" });
        const answer = await end(csrf).catch(async (error) => {
          if (error.code !== "csrf_mismatch") throw error;
          return end((await who(signal))?.CSRF_token);
        });
        signal.throwIfAborted();
        signedOut();
        return answer;
      });
    },
    /**
     * fetch with the access token, sent only to the page's origin and to those of api; one more
     * attempt after a 401 that a new token can fix. To other origins it is fetch without a token.
     */
    async fetch(input, init) {
      if (!input.url) input = String(input); // a URL object could change before it is used
      if (inBrowser && !mayCarryToken(input.url ?? input)) return send(input, init);
      const begun = sub;
      const still = (value) => { // the request is not made as another user
        if (begun && sub !== begun) throw userChanged();
        return value;
      };
      const first = await authorized(input, init, still(await current()));
      if (first.status !== 401) return first;
      const { code } = await first.clone().json().catch(() => ({}));
      if (code !== "token_expired" && code !== "token_revoked") return first;
      return authorized(input, init, still(await refresh()));
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /**
     * Release everything: requests and waits are aborted with the code closed, and timers, listeners
     * and the token are removed. The session itself continues; logOff ends it.
     */
    close() {
      const closed = new AuthError(0, { code: "closed", title: "The client is closed" });
      life.abort(closed);
      era.abort(closed);
      clearTimeout(timer);
      channel?.close();
      listeners.clear();
      csrf = token = user = null;
      view = UNKNOWN;
    },
  };
}
