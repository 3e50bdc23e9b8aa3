// What a person may do with an experiment: rename, tag, archive, cancel, retry, delete. The page is read anew afterwards.
import { jsonHeaders } from "./elements.js";

const CHANGES = { archive: { archived: true }, unarchive: { archived: false } };

function tagsIn(text) {
  return text.split(",").map((tag) => tag.trim()).filter(Boolean);
}

export async function send(address, method, document_) {
  const answer = await fetch(address, { method, headers: jsonHeaders(), body: document_ && JSON.stringify(document_) });
  if (answer.ok) return null;
  const problem = await answer.json();
  const fields = (problem.errors ?? []).map((error) => `${error.pointer}: ${error.detail}`);
  return [`${problem.title}: ${problem.detail}`, ...fields].join(". ");
}

// In the element for it within `within`.
export function showFailure(within, failure) {
  const alertBox = within.querySelector("[role=alert]");
  alertBox.className = "problem";
  alertBox.textContent = failure;
  alertBox.hidden = false;
}

export function openManagement(experiment, refresh) {
  const address = `/v1/experiments/${experiment}`;

  async function done(within, failure, follow = refresh) {
    return failure === null ? follow() : showFailure(within, failure);
  }

  // Listened to from outside: the page exchanges what is inside while the experiment runs.
  const page = document.getElementById("experiment");
  page.addEventListener("submit", async (event) => {
    if (!event.target.matches("[data-manage]")) return;
    event.preventDefault();
    const { name, tags } = event.target.elements;
    const failure = await send(address, "PATCH", { name: name.value, tags: tagsIn(tags.value) });
    await done(event.target.closest("details"), failure);
  });
  page.addEventListener("click", async (event) => {
    const what = event.target.closest("button[data-manage]")?.dataset.manage;
    if (!what) return;
    const within = event.target.closest("details");
    if (what === "delete") {
      if (!window.confirm("Delete this experiment with its history and its verdict?")) return;
      await done(within, await send(address, "DELETE"), () => location.assign("/"));
    } else if (what in CHANGES) {
      await done(within, await send(address, "PATCH", CHANGES[what]));
    } else {
      await done(within, await send(`${address}/${what}`, "POST"), () => location.reload());
    }
  });
}
