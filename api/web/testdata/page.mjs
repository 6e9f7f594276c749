// page.mjs is what client.js needs of a browser, with time and the broker in the test's hands.
import { mock } from "node:test";

/** settled resolves when all promises that can settle have done so. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** fire makes the signals of AbortSignal.timeout(ms) abort. */
export function fire(ms) {
  const due = bounds.filter((bound) => bound.ms === ms);
  for (const bound of due) bound.abort();
  return due.length;
}

/** tick lets ms pass. */
export function tick(ms) {
  now += ms;
  for (const [id, { at, work }] of timers) {
    if (at <= now && timers.delete(id)) work();
  }
}

/** timersLeft is how many timers are set. */
export const timersLeft = () => timers.size;

let now = 0;
let made = 0;
const timers = new Map();

/** openPage makes this process a page at href. Its storage is empty. */
export function openPage(href = "http://app.test:3000/orders/7?tab=2#part", { locks, baseURI = href } = {}) {
  const events = new EventTarget();
  const stored = new Map();
  const page = {
    left: null,
    channels: [],
    emit: (type, members = {}) => events.dispatchEvent(Object.assign(new Event(type), members)),
  };
  const globals = {
    location: Object.assign(new URL(href), { assign: (to) => { page.left = to; } }),
    document: { visibilityState: "visible", baseURI },
    navigator: { locks },
    addEventListener: events.addEventListener.bind(events),
    sessionStorage: {
      getItem: (key) => stored.get(key) ?? null,
      setItem: (key, value) => stored.set(key, value),
      removeItem: (key) => stored.delete(key),
    },
    setTimeout: (work, ms) => {
      timers.set(++made, { at: now + ms, work });
      return made;
    },
    clearTimeout: (id) => timers.delete(id),
    // Without it the other clients of this process would be tabs of the same browser.
    BroadcastChannel: class extends EventTarget {
      sent = [];
      constructor() {
        super();
        page.channels.push(this);
      }
      postMessage(data) { this.sent.push(data); }
      receive(data) { this.dispatchEvent(new MessageEvent("message", { data })); }
      close() { this.closed = true; }
    },
  };
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  bounds = [];
  mock.method(AbortSignal, "timeout", (ms) => {
    const bound = new AbortController();
    bounds.push({ ms, abort: () => bound.abort(new DOMException("time is over", "TimeoutError")) });
    return bound.signal;
  });
  timers.clear();
  return page;
}

let bounds = [];

/** json is an answer of the broker. */
export const json = (status, body, headers = {}) => Response.json(body, { status, headers });

/** grant is an answer with tokens of a user's session. */
export const grant = (user, session = user) => ({
  access_token: `${session}.${btoa(JSON.stringify({ sub: user }))}.sig`,
  expires_in: 300,
  CSRF_token: `csrf of ${session}`,
  user: { username: user },
});

/** known is an answer of GET /auth/session/. */
export const known = (user, session = user) => ({ sub: user, CSRF_token: `csrf of ${session}`, user: { username: user } });

/**
 * script is a fetch that answers each request with the next of answers: a Response, an Error, a
 * promise of one, or a function of the request. asked has the requests so far.
 */
export function script(...answers) {
  const asked = [];
  const fetch = async (url, init) => {
    asked.push({ url, method: init.method, body: init.body && JSON.parse(init.body), signal: init.signal });
    let answer = answers.shift();
    if (typeof answer === "function") answer = answer(init);
    answer = await answer;
    if (answer === undefined) throw new Error(`no answer is left for ${init.method} ${url}`);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { fetch, asked, lines: () => asked.map(({ method, url }) => `${method} ${url}`) };
}

/** later is a promise with its resolve. */
export function later() {
  let resolve;
  const promise = new Promise((r) => { resolve = r; });
  return { promise, resolve };
}
