/** Where the page begins. */

import { App } from "./components/app.js";
import { loadForm, watchEndpoint } from "./form.js";
import { watchKeys } from "./keys.js";
import { notify } from "./notices.js";
import { loadRuns, lookAtAddress, sentence } from "./runs.js";
import { enter, siteStore, watchVisibility } from "./site.js";
import { html, render } from "./view.js";

let wasIn = false;

/** Fetch what is to be shown, as soon as we are let in. */
function lookForEntry() {
  const isIn = siteStore.state.state === "signed_in";
  if (isIn && !wasIn) {
    for (const load of [loadForm, loadRuns, lookAtAddress]) load().catch(tell);
  }
  wasIn = isIn;
}

/** @param {unknown} error */
function tell(error) {
  notify(sentence(error), { level: "error" });
}

/** Screens whose keyboard covers the page instead of making it smaller (Safari): the Run button is kept above it. */
function watchKeyboard() {
  const view = window.visualViewport;
  if (!view) return;
  const look = () => {
    const covered = Math.max(0, innerHeight - view.height - view.offsetTop);
    document.documentElement.style.setProperty("--covered", view.scale === 1 ? `${Math.round(covered)}px` : "0px");
  };
  view.addEventListener("resize", look);
  view.addEventListener("scroll", look);
}

const place = document.getElementById("app");
place.replaceChildren(); // the drawing that was shown while this was loaded
render(html`<${App} />`, place);
siteStore.subscribe(lookForEntry);
addEventListener("hashchange", () => lookAtAddress().catch(tell));
watchKeys();
watchKeyboard();
watchVisibility();
watchEndpoint();
enter();
// It keeps the page and what was seen for when the server is away. Browsers allow it on secure pages only.
navigator.serviceWorker?.register("service_worker.js").catch(() => null);
