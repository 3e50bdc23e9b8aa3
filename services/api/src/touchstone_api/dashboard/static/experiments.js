import { localTimes } from "./clock.js";

localTimes(document);

// One at a time: a verdict asked for the first time is computed then.
for (const headline of document.querySelectorAll("[data-verdict]")) {
  const answer = await fetch(headline.dataset.verdict);
  const body = await answer.json();
  headline.textContent = answer.ok ? body.headline : body.detail;
}
