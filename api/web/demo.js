import { createClient } from "./client.js";

const { sample, providers } = document.documentElement.dataset;
const auth = createClient({ api: [sample] });
const $ = (id) => document.getElementById(id);

function note(kind, title, detail = "", began) {
  const line = document.createElement("li");
  line.className = kind;
  const name = document.createElement("b");
  name.textContent = title;
  const took = document.createElement("small");
  took.textContent = began === undefined ? "" : ` ${(performance.now() - began).toFixed(1)} ms`;
  line.append(name, detail && ` ${detail}`, took);
  $("log").prepend(line);
}

const readable = {
  exp: (v) => `${v}  (${new Date(v * 1000).toLocaleTimeString()})`,
  iat: (v) => `${v}  (${new Date(v * 1000).toLocaleTimeString()})`,
};

function claimsOf(token) {
  const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  return Object.entries(JSON.parse(new TextDecoder().decode(bytes)))
    .map(([name, value]) => `${name.padEnd(10)} ${readable[name]?.(value) ?? JSON.stringify(value)}`)
    .join("\n");
}

async function render(session) {
  $("in").hidden = !session;
  $("out").hidden = Boolean(session);
  if (!session?.expiresAt) return;
  $("who").textContent = session.user?.username ?? session.user?.id ?? "?";
  const token = await auth.token();
  $("token").textContent = token;
  $("claims").textContent = claimsOf(token);
}

setInterval(() => {
  const session = auth.session();
  if (!session?.expiresAt) return;
  const left = Math.max(0, (session.expiresAt - Date.now()) / 1000);
  $("left").textContent = `${Math.round(left)} s left`;
  $("life").value = left / 300;
}, 500);

const callService = (token) => fetch(`${sample}/hello`, { headers: { Authorization: `Bearer ${token}` } });

async function attempt(what, work) {
  const began = performance.now();
  try {
    await work(began);
  } catch (error) {
    note("bad", `${what} failed:`, `${error.code ?? error.name} · ${error.message}`, began);
  }
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  attempt("Sign-in", async (began) => {
    await auth.signIn(form.get("username"), form.get("password"));
    note("good", "Signed in.", "", began);
  });
});

$("hello").addEventListener("click", () =>
  attempt("The call", async (began) => {
    const answer = await auth.fetch(`${sample}/hello`);
    note(answer.ok ? "good" : "bad", `The service answered ${answer.status}.`, await answer.text(), began);
  }));

$("refresh").addEventListener("click", () =>
  attempt("Refresh", async (began) => {
    await auth.refresh({ force: true });
    note("good", "Refreshed: a new access token, and the cookie rotated.", "", began);
  }));

// refusal is when the service refuses the token, counted from began. It asks until ended says
// that there is nothing to wait for.
async function refusal(token, began, ended) {
  while (!ended()) {
    const answer = await callService(token);
    const ms = performance.now() - began;
    if (answer.status === 401) return { code: (await answer.json()).code, ms };
    if (ms > 10_000) throw new Error("the service still accepts the token");
  }
}

$("log-off").addEventListener("click", () =>
  attempt("Log-off", async (began) => {
    const token = await auth.token(); // kept, to show that it is dead
    let failed = false;
    const refused = refusal(token, began, () => failed); // beside the log-off, which may wait for others
    refused.catch(() => {}); // it is awaited below
    const { logout_url, applied, of, slowest_ms } = await auth.logOff({ wait: "2s" }).catch((error) => {
      failed = true;
      throw error;
    });
    let services = `${applied} of ${of} ${of === 1 ? "service" : "services"} knew it ${slowest_ms} ms later.`;
    if (of === 0) services = "No service is listening.";
    if (of === undefined) services = "The session was over before.";
    note("good", "Signed out, on disk.", services, began);
    const { code, ms } = await refused;
    note("bad", `The service refuses the token: ${code}.`, `It has not expired. ${ms.toFixed(1)} ms after the click.`);
    if (logout_url) {
      const link = document.createElement("a");
      link.href = logout_url;
      link.textContent = "End the session at the provider, too";
      $("log").firstChild.append(" ", link);
    }
  }));

for (const name of providers ? providers.split(" ") : []) {
  const link = document.createElement("a");
  link.className = "button";
  link.href = `/auth/login/?${new URLSearchParams({ provider: name, return_to: "/" })}`;
  link.textContent = `Sign in with ${name[0].toUpperCase()}${name.slice(1)}`;
  $("providers").append(link, " ");
}

const failed = new URLSearchParams(location.search).get("error");
if (failed) {
  note("bad", "The sign-in did not work:", failed);
  history.replaceState(null, "", location.pathname);
}

auth.onChange((session) => render(session).catch(() => {}));
attempt("Start", async () => {
  const session = await auth.start();
  if (session) note("good", "Still signed in after the reload.");
  await render(session);
});
