import { createClient } from "./client.js";
import { callAll, count, refusals, reset, summarize } from "./demo-services.js";
import { keep, note, recall } from "./demo-story.js";
import { figure, named, wordsFor } from "./demo-words.js";

const $ = (id) => document.getElementById(id);
const services = [...document.querySelectorAll(".service")].map(({ dataset }) => dataset.origin);
const auth = createClient({ api: services });
const OLD = 5; // refreshes that make a copy of the cookie older than those of slow tabs
const all = count === 1 ? "The service" : `All ${count} services`;
let held = null; // the last access token, kept to show that it is dead
let ends = 0; // when it expires, by this machine's clock
let busy = false; // while a button's work runs, what happens to the session is that work's

function explain(text, kind = "good") {
  $("why").textContent = text;
  $("why").className = kind;
  $("elsewhere").replaceChildren();
}

function claimsOf(token) {
  const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function readable(claims) {
  const time = (v) => `${v}  (${new Date(v * 1000).toLocaleTimeString()})`;
  return Object.entries(claims)
    .map(([name, value]) => `${name.padEnd(10)} ${["exp", "iat", "nbf", "auth_time"].includes(name) ? time(value) : JSON.stringify(value)}`)
    .join("\n");
}

async function render(session) {
  $("in").hidden = !session;
  $("out").hidden = Boolean(session);
  if (!session?.expiresAt) return;
  $("who").textContent = session.user?.username ?? session.user?.id ?? "?";
  held = await auth.token();
  ends = auth.session()?.expiresAt ?? ends;
  const claims = claimsOf(held);
  $("token").textContent = held;
  $("claims").textContent = readable(claims);
  $("life").max = claims.exp - claims.iat;
  tick();
}

const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
const left = () => Math.max(0, (ends - Date.now()) / 1000);

function tick() {
  if (!auth.session()?.expiresAt) return;
  $("left").textContent = `${clock(left())} of ${clock($("life").max)} left`;
  $("life").value = left();
}
setInterval(tick, 500);

// attempt does the work of a button, and says in words what went wrong.
async function attempt(button, problem, work) {
  if (busy) return;
  busy = true;
  button.disabled = true;
  $("problem").textContent = $("trouble").textContent = "";
  try {
    await work();
  } catch (error) {
    $(auth.session() ? "trouble" : problem).textContent = wordsFor(error);
    note("bad", "That did not work.", wordsFor(error));
    return error;
  } finally {
    busy = false;
    button.disabled = false;
  }
}

const onClick = (id, work) => $(id)?.addEventListener("click", ({ currentTarget }) => attempt(currentTarget, "problem", work));

async function callServices() {
  const began = performance.now();
  const { statuses, body } = await callAll((url) => auth.fetch(url));
  const took = performance.now() - began;
  if (statuses.every((status) => status === 200)) {
    note("good", `${all} answered 200.`, JSON.stringify(body, null, 1).replace(/\s*\n\s*/g, " "), took);
  } else {
    note("bad", "The services answered", `${statuses.join(", ")}.`, took);
  }
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { username, password } = event.target;
  for (const field of [username, password]) field.removeAttribute("aria-invalid");
  const error = await attempt(event.submitter ?? event.target.querySelector("button"), "problem", async () => {
    const began = performance.now();
    await auth.signIn(username.value, password.value);
    note("good", "Signed in.", "", performance.now() - began);
    await arrive();
  });
  if (error?.code !== "invalid_credentials") return;
  for (const field of [username, password]) field.setAttribute("aria-invalid", "true");
  password.select();
});

// arrive shows the services' answers to the new token.
async function arrive() {
  explain("");
  reset();
  await callServices();
}

onClick("hello", callServices);

onClick("refresh", async () => {
  const began = performance.now();
  await auth.refresh();
  note("good", "Refreshed:", "a new access token, and the cookie rotated.", performance.now() - began);
});

$("second-tab").addEventListener("click", () => note("plain", "Opened a second tab.", "Log off in one of them, and look at the other."));

// watch counts from now until every service refuses the token. ready says when that is to be shown.
function watch(token, after) {
  const stop = new AbortController();
  const seconds = left();
  const done = refusals(token, performance.now(), after, stop.signal).then((times) => {
    const slowest = figure(Math.max(...times));
    summarize({ headline: `${all} refused the token ${slowest} ms after ${after}.`, detail: `It has not expired: it had ${clock(seconds)} left.` });
    note("good", `${all} refuse the token: token_revoked.`, `It had ${clock(seconds)} left. ${slowest} ms after ${after}.`);
  });
  done.catch(() => {}); // awaited by the caller, or stopped
  const end = () => {
    stop.abort();
    reset();
  };
  return { done, stop: end };
}

function receiptsOf({ applied, of, slowest_ms }) {
  if (of === undefined) return "The session was over before.";
  if (of === 0) return "No service is listening.";
  return `Receipts: ${applied} of ${of} ${of === 1 ? "service has" : "services have"} applied it, the slowest after ${slowest_ms} ms.`;
}

onClick("log-off", async () => {
  const token = await auth.token();
  const began = performance.now();
  const refused = watch(token, "the click"); // beside the log-off, which waits for receipts
  summarize({ receipts: "Receipts: waiting for the services." });
  const answer = await auth.logOff({ wait: "2s" }).catch((error) => {
    refused.stop();
    throw error;
  });
  const receipts = receiptsOf(answer);
  summarize({ receipts });
  note("good", "Signed out, on disk.", receipts, performance.now() - began);
  explain("You are signed out.");
  if (answer.logout_url) offerLogOut(answer.logout_url);
  await refused.done;
});

// offerLogOut links to the page that ends the session at the provider.
function offerLogOut(url) {
  const link = document.createElement("a");
  link.className = "button";
  link.id = "provider-log-out";
  const target = new URL(url);
  if (target.searchParams.has("logout_uri")) target.searchParams.set("logout_uri", `${location.origin}/`); // also on localhost
  link.href = target;
  link.textContent = `Sign out at ${named(recall("provider"))} also`;
  link.addEventListener("click", () => keep("left", "log-out"));
  $("elsewhere").replaceChildren(link);
}

async function askThief(path) {
  const url = new URL($("stolen").dataset.thief);
  if (location.hostname === "localhost") url.hostname = "localhost"; // where the browser sends the cookie
  const answer = await fetch(new URL(path, url), { method: "POST", credentials: "include" });
  if (!answer.ok) throw new Error(`the thief answered ${answer.status}`);
  return answer.json();
}

onClick("stolen", async () => {
  const taken = await askThief("");
  if (taken.status !== 200) throw new Error(`the thief did not get a cookie that works (${taken.code})`);
  note("plain", "A thief has a copy of the cookie.", "It is HttpOnly, so this page cannot read it. But browsers send a host's cookies to all of its ports, and a program on another port took it.");
  for (let i = 0; i < OLD; i++) await auth.refresh();
  note("plain", `This page refreshed ${OLD} times.`, "Each refresh replaced the cookie, so the copy is old.");
  const token = await auth.token();
  const refused = watch(token, "the thief's request");
  const { status, code } = await askThief("use/");
  if (status === 200) {
    refused.stop();
    throw new Error("the broker took the old cookie");
  }
  note("good", `The broker refused the thief: ${code}.`, "Two hold one cookie, and it cannot tell who is the thief: it ended the session for both.");
  await refused.done;
  await auth.refresh().catch((error) => {
    if (auth.session()) throw error;
  });
  explain("The old cookie was detected, and the session ended everywhere. Sign in again.");
});

for (const link of document.querySelectorAll("#providers a")) {
  link.textContent = `Sign in with ${named(link.dataset.provider)}`;
  link.addEventListener("click", () => {
    keep("provider", link.dataset.provider);
    keep("left", "login");
  });
}

// A change that no button of this tab made: the session ended, or began, somewhere else.
auth.onChange((session, reason) => {
  render(session).catch(() => {});
  if (busy || session) return;
  if (reason === "user_changed") {
    explain("Another user has signed in in this browser. Reload the page to go on as that user.", "bad");
    note("bad", "Another user has signed in", "in this browser.");
    return;
  }
  explain("You were signed out: by another tab, or because the session was ended.");
  note("bad", "Signed out", "by another tab, or because the session was ended.");
  if (held) watch(held, "this tab was told").done.catch(() => {});
});

// comingBack says where this page load comes from: reload, login, log-out or nothing of these.
function comingBack() {
  const { type } = performance.getEntriesByType("navigation")[0] ?? {};
  const from = recall("left");
  keep("left", null);
  if (type === "reload") return "reload";
  return type === "back_forward" ? "" : from;
}
addEventListener("pageshow", ({ persisted }) => persisted && keep("left", null));

async function begin() {
  const from = comingBack();
  const failed = new URLSearchParams(location.search).get("error");
  if (failed) history.replaceState(null, "", location.pathname);
  busy = true;
  try {
    const session = await auth.start();
    await render(session);
    if (failed) {
      $(session ? "trouble" : "problem").textContent = wordsFor({ code: failed, message: `the sign-in did not work (${failed})` });
      note("bad", "The sign-in did not work:", failed);
    } else if (!session) {
      if (from === "log-out") {
        explain(`You are signed out, here and at ${named(recall("provider"))}.`);
        note("good", `Signed out at ${named(recall("provider"))} also.`);
      }
    } else if (from === "login") {
      note("good", `Signed in with ${named(recall("provider"))}.`);
      await arrive();
    } else {
      note("good", from === "reload" ? "Still signed in after the reload." : "Signed in already:", from === "reload" ? "" : "all tabs of a browser share the session.");
      await arrive();
    }
  } catch (error) {
    await render(auth.session());
    $("problem").textContent = wordsFor(error);
  } finally {
    busy = false;
  }
}
begin();
