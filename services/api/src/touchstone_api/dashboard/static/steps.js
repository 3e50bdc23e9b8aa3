// Buttons that try a failed step again. Listened to from outside: the page exchanges its tables while it is open.
import { send, showFailure } from "./manage.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-retry]");
  if (!button) return;
  button.disabled = true;
  const failure = await send(button.dataset.retry, "POST");
  if (failure === null) return location.reload();
  showFailure(button.parentElement, failure);
  button.disabled = false;
});
