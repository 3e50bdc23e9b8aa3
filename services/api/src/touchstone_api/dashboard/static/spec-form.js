// The fields of the form and the text of the spec: what is changed in one is changed in the other.
import { element } from "./elements.js";
import { parseSpec, setValue, valueAt } from "./spec-document.js";

const number = (text) => {
  const value = Number(text);
  return !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)) ? text : value;
};
const READ = {
  text: (text) => text,
  arm: (text) => text,
  choice: (text) => text,
  kind: (kind) => ({ kind }),
  flag: (text) => text === "true",
  number,
  numbers: (text) => text.split(/[\s,;]+/).filter(Boolean).map(number),
};
const WRITE = {
  kind: (value) => value.kind ?? "",
  numbers: (value) => (Array.isArray(value) ? value.join(", ") : String(value)),
};

const controlOf = (field) => field.querySelector("input, select");
const pointerOf = (field) => field.closest("[data-base]").dataset.base + field.dataset.path;

function read(field) {
  if (field.dataset.control === "several") {
    const chosen = [...field.querySelectorAll("input:checked")].map((box) => box.value);
    return chosen.length > 0 ? chosen : undefined;
  }
  const text = controlOf(field).value.trim();
  return text === "" ? undefined : READ[field.dataset.control](text);
}

// A name that is not offered, as one that is no longer registered, is shown all the same.
function fillSeveral(field, values) {
  const boxes = field.querySelector(".boxes");
  const known = new Set([...boxes.querySelectorAll("input")].map((box) => box.value));
  for (const value of values.filter((each) => !known.has(String(each)))) {
    boxes.append(element("label", {}, element("input", { type: "checkbox", value }), ` ${value} (not offered)`));
  }
  for (const box of boxes.querySelectorAll("input")) box.checked = values.map(String).includes(box.value);
}

function fill(field, value) {
  const { control } = field.dataset;
  if (control === "several") {
    fillSeveral(field, Array.isArray(value) ? value : []);
    return;
  }
  const text = value === undefined || value === null ? "" : (WRITE[control] ?? String)(value);
  const input = controlOf(field);
  if (input.tagName === "SELECT" && ![...input.options].some((option) => option.value === text)) {
    input.append(element("option", { value: text, textContent: `${text} (not offered)` }));
  }
  input.value = text;
}

function copyOf(template, prefix) {
  const copy = template.content.cloneNode(true);
  for (const each of copy.querySelectorAll("[id], [for], [aria-describedby]")) {
    for (const name of ["id", "for", "aria-describedby"]) {
      if (each.hasAttribute(name)) each.setAttribute(name, each.getAttribute(name).replaceAll("NUMBER", prefix));
    }
  }
  return copy.firstElementChild;
}

function withoutPart(kind, base) {
  const text = `Of the kind ${JSON.stringify(kind)}: edit it in the text.`;
  const made = element("fieldset", { className: "arm" }, element("p", { className: "note", textContent: text }),
    element("p", { className: "problem", hidden: true }), element("p", {},
      element("button", { type: "button", textContent: "Remove this arm" })));
  made.querySelector(".problem").dataset.problem = "";
  made.querySelector("button").dataset.remove = "";
  made.dataset.base = base;
  return made;
}

export class SpecForm {
  // `changed` is called after every change that leaves JSON in the text.
  constructor(form, changed) {
    this.form = form;
    this.text = form.elements.spec;
    this.arms = document.getElementById("arms");
    this.recipe = document.getElementById("recipe");
    this.recipeKind = document.getElementById("recipe-kind");
    this.changed = changed;
    form.addEventListener("input", (event) => this.#listen(event));
    form.addEventListener("click", (event) => this.#click(event));
    this.#show();
  }

  // Raises SyntaxError where the text is no JSON.
  get document() {
    return parseSpec(this.text.value);
  }

  #listen(event) {
    const field = event.target.closest("[data-path]");
    if (field) this.#edit((spec) => setValue(spec, pointerOf(field), this.#valueOf(field)), false);
    else if (event.target === this.recipeKind) this.#edit((spec) => { spec.recipe = { kind: this.recipeKind.value }; });
    else if (event.target === this.text) {
      this.#show();
      this.changed();
    }
  }

  // A clone keeps what its parent says wherever nothing is said: a default is written out there.
  #valueOf(field) {
    const value = read(field);
    const { default: byDefault } = field.dataset;
    return value === undefined && byDefault && this.form.dataset.parent ? JSON.parse(byDefault) : value;
  }

  #click(event) {
    if (event.target.id === "add-arm") {
      this.#edit((spec) => { spec.arms = [...(spec.arms ?? []), this.#newArm(spec)]; });
      this.arms.lastElementChild?.querySelector("input, select, button").focus();
    } else if (event.target.matches("[data-remove]")) {
      const index = [...this.arms.children].indexOf(event.target.closest(".arm"));
      this.#edit((spec) => { spec.arms.splice(index, 1); });
      document.getElementById("add-arm").focus();
    }
  }

  #newArm(spec) {
    const kind = document.getElementById("arm-kind").value;
    const taken = new Set((spec.arms ?? []).map((arm) => arm.name ?? arm.kind));
    let name = kind;
    for (let count = 2; taken.has(name); count += 1) name = `${kind}-${count}`;
    return { kind, name };
  }

  #edit(change, anew = true) {
    let spec;
    try {
      spec = this.document;
    } catch {
      this.changed();
      return;
    }
    change(spec);
    this.text.value = JSON.stringify(spec, null, 2);
    if (anew) this.#show();
    else this.#nameArms(spec);
    this.changed();
  }

  #nameArms(spec) {
    const names = (Array.isArray(spec.arms) ? spec.arms : []).map((arm) => arm?.name ?? arm?.kind ?? "");
    document.getElementById("arm-names").replaceChildren(...names.map((value) => element("option", { value })));
  }

  #show() {
    let spec;
    try {
      spec = this.document;
    } catch {
      return;
    }
    if (typeof spec !== "object" || spec === null) return;
    this.#nameArms(spec);
    const arms = Array.isArray(spec.arms) ? spec.arms : [];
    this.arms.replaceChildren(...arms.map((arm, index) => this.#arm(arm, index)));
    const kind = spec.recipe?.kind ?? "cross_entropy";
    this.recipeKind.value = kind;
    const template = document.getElementById(`recipe-${kind}`);
    this.recipe.replaceChildren(...(template ? [copyOf(template, "recipe")] : []));
    for (const field of this.form.querySelectorAll("[data-path]")) fill(field, valueAt(spec, pointerOf(field)));
  }

  #arm(arm, index) {
    const template = document.getElementById(`arm-${arm?.kind}`);
    const made = template?.content ? copyOf(template, `arm${index}`) : withoutPart(arm?.kind ?? null, `/arms/${index}`);
    made.dataset.base = `/arms/${index}`;
    return made;
  }

  // Each error at its field, or at the part that it is in. The errors with the ids of their controls, null for none.
  showErrors(errors) {
    this.#clearErrors();
    return errors.map((error) => ({ ...error, ...this.#showError(error) }));
  }

  #clearErrors() {
    for (const container of this.form.querySelectorAll("[data-problem]")) {
      container.replaceChildren();
      container.hidden = true;
    }
    for (const control of this.form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  }

  #showError({ pointer, detail }) {
    const field = this.#holder("[data-path]", pointerOf, pointer);
    const holder = field ?? this.#holder(".arm, #recipe > *", (part) => part.dataset.base, pointer);
    const container = holder?.querySelector("[data-problem]");
    if (!container) return { id: null, label: "" };
    const within = field ? this.#entryOf(field, pointer) : pointer.slice(holder.dataset.base.length + 1);
    container.append(element("span", { textContent: within ? `${within}: ${detail}` : detail }));
    container.hidden = false;
    const control = controlOf(holder);
    if (field) {
      for (const each of field.querySelectorAll("input, select")) each.setAttribute("aria-invalid", "true");
      const closed = field.closest("details:not([open])");
      if (closed) closed.open = true;
    }
    control.id ||= `control${pointer.replaceAll("/", "-")}`;
    const told = container.lastElementChild.textContent;
    return { id: control.id, detail: told, label: holder.querySelector("label, legend")?.textContent ?? "" };
  }

  // Of a field that is a list: which of its entries is meant, as it is written.
  #entryOf(field, pointer) {
    return pointer === pointerOf(field) ? "" : String(valueAt(this.document, pointer) ?? "");
  }

  // The innermost one whose pointer is the error's, or above it.
  #holder(selector, pointerOfIt, pointer) {
    const around = [...this.form.querySelectorAll(selector)].filter((each) => {
      const own = pointerOfIt(each);
      return pointer === own || pointer.startsWith(`${own}/`);
    });
    return around.sort((one, other) => pointerOfIt(other).length - pointerOfIt(one).length)[0];
  }
}
