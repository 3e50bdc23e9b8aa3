// Buttons that save a chart as PNG: the browser draws the SVG file that the server makes of it.
import { element } from "./elements.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-svg]");
  if (!button) return;
  const picture = new Image();
  picture.src = button.dataset.svg;
  await picture.decode();
  const canvas = element("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  canvas.toBlob((bytes) => {
    const link = element("a", { href: URL.createObjectURL(bytes), download: button.dataset.name });
    link.click();
    URL.revokeObjectURL(link.href);
  });
});
