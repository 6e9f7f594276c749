// The story of this tab: what happened, also before it left for a provider and came back. It
// holds no token.
import { figure } from "./demo-words.js";

const KEY = "tokenbroker:demo";
const MAX_LINES = 50;
const list = document.getElementById("log");

const kept = (() => {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
})();
const lines = (kept.lines ??= []);

export const recall = (name) => kept[name];

export function keep(name, value) {
  kept[name] = value;
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Without storage the story ends with the page.
  }
}

function draw({ kind, title, detail, ms }) {
  const line = document.createElement("li");
  line.className = kind;
  const name = document.createElement("b");
  name.textContent = title;
  line.append(name, detail && ` ${detail}`);
  if (ms !== undefined) {
    const took = document.createElement("small");
    took.textContent = `${figure(ms)} ms`;
    line.append(" ", took);
  }
  list.prepend(line);
}

// note adds a line. Its kind is good, bad or plain; ms is how long it took, if that matters.
export function note(kind, title, detail = "", ms = undefined) {
  const line = { kind, title, detail, ms };
  lines.push(line);
  keep("lines", lines.slice(-MAX_LINES));
  draw(line);
}

lines.forEach(draw);
