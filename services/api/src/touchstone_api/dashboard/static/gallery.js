// Classes x arms: a few images of each, so that a reader sees what was trained on.
import { element } from "./elements.js";

const CLASSES_SHOWN = 4;
const IMAGES_SHOWN = 12;

function thumbnail(image) {
  const facts = [
    image.caption,
    image.score === null ? "" : `CLIP score ${image.score.toFixed(3)}`,
    image.kept ? "" : `dropped: ${image.drop_reason.replaceAll("_", " ")}`,
    image.found_by && `found by ${image.found_by}${image.query && `: ${image.query}`}`,
    image.part && `from ${image.part}`,
  ].filter(Boolean);
  const picture = element("img", {
    src: image.url,
    alt: image.caption || image.class_name,
    title: facts.join("\n"),
    loading: "lazy",
    width: 72,
    height: 72,
  });
  const link = element("a", { href: image.page }, picture);
  link.dataset.image = "";
  const frame = element("li", { className: image.kept ? "" : "dropped" }, link);
  if (image.part) frame.append(element("span", { className: "part", textContent: image.part }));
  if (!image.kept) frame.append(element("span", { textContent: image.drop_reason.replaceAll("_", " ") }));
  return frame;
}

const note = (textContent) => element("p", { className: "note", textContent });
const curated = () => document.getElementById("counts").dataset.curated;

// The arm's images of the class, or why there are none: what is not curated yet is not asked for.
async function imagesOrNote(experiment, target, classId, arm, dropped) {
  if (!JSON.parse(curated()).some(([at, name]) => at === target && name === arm)) return note("not curated yet");
  const query = new URLSearchParams({ target, class_id: classId, limit: IMAGES_SHOWN });
  if (!dropped) query.set("kept", "true");
  const answer = await fetch(`/v1/experiments/${experiment}/arms/${encodeURIComponent(arm)}/images?${query}`);
  const body = await answer.json();
  if (!answer.ok) return note(body.detail);
  if (body.items.length === 0) return note("no images");
  return element("ul", { className: "thumbnails" }, ...body.items.map(thumbnail));
}

async function armRow(experiment, target, classId, arm, dropped) {
  const shown = await imagesOrNote(experiment, target, classId, arm, dropped);
  return element("div", { className: "arm-row" }, element("h4", { textContent: arm }), shown);
}

async function classBlock(experiment, target, label, arms, dropped) {
  const rows = await Promise.all(arms.map((arm) => armRow(experiment, target, label.id, arm, dropped)));
  return element("section", { className: "class-block" }, element("h3", { textContent: label.display_name }), ...rows);
}

export function openGallery(experiment) {
  const form = document.getElementById("gallery-choice");
  const container = document.getElementById("gallery");
  const arms = JSON.parse(document.getElementById("charts").dataset.arms);
  const { target, class: picker, dropped } = form.elements;
  let labels = [];
  let shown = 0;

  async function loadClasses() {
    const answer = await fetch(`/v1/targets/${encodeURIComponent(target.value)}`);
    if (!answer.ok) return;
    labels = (await answer.json()).classes;
    const first = `the first ${Math.min(CLASSES_SHOWN, labels.length)} of ${labels.length}`;
    picker.replaceChildren(
      element("option", { value: "", textContent: first }),
      ...labels.map((label) => element("option", { value: label.id, textContent: label.display_name })),
    );
  }

  async function show() {
    const turn = ++shown;
    const chosen = picker.value === "" ? labels.slice(0, CLASSES_SHOWN) : [labels[Number(picker.value)]];
    const blocks = await Promise.all(
      chosen.map((label) => classBlock(experiment, target.value, label, arms, dropped.checked)),
    );
    // A slower, older answer must not replace a newer one.
    if (turn === shown) container.replaceChildren(...blocks);
  }

  target.addEventListener("change", () => loadClasses().then(show));
  picker.addEventListener("change", show);
  dropped.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  loadClasses().then(show);
  let known = curated();
  return {
    update() {
      if (curated() !== known) show();
      known = curated();
    },
  };
}
