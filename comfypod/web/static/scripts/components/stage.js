/** The stage: one run, large. While it goes on, what is to be seen of it; then what it made; or why it failed. */

import { ratioOf } from "../fields.js";
import { canCancelByKey } from "../keys.js";
import { cancel, runStore, selectedRun, visibleRuns } from "../runs.js";
import { isEnded } from "../sentences.js";
import { siteStore } from "../site.js";
import { html, useEffect, useState, useStore } from "../view.js";
import { Compare } from "./compare.js";
import { ErrorCard } from "./error_card.js";
import { FilmStrip } from "./film_strip.js";
import { Frame } from "./frame.js";
import { AudioCard, FileCard, TextCard, Video } from "./media.js";
import { RunInfo } from "./run_info.js";
import { RunStrip } from "./run_strip.js";
import { ZoomDialog } from "./zoom_dialog.js";

/** @typedef {import("../types.js").Run} Run */

export function Stage() {
  const state = useStore(runStore, (runs) => runs);
  const run = selectedRun(state);
  return html`<section class="stage" id="stage" tabindex="-1" aria-labelledby="stage-title">
    <${RunStrip} runs=${visibleRuns(state)} selected=${run} />
    ${
      run
        ? html`<${RunStage} key=${run.id} run=${run} previous=${previousPicture(state, run)} />`
        : html`<${Welcome} isLoaded=${state.isLoaded} />`
    }
  </section>`;
}

/** @param {{isLoaded: boolean}} props */
function Welcome({ isLoaded }) {
  return html`<div class="viewport"><div class=${isLoaded ? "welcome" : "welcome welcome-waiting"}>
    <div class="welcome-plate" aria-hidden="true"></div>
    <h2 id="stage-title" class="welcome-title">Type a prompt, watch it become a picture</h2>
    <p>Or drop a workflow of ComfyUI anywhere on this page.</p>
  </div></div>`;
}

/**
 * @param {object} props
 * @param {Run} props.run
 * @param {import("../types.js").Output | null} props.previous the picture before this one
 */
function RunStage({ run, previous }) {
  const endpoint = useStore(siteStore, (site) => site.endpoint);
  const [index, setIndex] = useState(0);
  const [view, setView] = useState("plain");
  const output = run.outputs[Math.min(index, run.outputs.length - 1)] ?? null;
  const isPicture = output?.kind === "image";
  useEffect(() => {
    const press = (event) => event.key === "Escape" && canCancelByKey(event) && cancel(run);
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [run]);
  const isCompared = view === "compared" && isPicture && previous !== null;
  return html`
    <div class="viewport">
      ${
        isCompared
          ? html`<${Compare} output=${output} previous=${previous} />`
          : html`<${Shown} run=${run} output=${output} onZoom=${() => setView("zoomed")} />`
      }
    </div>
    ${run.outputs.length > 1 && html`<${FilmStrip} run=${run} selected=${output} onSelect=${setIndex} />`}
    <${RunInfo} run=${run} output=${output} endpoint=${endpoint} canCompare=${isPicture && previous !== null}
      isCompared=${isCompared}
      onCompare=${() => setView(isCompared ? "plain" : "compared")} onZoom=${() => setView("zoomed")} />
    ${
      view === "zoomed" &&
      isPicture &&
      html`<${ZoomDialog} output=${output} title=${run.title}
      onClose=${() => setView("plain")} />`
    }`;
}

/**
 * What a run shows of itself.
 * @param {{run: Run, output: import("../types.js").Output | null, onZoom: () => void}} props
 */
function Shown({ run, output, onZoom }) {
  if (output?.kind === "video") return html`<${Video} key=${output.index} output=${output} />`;
  if (output?.kind === "audio") return html`<${AudioCard} key=${output.index} output=${output} />`;
  if (output?.kind === "text") return html`<${TextCard} output=${output} />`;
  if (output?.kind === "file") return html`<${FileCard} output=${output} />`;
  if (run.state === "failed" && !output) return html`<${ErrorCard} run=${run} />`;
  const ratio = output?.width && output.height ? output.width / output.height : ratioOf(run.parameters);
  return html`<${Frame} run=${run} output=${output} ratio=${ratio} isMoving=${!isEnded(run)} onZoom=${onZoom} />`;
}

/**
 * The picture of the newest run before this one that made one.
 * @param {import("../runs.js").RunState} state
 * @param {Run} run
 */
function previousPicture(state, run) {
  for (const other of visibleRuns(state)) {
    const picture =
      other.id < run.id && other.state === "succeeded" && other.outputs.find((output) => output.kind === "image");
    if (picture) return picture;
  }
  return null;
}
