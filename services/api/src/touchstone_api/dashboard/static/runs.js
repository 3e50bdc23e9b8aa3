import { follow, refresh } from "./live.js";

if (document.querySelector("[data-unfinished]")) follow(document.getElementById("runs").dataset.experiment, refresh);
