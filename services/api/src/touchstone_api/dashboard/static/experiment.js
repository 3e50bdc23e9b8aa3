import { openClasses } from "./classes.js";
import { localTimes } from "./clock.js";
import { openGallery } from "./gallery.js";
import { follow, refresh } from "./live.js";
import { openManagement } from "./manage.js";

const experiment = document.getElementById("experiment").dataset.id;
const gallery = openGallery(experiment);
const classes = openClasses(experiment);

async function refreshAll() {
  await refresh();
  gallery.update();
  classes.update();
}

localTimes(document);
openManagement(experiment, refreshAll);
classes.update();
if (["queued", "running"].includes(document.getElementById("head").dataset.phase)) follow(experiment, refreshAll);
