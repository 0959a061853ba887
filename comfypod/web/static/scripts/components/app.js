/** The whole page: the bar at the top, and below it either the way in or the three parts. */

import { runStore, selectedRun } from "../runs.js";
import { isEnded, isMeasured, percent } from "../sentences.js";
import { enter, siteStore } from "../site.js";
import { html, useEffect, useMedia, useStore } from "../view.js";
import { Button } from "./button.js";
import { DropTarget } from "./drop_target.js";
import { Gallery } from "./gallery.js";
import { Header } from "./header.js";
import { ConnectionBanner, Notices } from "./notices.js";
import { Settings } from "./settings.js";
import { SignIn } from "./sign_in.js";
import { Stage } from "./stage.js";

export function App() {
  const { state, problem } = useStore(siteStore, (site) => site);
  const isOpen = state === "starting" || state === "signed_in";
  return html`
    <${SkipLink} />
    <${Header} />
    ${isOpen && html`<${Workplace} />`}
    ${state === "signed_out" && html`<${SignIn} />`}
    ${state === "broken" && html`<${Broken} problem=${problem} />`}
    <${ConnectionBanner} />
    <${Notices} />
    ${isOpen && html`<${DropTarget} />`}`;
}

function Workplace() {
  // On a phone the picture comes first; the page itself has that order, so that keys and screen readers follow it.
  const isNarrow = useMedia("(max-width: 759px)");
  useTitle();
  const settings = html`<${Settings} key="settings" />`;
  const stage = html`<${Stage} key="stage" />`;
  return html`<main id="main" class="workplace" tabindex="-1">
    <h1 class="visually-hidden">comfypod: run a workflow, watch it become a picture</h1>
    ${isNarrow ? [stage, settings] : [settings, stage]}
    <${Gallery} />
  </main>`;
}

/** The window's title says how far the run on the stage is, for those who look at something else meanwhile. */
function useTitle() {
  const title = useStore(runStore, (state) => {
    const run = selectedRun(state);
    if (!run || isEnded(run)) return "comfypod";
    return isMeasured(run) ? `${percent(run)} % · comfypod` : "Waiting · comfypod";
  });
  useEffect(() => {
    document.title = title;
  }, [title]);
}

function SkipLink() {
  const skip = (event) => {
    event.preventDefault(); // the page's address names the run on the stage
    document.getElementById("main")?.querySelector("textarea, input, select, button")?.focus();
  };
  return html`<a class="skip-link" href="#main" onClick=${skip}>Skip to the settings</a>`;
}

/** @param {{problem: string}} props */
function Broken({ problem }) {
  return html`<main class="sign-in" id="main"><div class="card" role="alert">
    <h1>The server does not answer</h1><p>${problem}</p>
    <${Button} kind="primary" onClick=${enter}>Try again<//>
  </div></main>`;
}
