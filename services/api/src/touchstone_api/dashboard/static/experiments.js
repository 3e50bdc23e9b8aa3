import { localTimes } from "./clock.js";

localTimes(document);

// One at a time: a verdict asked for the first time is computed then.
for (const place of document.querySelectorAll("[data-verdict]")) {
  const answer = await fetch(place.dataset.verdict);
  const body = await answer.json();
  place.textContent = answer.ok ? body.headline : body.detail;
}
