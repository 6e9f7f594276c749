import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { AuthError, createClient, version } from "./client.mjs";
import { fire, grant, json, known, later, openPage, script, settled, tick, timersLeft } from "./page.mjs";

const CALL_TIME = 40_000, LOCK_TIME = 5_000;
const refused = (promise) => promise.then((value) => assert.fail(`no error but ${value}`), (error) => {
  assert.ok(error instanceof AuthError, `${error.name}: ${error.message}`);
  return error;
});
const code = async (promise) => (await refused(promise)).code;
const never = () => new Promise(() => {});

// signedIn returns a client that ada is signed in with, and what it asks from then on.
async function signedIn(...answers) {
  const broker = script(json(200, grant("ada", "a1")), ...answers);
  const auth = createClient({ fetch: broker.fetch });
  await auth.signIn("ada", "x");
  broker.asked.length = 0;
  const events = [];
  auth.onChange((session, reason) => events.push((session?.user.username ?? "nobody") + (reason ? `:${reason}` : "")));
  return { auth, events, ...broker };
}

test("base is the broker's URL, with or without a slash at its end", async () => {
  for (const [base, prefix] of [
    ["http://auth.test", "http://auth.test"],
    ["http://auth.test/", "http://auth.test"],
    ["http://auth.test//", "http://auth.test"],
    [" https://auth.test:8443/ ", "https://auth.test:8443"],
    ["HTTP://AUTH.test/", "HTTP://AUTH.test"],
    ["http://auth.test/sso/", "http://auth.test/sso"],
    [new URL("http://auth.test/"), "http://auth.test"],
    ["//auth.test/", "//auth.test"],
    ["/", ""],
    ["/sso/", "/sso"],
    ["", ""],
    [undefined, ""],
    [null, ""],
  ]) {
    openPage();
    const { fetch, lines } = script(json(401, { code: "no_session" }));
    assert.equal(await createClient({ base, fetch }).start(), null);
    assert.deepEqual(lines(), [`GET ${prefix}/auth/session/`], String(base));
  }
});

test("a <base> of the page does not lead the broker's requests elsewhere", async () => {
  for (const [base, baseURI, prefix] of [
    [undefined, "http://evil.test/", "http://app.test:3000"],
    ["/sso/", "http://evil.test/x/", "http://app.test:3000/sso"],
    ["//auth.test", "https://evil.test/", "http://auth.test"],
    ["http://auth.test", "http://evil.test/", "http://auth.test"],
    [undefined, "http://app.test:3000/sub/", ""],
  ]) {
    const page = openPage("http://app.test:3000/", { baseURI });
    const { fetch, lines } = script(json(401, { code: "no_session" }), json(200, grant("ada")));
    const auth = createClient({ base, fetch });
    await auth.start();
    await auth.signIn("ada", "x");
    assert.deepEqual(lines(), [`GET ${prefix}/auth/session/`, `POST ${prefix}/auth/sign-in/`], `${base} ${baseURI}`);
    auth.login();
    assert.equal(page.left.startsWith(`${prefix}/auth/login/?`), true, page.left);
  }
});

test("base that is no URL of a broker is refused by name", () => {
  openPage();
  for (const base of [
    "auth.example.com", "auth.example.com:8080", "localhost:8080", "sso", "./sso", "https:auth.test", "https:/auth.test", "https://", "http://auth test",
    "ftp://auth.test", "javascript:alert(1)", "blob:http://auth.test/1", "https://auth.test/?x=1", "https://auth.test/#top",
    "https://ada:pw@auth.test", "/\\evil.test", "http://auth.test\\x", "undefined", 8080, {}, false,
  ]) {
    assert.throws(() => createClient({ base }), (error) => error instanceof TypeError && error.message.includes(`base: ${JSON.stringify(base)}`), String(base));
  }
});

test("one scope for all spellings of a broker's URL", async () => {
  for (const base of [undefined, "/", "http://app.test:3000", "http://APP.test:3000/"]) {
    const page = openPage("http://app.test:3000/");
    const names = [];
    const { BroadcastChannel } = globalThis;
    globalThis.BroadcastChannel = class extends BroadcastChannel {
      constructor(name) {
        super(name);
        names.push(name);
      }
    };
    createClient({ base });
    assert.deepEqual(names, ["tokenbroker:http://app.test:3000"]);
    assert.equal(page.channels.length, 1);
  }
});

test("a page on localhost with a broker on 127.0.0.1 is reported", () => {
  const warned = mock.method(console, "warn", () => {});
  for (const [href, base, times] of [
    ["http://localhost:5173/", "http://127.0.0.1:8080", 1],
    ["http://127.0.0.1:5173/", "http://localhost:8080", 1],
    ["http://[::1]:5173/", "http://localhost:8080", 1],
    ["http://127.0.0.1:5173/", "http://127.0.0.1:8080", 0],
    ["http://localhost:5173/", undefined, 0],
    ["https://app.example.com/", "https://auth.example.com", 0],
  ]) {
    openPage(href);
    warned.mock.resetCalls();
    createClient({ base });
    assert.equal(warned.mock.callCount(), times, `${href} ${base}`);
  }
  warned.mock.restore();
});

test("no answer, and an answer that is not the broker's, have the code network", async () => {
  const cause = new TypeError("Failed to fetch");
  for (const answer of [
    () => cause,
    () => new Response("<!doctype html>"),
    () => new Response("<html>Bad Gateway</html>", { status: 502 }),
    () => json(200, null),
    () => json(200, []),
    () => json(200, "x"),
    () => json(200, { access_token: "t", expires_in: "soon" }),
    () => json(200, {}),
    () => new Response(new ReadableStream({ pull(c) { c.error(new TypeError("network error")); } })),
  ]) {
    openPage();
    const { fetch, lines } = script(answer());
    const error = await refused(createClient({ base: "http://auth.test", fetch }).signIn("ada", "x"));
    assert.equal(error.code, "network", error.message);
    assert.equal(lines().length, 1, "a password is sent once");
    if (answer() === cause) {
      assert.equal(error.status, 0);
      assert.equal(error.cause, cause);
      assert.match(error.message, /http:\/\/auth\.test\/auth\/sign-in\/.*Failed to fetch.*http:\/\/app\.test:3000/);
    }
  }
});

test("a call without an answer ends with the code timeout", async () => {
  for (const answer of [never, () => ({ ok: true, status: 200, headers: new Headers(), json: never })]) {
    for (const what of ["start", "signIn", "exchange", "exchangeNonce", "logOff"]) {
      openPage();
      const { fetch, asked } = script(answer());
      const ended = refused(createClient({ fetch })[what]("x"));
      await settled();
      assert.equal(fire(CALL_TIME), 1);
      const error = await ended;
      assert.deepEqual([error.code, error.status], ["timeout", 0], what);
      assert.ok(asked[0].signal.aborted, "the request is abandoned");
    }
  }
  openPage();
  const { auth, events } = await signedIn(never(), json(200, grant("ada", "a1")));
  const ended = code(auth.refresh());
  await settled();
  fire(CALL_TIME);
  assert.equal(await ended, "timeout");
  assert.equal((await auth.refresh()).slice(0, 2), "a1", "the next one asks again");
  assert.deepEqual(events, ["ada"]);
});

test("429 and 503 with Retry-After are asked again, within bounds", async () => {
  const busy = (after, status = 503) => json(status, { code: "busy" }, after === undefined ? {} : { "Retry-After": String(after) });
  const date = (ms) => new Date(Date.now() + ms).toUTCString();
  for (const [name, answers, requests, end] of [
    ["503 once", [busy(1)], 2, "ada"],
    ["429 once", [busy(2, 429)], 2, "ada"],
    ["at once", [busy(0)], 2, "ada"],
    ["a date", [busy(date(3000))], 2, "ada"],
    ["three times", [busy(1), busy(1), busy(1)], 4, "ada"],
    ["four times", [busy(1), busy(1), busy(1), busy(1)], 4, "busy 1"],
    ["beyond the time of all", [busy(4), busy(4), busy(4)], 3, "busy 4"],
    ["as long as allowed", [busy(10)], 2, "ada"],
    ["too long", [busy(11)], 1, "busy 11"],
    ["a minute", [busy(60, 429)], 1, "busy 60"],
    ["without Retry-After", [busy()], 1, "busy undefined"],
    ["junk", [busy("soon")], 1, "busy undefined"],
    ["another status", [busy(1, 502)], 1, "busy 1"],
  ]) {
    openPage();
    const { fetch, asked } = script(...answers, json(200, grant("ada")));
    let got;
    createClient({ fetch }).signIn("ada", "lovelace").then((session) => { got = session.user.username; }, (error) => { got = `${error.code} ${error.retryAfter}`; });
    for (let i = 0; i < answers.length; i++) {
      await settled();
      assert.equal(asked.length, Math.min(i + 1, requests), name);
      const wait = Number(answers[i].headers.get("Retry-After")) * 1000 || 0;
      tick(Math.max(0, wait - 1));
      await settled();
      if (wait) assert.equal(asked.length, Math.min(i + 1, requests), `${name}: not before its time`);
      tick(name === "a date" ? 4000 : 251);
    }
    await settled();
    assert.equal(got, end, name);
    assert.equal(asked.length, requests, name);
    assert.ok(asked.every(({ body }) => body.password === "lovelace"));
  }
});

test("a tab that keeps the lock does not stop a refresh or a sign-in", async () => {
  const waiting = [];
  const locks = {
    request: (name, { signal }) => new Promise((_, reject) => {
      waiting.push(name);
      signal.addEventListener("abort", () => reject(signal.reason));
    }),
  };
  openPage(undefined, { locks });
  const { fetch, lines } = script(json(200, grant("ada")), json(200, grant("ada")));
  const auth = createClient({ fetch });
  for (const work of [() => auth.signIn("ada", "x"), () => auth.refresh()]) {
    const done = work();
    const before = lines().length;
    await settled();
    assert.equal(lines().length, before, "it waits first");
    assert.ok(fire(LOCK_TIME) > 0);
    await done;
  }
  assert.deepEqual(lines(), ["POST /auth/sign-in/", "POST /auth/refresh/"]);
  assert.deepEqual(waiting, Array(2).fill("tokenbroker:http://app.test:3000:refresh"));
  const ended = code(auth.refresh());
  await settled();
  fire(CALL_TIME);
  assert.equal(await ended, "timeout", "also of a wait for the lock");
});

test("locks that the page may not use are done without", async () => {
  openPage(undefined, { locks: { request: async () => { throw new DOMException("sandboxed", "SecurityError"); } } });
  const { fetch } = script(json(200, grant("ada")));
  assert.equal((await createClient({ fetch }).signIn("ada", "x")).user.username, "ada");
});

test("an error of the work under the lock is not taken for a lock that is busy", async () => {
  openPage(undefined, { locks: { request: (_, __, work) => work() } });
  const { auth, lines } = await signedIn(json(401, { code: "session_revoked" }));
  assert.equal(await code(auth.refresh()), "session_revoked");
  assert.deepEqual(lines(), ["POST /auth/refresh/"]);
});

test("a late answer to a refresh does not revive the session before", async () => {
  for (const [name, end, tokenOf, events] of [
    ["sign-in again", (auth) => auth.signIn("ada", "x"), "a2", ["ada"]],
    ["sign-in as another", (auth) => auth.signIn("bob", "x"), "user_changed", ["nobody:user_changed", "bob"]],
    ["log-off", (auth) => auth.logOff(), "no_session", ["nobody"]],
    ["a log-off in another tab", (_, page) => page.channels[0].receive("signed-out"), "no_session", ["nobody"]],
  ]) {
    const page = openPage();
    const late = later();
    const answer = { "sign-in again": grant("ada", "a2"), "sign-in as another": grant("bob", "b1"), "log-off": {} }[name];
    const { auth, asked, ...client } = await signedIn(late.promise, answer && json(200, answer));
    const refresh = auth.refresh().then((token) => token.slice(0, 2), (error) => error.code);
    await end(auth, page);
    const state = auth.session()?.user.username;
    assert.ok(asked[0].signal.aborted, `${name}: the refresh is abandoned, with its cookie`);
    late.resolve(json(200, grant("ada", "a1")));
    assert.equal(await refresh, tokenOf, name);
    await settled();
    assert.equal(auth.session()?.user.username, state, name);
    assert.deepEqual(client.events, events, name);
  }
});

test("a refresh takes the session that another tab has opened", async () => {
  const mismatch = json(403, { code: "csrf_mismatch" });
  openPage();
  const same = await signedIn(mismatch.clone(), json(200, known("ada", "a2")), json(200, grant("ada", "a2")));
  assert.equal((await same.auth.token()).slice(0, 2), "a1");
  assert.equal((await same.auth.refresh()).slice(0, 2), "a2");
  assert.deepEqual(same.lines(), ["POST /auth/refresh/", "GET /auth/session/", "POST /auth/refresh/"]);
  assert.deepEqual(same.asked.map(({ body }) => body?.CSRF_token), ["csrf of a1", undefined, "csrf of a2"]);
  assert.deepEqual(same.events, ["ada"]);

  openPage();
  const other = await signedIn(mismatch.clone(), json(200, known("bob")), json(200, known("bob")), json(200, grant("bob")));
  assert.equal(await code(other.auth.refresh()), "user_changed");
  assert.deepEqual(other.events, ["nobody:user_changed"]);
  assert.equal(await code(other.auth.token()), "no_session", "not silently as bob");
  assert.equal((await other.auth.start()).user.username, "bob");

  openPage();
  const none = await signedIn(mismatch.clone(), json(401, { code: "no_session" }));
  assert.equal(await code(none.auth.refresh()), "no_session");
  assert.deepEqual(none.events, ["nobody"]);

  openPage();
  const stuck = await signedIn(mismatch.clone(), json(200, known("ada", "a1")), mismatch.clone());
  assert.equal(await code(stuck.auth.refresh()), "csrf_mismatch", "once, and not for ever");
  assert.equal(stuck.lines().length, 3);
});

test("log-off ends the session that is there", async () => {
  const mismatch = json(403, { code: "csrf_mismatch" });
  const page = openPage();
  const { auth, events, asked } = await signedIn(mismatch.clone(), json(200, known("bob")), json(200, { logout_url: "/bye" }));
  assert.deepEqual(await auth.logOff({ wait: "2s" }), { logout_url: "/bye" });
  assert.deepEqual(asked.map(({ url, body }) => [url, body?.CSRF_token]), [
    ["/auth/logoff/?wait=2s", "csrf of a1"], ["/auth/session/", undefined], ["/auth/logoff/?wait=2s", "csrf of bob"],
  ]);
  assert.deepEqual(events, ["nobody"]);
  assert.deepEqual(page.channels[0].sent, ["signed-in", "signed-out"]);

  openPage();
  const over = await signedIn(mismatch.clone(), json(401, { code: "session_ended" }), json(200, {}));
  await over.auth.logOff();
  assert.equal(over.auth.session(), null);

  openPage();
  const offline = await signedIn(new TypeError("Failed to fetch"));
  assert.equal(await code(offline.auth.logOff()), "network");
  assert.equal(offline.auth.session().user.username, "ada", "nothing has ended");
});

test("a page asks again who is signed in", async () => {
  for (const [name, happens] of [
    ["another tab signs in", (page) => page.channels[0].receive("signed-in")],
    ["the page is restored", (page) => page.emit("pageshow", { persisted: true })],
    ["the page becomes visible", (page) => page.emit("visibilitychange")],
    ["the network is back", (page) => page.emit("online")],
  ]) {
    for (const [session, answers, events, state] of [
      ["same", [json(200, known("ada", "a1"))], [], "ada"],
      ["same user's new one", [json(200, known("ada", "a2")), json(200, grant("ada", "a2"))], ["ada"], "ada"],
      ["another user's", [json(200, known("bob"))], ["nobody:user_changed"], undefined],
      ["none", [json(401, { code: "no_session" })], ["nobody"], undefined],
      ["unknown", [new TypeError("offline")], [], "ada"],
    ]) {
      const page = openPage();
      const client = await signedIn(...answers);
      happens(page);
      await settled();
      assert.deepEqual(client.events, events, `${name}: ${session}`);
      assert.equal(client.auth.session()?.user.username, state, `${name}: ${session}`);
      assert.equal(client.lines().length, answers.length);
      assert.ok(!page.channels[0].sent.slice(1).includes("signed-in"), "tabs do not tell each other for ever");
    }
    // Nobody before: whoever it is.
    const page = openPage();
    const broker = script(json(401, { code: "no_session" }), json(200, known("bob")), json(200, grant("bob")));
    const auth = createClient({ fetch: broker.fetch });
    assert.equal(await auth.start(), null);
    happens(page);
    await settled();
    assert.equal(auth.session().user.username, "bob", name);
  }
  const page = openPage();
  const { auth, lines } = await signedIn(json(200, known("bob")));
  page.emit("pageshow", { persisted: false });
  document.visibilityState = "hidden";
  page.emit("visibilitychange");
  await settled();
  assert.deepEqual(lines(), [], "a first load, and a page that is hidden");
  document.visibilityState = "visible";
  page.emit("visibilitychange");
  await settled();
  page.emit("visibilitychange");
  await settled();
  assert.deepEqual(lines(), ["GET /auth/session/"], "after user_changed the page itself has to ask");
  assert.equal(auth.session(), null);
});

test("an answer that may be older than a message is asked for again", async () => {
  const page = openPage();
  const old = later();
  const { auth, lines } = await signedIn(old.promise, json(200, known("ada", "a2")), json(200, grant("ada", "a2")));
  page.emit("visibilitychange");
  await settled();
  page.channels[0].receive("signed-in");
  page.channels[0].receive("signed-in");
  old.resolve(json(200, known("ada", "a1")));
  await settled();
  assert.deepEqual(lines(), ["GET /auth/session/", "GET /auth/session/", "POST /auth/refresh/"]);
  assert.equal((await auth.token()).slice(0, 2), "a2");
});

test("the first start of a page tells the other tabs of a session that is new here", async () => {
  const page = openPage();
  const start = () => createClient({ fetch: script(json(200, known("ada")), json(200, grant("ada"))).fetch }).start();
  await start();
  assert.deepEqual(page.channels[0].sent, ["signed-in"]);
  await start();
  assert.deepEqual(page.channels[1].sent, [], "not after a reload");
});

test("the snapshot is the same object until listeners are called", async () => {
  const page = openPage();
  const { fetch } = script(
    json(401, { code: "no_session" }), json(200, grant("ada")), json(200, known("ada")), json(200, grant("ada")),
    json(200, known("bob")), json(200, known("bob")), new TypeError("offline"), json(200, grant("bob")), json(200, {}),
  );
  const auth = createClient({ fetch });
  const states = [];
  let last = auth.snapshot();
  auth.onChange(() => { throw new Error("a listener that fails"); });
  auth.onChange((session, reason) => {
    const now = auth.snapshot();
    assert.notEqual(now, last);
    assert.equal(now.session, session);
    assert.equal(now.reason, reason);
    assert.ok(Object.isFrozen(now) && (!session || Object.isFrozen(session)));
    last = now;
    states.push([now.status, session && session.user.username, Boolean(session?.expiresAt), reason]);
  });
  const thrown = [];
  const caught = mock.method(globalThis, "queueMicrotask", (work) => { assert.throws(work); thrown.push(work); });
  assert.deepEqual(last, { status: "unknown", session: null });
  for (const step of [
    () => auth.start(),
    () => auth.signIn("ada", "x"),
    () => auth.start(),
    () => page.emit("visibilitychange"), // bob
    () => code(auth.start()), // taken over, but its refresh fails
    () => auth.token(),
    () => auth.logOff(),
  ]) {
    await step();
    await settled();
    assert.equal(auth.snapshot(), last);
    assert.equal(auth.session(), last.session);
  }
  caught.mock.restore();
  assert.deepEqual(states, [
    ["signed_out", null, false, undefined],
    ["signed_in", "ada", true, undefined],
    ["signed_in", "ada", true, undefined],
    ["signed_out", null, false, "user_changed"],
    ["signed_in", "bob", false, undefined],
    ["signed_in", "bob", true, undefined],
    ["signed_out", null, false, undefined],
  ]);
  assert.equal(thrown.length, states.length, "errors of listeners are the page's");
  auth.close();
  assert.deepEqual(auth.snapshot(), { status: "unknown", session: null });
  assert.match(version, /^\d+\.\d+\.\d+/);
});

test("calls of start at the same time share one answer", async () => {
  openPage();
  const { fetch, lines } = script(json(200, known("ada")), json(200, grant("ada")));
  const auth = createClient({ fetch });
  const [first, second] = await Promise.all([auth.start(), auth.start()]);
  assert.equal(first.user.username, second.user.username);
  assert.equal(lines().length, 2);
});

test("a cookie that another tab has just replaced is asked about again", async () => {
  openPage();
  const { fetch, lines } = script(json(401, { code: "refresh_token_superseded" }), json(200, known("ada")), json(200, grant("ada")));
  assert.equal((await createClient({ fetch }).start()).user.username, "ada");
  assert.deepEqual(lines(), ["GET /auth/session/", "GET /auth/session/", "POST /auth/refresh/"]);
});

test("login comes back to this page", () => {
  const long = "x".repeat(500);
  for (const [href, base, returnTo, want] of [
    ["http://app.test/orders/7?tab=2#part", "http://auth.test", undefined, "http://app.test/orders/7?tab=2#part"],
    ["http://app.test/orders/7?tab=2#part", undefined, undefined, "/orders/7?tab=2#part"],
    ["http://app.test/orders/7?tab=2#part", "http://APP.test/", undefined, "/orders/7?tab=2#part"],
    ["http://app.test/#/orders?x=1", "/sso/", undefined, "/#/orders?x=1"],
    ["http://app.test/a", "http://auth.test", "/b?c#d", "http://app.test/b?c#d"],
    ["http://app.test/a/b", "http://auth.test", "c", "http://app.test/a/c"],
    ["http://app.test/a", "http://auth.test", "http://auth.test/b#c", "/b#c"],
    ["http://app.test/a", undefined, "/b?c#d", "/b?c#d"],
    ["http://app.test/a", undefined, "http://other.test/b", "http://other.test/b"],
    ["http://app.test//a", undefined, undefined, "http://app.test//a"],
    ["http://app.test/é/100%?q=ü\\#ö%\\", undefined, undefined, "/%C3%A9/100%25?q=%C3%BC%5C#%C3%B6%\\"],
    [`http://app.test/a?${long}#b`, "http://auth.test", undefined, "http://app.test/a"],
    [`http://app.test/a?b#${long}`, "http://auth.test", undefined, "http://app.test/a?b"],
    [`http://app.test/${long}`, "http://auth.test", undefined, "http://app.test/"],
  ]) {
    const page = openPage(href);
    createClient({ base }).login({ provider: "corp", ...(returnTo && { returnTo }) });
    const left = new URL(page.left, href);
    assert.equal(left.searchParams.get("return_to"), want, href);
    assert.equal(left.searchParams.get("provider"), "corp");
    assert.equal(left.pathname.endsWith("/auth/login/"), true);
  }
});

test("close releases everything", async () => {
  const held = later();
  const locks = {
    request: (_, { signal }, work) => new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      held.promise.then(() => work().then(resolve, reject));
    }),
  };
  const busy = () => json(503, { code: "busy" }, { "Retry-After": "5" });
  for (const [name, what, answers, options] of [
    ["start", (auth) => auth.start(), [never()]],
    ["refresh", (auth) => auth.refresh(), [never()]],
    ["sign-in", (auth) => auth.signIn("ada", "x"), [never()]],
    ["log-off", (auth) => auth.logOff(), [never()]],
    ["a wait for the lock", (auth) => auth.refresh(), [], { locks }],
    ["a wait for Retry-After", (auth) => auth.logOff(), [busy()]],
  ]) {
    const page = openPage();
    const { auth, lines, events } = await signedIn(...answers);
    if (options) navigator.locks = options.locks;
    const ended = code(what(auth));
    await settled();
    const before = lines().length;
    auth.close();
    auth.close();
    assert.equal(await ended, "closed", name);
    assert.ok(page.channels[0].closed);
    assert.equal(timersLeft(), 0, name);
    for (const type of ["pageshow", "visibilitychange", "online"]) page.emit(type, { persisted: true });
    tick(600_000);
    await settled();
    assert.equal(lines().length, before, `${name}: nothing is asked afterwards`);
    assert.deepEqual(events, []);
    assert.equal(auth.session(), null);
    for (const call of [() => auth.token(), () => auth.start(), () => auth.fetch("/x"), () => auth.signIn("a", "b"), () => auth.logOff()]) {
      assert.equal(await code(call()), "closed");
    }
  }
});
