// A spec is checked while it is edited; what is wrong is shown at its field, and what is right with its plan and estimate.
import { element, jsonHeaders, table } from "./elements.js";
import { leftOut, parseSpec } from "./spec-document.js";
import { SpecForm } from "./spec-form.js";

const form = document.getElementById("new-experiment");
const estimateElement = document.getElementById("estimate");
const { spec, seed_sd: seeds, image_sd: images, interaction_sd: interaction, estimate } = form.elements;
const SPREADS = { seed_sd: seeds, image_sd: images, interaction_sd: interaction };
const HOURS = ["generate", "embed", "adapt", "evaluate", "total"];
const PAUSE_MS = 500;
const { parent } = form.dataset;
const ofParent = parent && parseSpec(spec.value);

const paragraph = (textContent, className = "") => element("p", { textContent, className });
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
const inWords = (counts) =>
  Object.entries(counts).map(([kind, count]) => `${count} ${kind.replaceAll("_", " ")}`).join(", ");

function problem(found, errors) {
  const lines = errors.map(({ pointer, detail, id, label }) => {
    if (id) return element("li", {}, element("a", { href: `#${id}`, textContent: label || pointer }), `: ${detail}`);
    return element("li", { textContent: pointer ? `${pointer}: ${detail}` : detail });
  });
  return [element("p", { className: "problem", role: "alert", textContent: `${found.title}: ${found.detail}` }),
    element("ul", {}, ...lines)];
}

function power(found) {
  if (!found) return [paragraph("Fewer than two arms train, so nothing is compared.")];
  const parts = [paragraph(found.summary, "headline")];
  if (found.warning) parts.push(paragraph(found.warning, "problem"));
  return [...parts, paragraph(found.basis, "note")];
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const minutes = (seconds) => (seconds / 60).toFixed(seconds < 600 ? 1 : 0);

function time(found) {
  const rows = found.queues.map((queue) =>
    [queue.queue, String(queue.steps), minutes(queue.seconds), queue.workers === null ? "not known" : String(queue.workers)]);
  const columns = [["Queue", false], ["Steps", true], ["Minutes of work", true], ["Workers", true]];
  const kinds = found.assumed.map((kind) => kind.replaceAll("_", " ")).join(", ");
  const parts = [paragraph(found.summary, "headline")];
  if (rows.length > 0) parts.push(table("Work of each queue, estimated", columns, rows));
  if (kinds) parts.push(paragraph(`Kinds of steps that have not run here: ${kinds}.`, "note"));
  return parts;
}

function plan(answer) {
  const steps = plural(sum(answer.steps_by_kind), "step");
  return [paragraph(`${steps}, ${sum(answer.reused_by_kind)} of them done already.`),
    paragraph(`${inWords(answer.steps_by_kind)}.`, "note")];
}

function estimation(answer) {
  const rows = answer.gpu_hours.map((hours) => [hours.gpu, ...HOURS.map((part) => hours[part].toFixed(1))]);
  const columns = [["GPU", false], ...HOURS.map((part) => [part, true])];
  return [...time(answer.time), ...power(answer.power), ...plan(answer),
    table("Hours on one GPU, by published speeds", columns, rows)];
}

function known(experiment) {
  const link = element("a", { href: `/experiments/${experiment}`, textContent: experiment });
  return element("p", {}, "This has been posted already: ", link, ". Running it shows that experiment.");
}

async function send(address) {
  const answer = await fetch(address, { method: "POST", headers: jsonHeaders(), body: spec.value });
  return { ok: answer.ok, status: answer.status, body: await answer.json() };
}

// Of several questions that overlap, the answer to the last one counts.
let last = 0;
let timer = null;

// The answer, or nothing where the text is no JSON, was refused, or was changed meanwhile.
async function ask(address) {
  last += 1;
  const turn = last;
  let missing;
  try {
    missing = parent ? leftOut(ofParent, specForm.document) : [];
  } catch (error) {
    estimateElement.replaceChildren(...problem({ title: "The spec is no JSON", detail: error.message }, []));
    return null;
  }
  if (missing.length > 0) {
    const detail = "A clone has the value of its parent where nothing is said. Write a value, or null.";
    const errors = specForm.showErrors(missing.map((pointer) => ({ pointer, detail })));
    estimateElement.replaceChildren(...problem({ title: "Settings of the parent are left out", detail }, errors));
    return null;
  }
  estimateElement.setAttribute("aria-busy", "true");
  let answer;
  try {
    answer = await send(address);
  } catch {
    answer = { ok: false, body: { title: "No answer", detail: "The server cannot be reached. Try again later." } };
  }
  if (turn !== last) return null;
  estimateElement.removeAttribute("aria-busy");
  const errors = specForm.showErrors(answer.ok ? [] : (answer.body.errors ?? []));
  if (answer.ok) return answer.body;
  estimateElement.replaceChildren(...problem(answer.body, errors));
  return null;
}

async function check() {
  clearTimeout(timer);
  const valid = await ask("/v1/experiments/validate");
  if (!valid) return;
  estimateElement.replaceChildren(...plan(valid), paragraph("Estimating.", "note"));
  const given = Object.entries(SPREADS).filter(([, field]) => field.value !== "" && field.validity.valid);
  const query = new URLSearchParams(given.map(([name, field]) => [name, field.valueAsNumber / 100]));
  const answer = await ask(`/v1/experiments/estimate?${query}`);
  if (!answer) return;
  estimateElement.replaceChildren(...(valid.experiment ? [known(valid.experiment)] : []), ...estimation(answer));
}

function checkSoon() {
  // What is asked already is out of date.
  last += 1;
  clearTimeout(timer);
  timer = setTimeout(check, PAUSE_MS);
}

const specForm = new SpecForm(form, checkSoon);
for (const field of Object.values(SPREADS)) field.addEventListener("change", checkSoon);
estimate.addEventListener("click", () => {
  const wrong = Object.values(SPREADS).find((field) => !field.validity.valid);
  if (wrong) wrong.reportValidity();
  else check();
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  const answer = await ask(parent ? `/v1/experiments/${parent}/clone` : "/v1/experiments");
  if (answer) location.assign(`/experiments/${answer.id}`);
  else form.querySelector("[aria-invalid]")?.focus();
});

check();
