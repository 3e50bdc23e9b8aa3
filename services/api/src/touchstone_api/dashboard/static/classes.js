// One arm at one size, class by class: what it lost against the untouched encoder comes first.
import { element, onTestSet, table } from "./elements.js";

const CLASSES_SHOWN = 20;
const CONFUSIONS_SHOWN = 10;
const COLUMNS = [["Class", false], ["Test images", true], ["Untouched", true], ["Accuracy", true], ["Change", true]];

const percent = (value) => (value === null ? "" : (100 * value).toFixed(1));

// With a true minus sign, as everywhere on the page.
function signed(value) {
  if (value === null) return "";
  const text = percent(Math.abs(value));
  return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
}

function classTable(answer, words, rows) {
  const order = rows.some((row) => row.change !== null) ? "the largest losses first" : "the lowest accuracies first";
  const caption =
    `${answer.target}, ${answer.arm}, ${answer.size} images: ${words} in percent, ` +
    `mean over ${answer.seeds} seeds; ${order}`;
  const cells = (row) => [
    row.display_name, row.test_images, percent(row.untouched), percent(row.accuracy), signed(row.change),
  ];
  return table(caption, COLUMNS, rows.map(cells));
}

function confusionTable(answer) {
  const names = new Map(answer.classes.map((row) => [row.class_id, row.display_name]));
  const rows = answer.confusions
    .slice(0, CONFUSIONS_SHOWN)
    .map((entry) => [names.get(entry.class_id), names.get(entry.predicted_id), entry.images.toFixed(1)]);
  return table("Most frequent confusions, test images, mean over seeds",
    [["Class", false], ["Taken for", false], ["Images", true]], rows);
}

function shownClasses(answer, words) {
  const container = element("div", {}, classTable(answer, words, answer.classes.slice(0, CLASSES_SHOWN)));
  if (answer.classes.length > CLASSES_SHOWN) {
    const more = element("button", { type: "button", textContent: `Show all ${answer.classes.length} classes` });
    more.addEventListener("click", () => container.replaceChildren(classTable(answer, words, answer.classes)));
    container.append(more);
  }
  return container;
}

export function openClasses(experiment) {
  const form = document.getElementById("classes-choice");
  const container = document.getElementById("classes");
  const { target, arm, size, metric, test_set: testSet } = form.elements;
  let shown = 0;
  let known = "";

  const choice = () => [target.value, arm.value, Number(size.value), metric.value, testSet.value];
  const measured = () => document.getElementById("results").dataset.measured;
  const isMeasured = (wanted) => JSON.parse(measured()).some((entry) => `${entry}` === `${wanted}`);
  const say = (text) => container.replaceChildren(element("p", { className: "note", textContent: text }));

  async function show() {
    const turn = ++shown;
    if (!isMeasured(choice())) return say("Not measured at every seed, or not yet.");
    const query = new URLSearchParams(new FormData(form));
    const response = await fetch(`/v1/experiments/${experiment}/classes?${query}`);
    const answer = await response.json();
    // A slower, older answer must not replace a newer one.
    if (turn !== shown) return;
    if (!response.ok) return say(answer.detail);
    const words = onTestSet(metric.selectedOptions[0].textContent, testSet.value);
    container.replaceChildren(shownClasses(answer, words));
    if (answer.confusions.length > 0) container.append(confusionTable(answer));
  }

  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  return {
    update() {
      if (measured() !== known) show();
      known = measured();
    },
  };
}
