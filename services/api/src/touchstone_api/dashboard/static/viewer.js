// Every link marked `data-image` leads to the page of an image. Here its content is shown in a dialog over the page, or,
// where the page is that of an image, the arrow keys lead to the previous and the next image.
import { element } from "./elements.js";

const ARROWS = { ArrowLeft: "prev", ArrowRight: "next" };

function isPlain(event) {
  return !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
}

function neighbour(event, within) {
  const wanted = isPlain(event) && ARROWS[event.key];
  return wanted && !event.target.closest("input, select, textarea, pre") ? within.querySelector(`a[rel=${wanted}]`) : null;
}

function openDialog() {
  const close = element("button", { type: "button", textContent: "Close" });
  const content = element("div");
  const dialog = element("dialog", { id: "viewer" }, element("p", { className: "choice" }, close), content);
  dialog.setAttribute("aria-labelledby", "image-title");
  document.body.append(dialog);
  let shown = 0;
  let opener = "";

  async function show(address) {
    const turn = ++shown;
    const answer = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
    // A slower, older answer must not replace a newer one.
    if (turn !== shown) return;
    const image = answer?.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("image");
    if (turn !== shown) return;
    if (!image) return location.assign(address);
    const held = dialog.contains(document.activeElement) && document.activeElement.rel;
    content.replaceChildren(document.adoptNode(image));
    if (!dialog.open) dialog.showModal();
    (content.querySelector(held ? `a[rel=${held}]` : "h1") ?? content.querySelector("h1")).focus();
    dialog.scrollTop = 0;
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-image], #viewer a[rel]");
    if (!link || !isPlain(event)) return;
    event.preventDefault();
    if (!dialog.open) {
      opener = link.getAttribute("href");
      link.focus();
    }
    show(link.href);
  });
  dialog.addEventListener("keydown", (event) => {
    const link = neighbour(event, content);
    if (!link) return;
    event.preventDefault();
    show(link.href);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    shown++;
    content.replaceChildren();
    // The browser gives the focus back, unless the thumbnail has been made anew meanwhile.
    if (document.activeElement !== document.body) return;
    [...document.querySelectorAll("a[data-image]")].find((link) => link.getAttribute("href") === opener)?.focus();
  });
}

if (document.getElementById("image")) {
  document.addEventListener("keydown", (event) => {
    const link = neighbour(event, document);
    if (link) location.assign(link.href);
  });
} else {
  openDialog();
}
