// Parts of a page made by scripts. All text is set as text, never as HTML.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Of requests with JSON that may change something.
export function jsonHeaders() {
  const token = document.querySelector("meta[name=csrf]")?.content;
  return { "Content-Type": "application/json", ...(token ? { "X-CSRF-Token": token } : {}) };
}

// "flags", "flags on sketch": the main test set goes without saying.
export const onTestSet = (measured, testSet) => (testSet === "test" ? measured : `${measured} on ${testSet}`);

// `columns`: [heading, is a number]; the first cell of a row is its heading.
export function table(caption, columns, rows) {
  const className = (isNumber) => (isNumber ? "number" : "");
  const head = columns.map(([text, isNumber]) =>
    element("th", { scope: "col", textContent: text, className: className(isNumber) }),
  );
  const line = (cells) =>
    cells.map((text, index) => {
      const properties = { textContent: text, className: className(columns[index][1]) };
      return index === 0 ? element("th", { ...properties, scope: "row" }) : element("td", properties);
    });
  const made = element(
    "table",
    {},
    element("caption", { textContent: caption }),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...line(cells)))),
  );
  return element("div", { className: "scroll", tabIndex: 0 }, made);
}
