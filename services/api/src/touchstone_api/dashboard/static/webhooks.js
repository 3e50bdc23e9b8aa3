// Addresses are added, tested and removed by the api, which answers with the secret of a new one this once.
import { element, jsonHeaders } from "./elements.js";

const answerElement = document.getElementById("answer");
const form = document.getElementById("add-webhook");

// The answer, or nothing where it was refused; then that is shown.
async function send(method, address, body) {
  const answer = await fetch(address, { method, headers: jsonHeaders(), body: body && JSON.stringify(body) });
  const text = await answer.text();
  const found = text ? JSON.parse(text) : {};
  if (answer.ok) return found;
  const fields = (found.errors ?? []).map((error) => element("li", { textContent: error.detail }));
  answerElement.replaceChildren(
    element("p", { className: "problem", role: "alert", textContent: `${found.title}: ${found.detail}` }),
    element("ul", {}, ...fields));
  return null;
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const added = await send("POST", "/v1/webhooks", { url: form.elements.url.value });
  if (!added) return;
  if (!added.secret) {
    answerElement.replaceChildren(element("p", { textContent: "The address was registered before." }));
    return;
  }
  answerElement.replaceChildren(
    element("p", { textContent: "Added. Keep the secret that messages are signed with; it is shown this once:" }),
    element("pre", {}, element("code", { textContent: added.secret })),
    element("p", {}, element("a", { href: "/webhooks", textContent: "Show the new list" })));
  form.reset();
});

document.addEventListener("click", async (event) => {
  const { test, remove } = event.target.dataset;
  if (test && (await send("POST", `/v1/webhooks/${test}/test`))) location.assign("/webhooks");
  if (remove && confirm("Tell this address nothing more, and forget its messages?")
    && (await send("DELETE", `/v1/webhooks/${remove}`))) location.assign("/webhooks");
});
