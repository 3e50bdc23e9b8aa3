// Keeps a page true while its experiment runs: on every event the page is fetched again and the sections marked
// `data-live` are exchanged, so that all wording and escaping stays on the server.
import { localTimes } from "./clock.js";

const REFRESH_MILLISECONDS = 1000;

function exchange(page) {
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const stale = document.getElementById(fresh.id);
    if (stale && stale.outerHTML !== fresh.outerHTML) {
      const open = [...stale.querySelectorAll("details")].map((part) => part.open);
      fresh.querySelectorAll("details").forEach((part, number) => (part.open = open[number] ?? part.open));
      stale.replaceWith(document.adoptNode(fresh));
    }
  }
  localTimes(document);
}

export async function refresh() {
  const answer = await fetch(location.pathname + location.search);
  if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
}

// `refreshed` is called after each event, at most once a second.
export function follow(experiment, refreshed) {
  let waiting = null;
  let refreshing = Promise.resolve();
  function soon() {
    waiting ??= setTimeout(() => {
      waiting = null;
      refreshing = refreshing.then(refreshed).catch(() => {});
    }, REFRESH_MILLISECONDS);
  }
  const events = new EventSource(`/v1/experiments/${experiment}/events`);
  for (const name of ["step.started", "step.progress", "step.succeeded", "step.failed", "experiment.phase"]) {
    events.addEventListener(name, soon);
  }
  // The server answers 204 once the experiment has ended; a browser then gives up by itself.
  events.addEventListener("error", soon);
}
