// A spec is estimated, then posted. What was wrong with it is shown field by field, as the api says it.
import { element, table } from "./elements.js";

const form = document.getElementById("new-experiment");
const place = document.getElementById("estimate");
const { spec, seed_sd: seeds, image_sd: images, interaction_sd: interaction, estimate } = form.elements;
const SPREADS = { seed_sd: seeds, image_sd: images, interaction_sd: interaction };
const HOURS = ["generate", "embed", "adapt", "evaluate", "total"];

const paragraph = (textContent, className = "") => element("p", { textContent, className });
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

function problem(found) {
  const fields = (found.errors ?? []).map((error) =>
    element("li", { textContent: error.pointer ? `${error.pointer}: ${error.detail}` : error.detail }));
  return [element("p", { className: "problem", role: "alert", textContent: `${found.title}: ${found.detail}` }),
    element("ul", {}, ...fields)];
}

function power(found) {
  if (!found) return [paragraph("Fewer than two arms train, so nothing is compared.")];
  const parts = [paragraph(found.summary, "headline")];
  if (found.warning) parts.push(paragraph(found.warning, "problem"));
  return [...parts, paragraph(found.basis, "note")];
}

function estimation(answer) {
  const steps = sum(answer.steps_by_kind);
  const rows = answer.gpu_hours.map((hours) => [hours.gpu, ...HOURS.map((part) => hours[part].toFixed(1))]);
  const columns = [["GPU", false], ...HOURS.map((part) => [part, true])];
  return [
    paragraph(answer.time.summary, "headline"),
    ...power(answer.power),
    paragraph(`${steps} steps, ${sum(answer.reused_by_kind)} of them done already.`),
    table("Hours on one GPU, estimated", columns, rows),
  ];
}

// The answer, or nothing where the spec is no JSON or was refused; then that is shown.
async function send(address) {
  try {
    JSON.parse(spec.value);
  } catch (error) {
    place.replaceChildren(...problem({ title: "The spec is no JSON", detail: error.message }));
    return null;
  }
  const headers = { "Content-Type": "application/json" };
  const token = document.querySelector("meta[name=csrf]")?.content;
  if (token) headers["X-CSRF-Token"] = token;
  const answer = await fetch(address, { method: "POST", headers, body: spec.value });
  const body = await answer.json();
  if (answer.ok) return body;
  place.replaceChildren(...problem(body));
  return null;
}

estimate.addEventListener("click", async () => {
  if (!form.reportValidity()) return;
  const given = Object.entries(SPREADS).filter(([, field]) => field.value !== "");
  const query = new URLSearchParams(given.map(([name, field]) => [name, field.valueAsNumber / 100]));
  const answer = await send(`/v1/experiments/estimate?${query}`);
  if (answer) place.replaceChildren(...estimation(answer));
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { parent } = form.dataset;
  const answer = await send(parent ? `/v1/experiments/${parent}/clone` : "/v1/experiments");
  if (answer) location.assign(`/experiments/${answer.id}`);
});
