// Keeps the page true while the experiment runs: on every event the page is fetched again and the sections marked
// `data-live` are exchanged, so that all wording and escaping stays on the server.
import { openClasses } from "./classes.js";
import { localTimes } from "./clock.js";
import { openGallery } from "./gallery.js";
import { openManagement } from "./manage.js";

const REFRESH_MILLISECONDS = 1000;
const experiment = document.getElementById("experiment").dataset.id;
const gallery = openGallery(experiment);
const classes = openClasses(experiment);
let waiting = null;
let refreshing = Promise.resolve();

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

async function refresh() {
  const answer = await fetch(location.pathname);
  if (!answer.ok) return;
  exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
  gallery.update();
  classes.update();
}

function soon() {
  waiting ??= setTimeout(() => {
    waiting = null;
    refreshing = refreshing.then(refresh).catch(() => {});
  }, REFRESH_MILLISECONDS);
}

function watch() {
  const events = new EventSource(`/v1/experiments/${experiment}/events`);
  for (const name of ["step.started", "step.progress", "step.succeeded", "step.failed", "experiment.phase"]) {
    events.addEventListener(name, soon);
  }
  // The server answers 204 once the experiment has ended; a browser then gives up by itself.
  events.addEventListener("error", soon);
}

localTimes(document);
openManagement(experiment, refresh);
classes.update();
if (["queued", "running"].includes(document.getElementById("head").dataset.phase)) watch();
