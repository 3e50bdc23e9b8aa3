// Buttons that copy the text of another element. Without this script they are not shown and the text can be selected.
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // The browser allows no access to the clipboard: the text is selected instead.
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  });
}
