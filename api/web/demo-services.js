// The sample services side by side: whether they accept the token, and when they refuse it.
import { keep, recall } from "./demo-story.js";
import { figure } from "./demo-words.js";

const PATIENCE = 10e3; // milliseconds until a service that still accepts the token is a failure
const cards = [...document.querySelectorAll(".service")];
const $ = (id) => document.getElementById(id);

export const count = cards.length;

function show(card, shown) {
  const { state, number, unit, verdict } = shown;
  card.dataset.state = state;
  const small = document.createElement("small");
  small.textContent = unit ?? "";
  card.querySelector(".figure").replaceChildren(number, small);
  card.querySelector(".verdict").textContent = verdict;
  card.shown = shown;
  keep("services", cards.map(({ shown }) => shown));
}

// summarize writes the lines below the services: headline, detail and receipts.
export function summarize(texts) {
  const summary = { ...recall("summary"), ...texts };
  for (const [id, text] of Object.entries(summary)) $(id).textContent = text;
  keep("summary", summary);
}

export function reset() {
  for (const card of cards) {
    show(card, { state: "", number: "–", verdict: "not called yet" });
    delete card.dataset.state;
  }
  summarize({ headline: "", detail: "", receipts: "" });
}

async function ask(card, send) {
  try {
    return await send(`${card.dataset.origin}/hello`);
  } catch (error) {
    if (error.name !== "AbortError") show(card, { state: "fails", number: "–", verdict: "does not answer" });
    throw error;
  }
}

// callAll calls every service once with send, and returns the statuses and one answer.
export async function callAll(send) {
  let body = null;
  const statuses = await Promise.all(cards.map(async (card) => {
    const began = performance.now();
    const answer = await ask(card, send);
    const ms = performance.now() - began;
    const value = await answer.json().catch(() => ({}));
    if (answer.ok) {
      body = value;
      show(card, { state: "accepts", number: String(answer.status), verdict: `accepts the token, in ${figure(ms)}\u00a0ms` });
    } else {
      show(card, { state: "fails", number: String(answer.status), verdict: `refuses the token: ${value.code ?? "no code"}` });
    }
    return answer.status;
  }));
  return { statuses, body };
}

// refusals asks every service with the token until it refuses, and returns after how many
// milliseconds from began each did. It ends early with signal.
export function refusals(token, began, after, signal) {
  const send = (url) => fetch(url, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store", signal });
  summarize({ headline: "", detail: "", receipts: "" });
  $("services").scrollIntoView({ block: "nearest" });
  return Promise.all(cards.map(async (card) => {
    show(card, { state: "accepts", number: "…", verdict: "still accepts the token" });
    for (;;) {
      const answer = await ask(card, send);
      const ms = performance.now() - began;
      if (answer.status === 401) {
        const { code } = await answer.json().catch(() => ({}));
        show(card, { state: "refuses", number: figure(ms), unit: "ms", verdict: `after ${after}: ${code}` });
        return ms;
      }
      if (ms > PATIENCE) throw new Error("a service still accepts the token");
    }
  }));
}

recall("services")?.forEach((shown, i) => shown && cards[i] && show(cards[i], shown));
summarize({});
