// Keeps the page of a running experiment up to date: server-sent events say that something happened, and the parts
// marked `data-live` are then fetched anew. Without this script the page is the same, as of when it was loaded.
"use strict";

const PAUSE = 5000; // between two fetches, in ms
const address = document.querySelector("[data-events]")?.dataset.events;
const opened = Date.now() / 1000;
let planned = null;
let last = 0;

async function refresh() {
  planned = null;
  last = Date.now();
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next && next.innerHTML !== part.innerHTML) part.innerHTML = next.innerHTML;
  }
}

function plan(pause) {
  planned ??= setTimeout(refresh, Math.max(pause, last + PAUSE - Date.now()));
}

function progress(event) {
  const told = JSON.parse(event.data);
  const row = document.querySelector(`[data-stage="${CSS.escape(told.stage_key)}"]`);
  if (!row) return plan(1000);
  const { done, total, unit, message } = told.data;
  row.querySelector("progress").max = total || 1;
  row.querySelector("progress").value = done;
  row.querySelector("small").textContent = `${done} of ${total} ${unit}${message ? `, ${message}` : ""}`;
}

function isNews(event) {
  return Date.parse(JSON.parse(event.data).created_at) / 1000 > opened - 5;
}

if (address) {
  const source = new EventSource(address);
  const kinds = ["experiment.running", "experiment.cancelling", "stage.ready", "stage.running", "stage.retried",
    "stage.metrics", "stage.warning", "stage.succeeded", "stage.failed", "stage.cancelled"];
  for (const kind of kinds) source.addEventListener(kind, (event) => isNews(event) && plan(500));
  source.addEventListener("stage.progress", progress);
  source.addEventListener("end", () => {
    source.close();
    clearTimeout(planned);
    setTimeout(() => location.reload(), 300); // pictures and results stand in what is not live
  });
}
