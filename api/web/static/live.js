// Keeps a page up to date. The page of a running experiment hears by server-sent events that something happened; one
// with `data-every` looks every so many seconds while somebody sees it. The parts marked `data-live` are then fetched
// anew. Without this script the page is the same, as of when it was loaded.
"use strict";

const address = document.querySelector("[data-events]")?.dataset.events;
let pauseAfter = 5000; // between two fetches, in ms: the more watch, the longer
let planned = null;
let last = 0; // when the page was fetched
let heard = (address && new URL(address, location).searchParams.get("after")) || "0"; // of which the page is to tell

// Makes a part say what a fresh one says, and leaves alone what is the same: where a reader has scrolled to, what is
// opened, and what has the focus.
function renew(part, fresh) {
  if (part.nodeName !== fresh.nodeName) return part.replaceWith(fresh);
  if (part.nodeType !== Node.ELEMENT_NODE) {
    if (part.data !== fresh.data) part.data = fresh.data;
    return;
  }
  for (const { name } of [...part.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) part.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (part.getAttribute(name) !== value) part.setAttribute(name, value);
  const [own, other] = [[...part.childNodes], [...fresh.childNodes]];
  other.forEach((child, at) => (at < own.length ? renew(own[at], child) : part.append(child)));
  own.slice(other.length).forEach((child) => child.remove());
}

async function refresh() {
  planned = null;
  last = Date.now();
  const answer = await fetch(location.href, { headers: { Accept: "text/html", "Twostream-Watched": heard } })
    .catch(() => null);
  if (!answer?.ok) return; // the next one may do better
  pauseAfter = 1000 * (Number(answer.headers.get("Twostream-Pause")) || 5);
  if (answer.status === 204) { // what tells of it is made then, for all who watch
    planned ??= setTimeout(refresh, pauseAfter);
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next) renew(part, next);
  }
}

function plan(event, pause) {
  heard = event.lastEventId || heard;
  planned ??= setTimeout(refresh, Math.max(pause, last + pauseAfter - Date.now()));
}

function progress(event) {
  const told = JSON.parse(event.data);
  const row = document.querySelector(`[data-stage="${CSS.escape(told.stage_key)}"]`);
  if (!row) return plan(event, 1000);
  const { done, total, unit, message } = told.data;
  row.querySelector("progress").max = total || 1;
  row.querySelector("progress").value = done;
  row.querySelector("small").textContent = `${done} of ${total} ${unit}${message ? `, ${message}` : ""}`;
}

if (address) {
  const source = new EventSource(address);
  const kinds = ["experiment.running", "experiment.cancelling", "stage.ready", "stage.running", "stage.retried",
    "stage.metrics", "stage.warning", "stage.succeeded", "stage.failed", "stage.cancelled"];
  for (const kind of kinds) source.addEventListener(kind, (event) => plan(event, 500));
  source.addEventListener("stage.progress", progress);
  source.addEventListener("use", (event) => plan(event, 0));
  source.addEventListener("end", () => {
    source.close();
    clearTimeout(planned);
    setTimeout(() => location.reload(), 300); // pictures and results stand in what is not live
  });
}

const every = Number(document.querySelector("[data-every]")?.dataset.every);
if (every) setInterval(() => document.hidden || refresh(), 1000 * every);
