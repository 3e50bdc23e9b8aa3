// A search by an image, which needs a script to be sent, and the end of a search that is under way.
import { element, jsonHeaders } from "./elements.js";

const MOST_BYTES = 4 * 2 ** 20;
const LOOK_AGAIN_MS = 1500;

function tell(text) {
  const answer = document.getElementById("search-answer");
  answer.replaceChildren(element("p", { className: "problem", role: "alert", textContent: text }));
}

// The part of a data URL behind the comma: base64.
function bytesOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.split(",")[1] ?? ""));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}

async function searchByImage(form) {
  const [file] = form.elements.image.files;
  if (file.size > MOST_BYTES) {
    tell("The image is larger than 4 MiB. Send a smaller one: it is scaled to the encoder's size anyway.");
    return;
  }
  const path = `/upstreams/${form.dataset.upstream}`;
  const body = JSON.stringify({ image: await bytesOf(file), limit: 24 });
  const answer = await fetch(`/v1${path}/search`, { method: "POST", headers: jsonHeaders(), body });
  const found = await answer.json();
  if (answer.ok) location.assign(`${path}/searches/${found.id}`);
  else tell(`${found.title}: ${found.detail}`);
}

async function lookAgain(address) {
  const answer = await fetch(address).catch(() => null);
  if (answer?.ok && !["queued", "running"].includes((await answer.json()).phase)) location.reload();
  else setTimeout(() => lookAgain(address), LOOK_AGAIN_MS);
}

const form = document.getElementById("search-image");
if (form) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    document.getElementById("search-answer").replaceChildren(element("p", { textContent: "Searching…" }));
    try {
      await searchByImage(form);
    } catch {
      tell("The server does not answer. Try again.");
    } finally {
      button.disabled = false;
    }
  });
}

const waiting = document.getElementById("waiting");
if (waiting) setTimeout(() => lookAgain(waiting.dataset.search), LOOK_AGAIN_MS);
