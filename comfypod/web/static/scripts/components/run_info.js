/** Below the stage: what the run is called, how far it is or what it took, and what can be done with it. */

import { downloadUrl, outputUrl } from "../api.js";
import { canCopyImages, copyImage, copyText } from "../clipboard.js";
import { reuse } from "../form.js";
import { formatMoment } from "../format.js";
import { notify } from "../notices.js";
import { cancel, linkOf, remove, sentence } from "../runs.js";
import { costSentence, isEnded, isMeasured, percent, stateSentence } from "../sentences.js";
import { html, useSeconds, useState } from "../view.js";
import { Button, IconButton } from "./button.js";
import { DetailsDialog } from "./details_dialog.js";
import { Icon } from "./icons.js";
import { ProgressBar } from "./progress.js";

/** @typedef {import("../types.js").Run} Run */
/** @typedef {import("../types.js").Output} Output */

/**
 * @typedef {object} Props
 * @property {Run} run
 * @property {Output | null} output the one on the stage
 * @property {import("../types.js").Endpoint | null} endpoint
 * @property {boolean} canCompare
 * @property {boolean} isCompared
 * @property {() => void} onCompare
 * @property {() => void} onZoom
 */

/** @param {Props} props */
export function RunInfo(props) {
  const { run } = props;
  return html`<div class="info">
    <h2 class="info-title" id="stage-title" title=${run.title}>${run.title}</h2>
    ${isEnded(run) ? html`<${Ended} ...${props} />` : html`<${Moving} run=${run} endpoint=${props.endpoint} />`}
    ${
      run.warnings.length > 0 &&
      html`<ul class="warnings" aria-label="Warnings">${run.warnings.map(
        (text) => html`<li key=${text}><${Icon} name="info" />${text}</li>`,
      )}</ul>`
    }
  </div>`;
}

/** @param {{run: Run, endpoint: import("../types.js").Endpoint | null}} props */
function Moving({ run, endpoint }) {
  useSeconds(true);
  return html`
    <div class="moving">
      <p class="moving-text">${stateSentence(run, endpoint, performance.now())}</p>
      <span class="moving-percent">${isMeasured(run) && `${percent(run)} %`}</span>
      <${Button} kind="small" icon="stop" disabled=${run.is_cancelling} onClick=${() => cancel(run)}>
        ${run.is_cancelling ? "Cancelling" : "Cancel"}<//>
    </div>
    <${ProgressBar} run=${run} endpoint=${endpoint} />`;
}

/** @param {Props} props */
function Ended({ run, output, canCompare, isCompared, onCompare, onZoom }) {
  const [showsDetails, setDetails] = useState(false);
  const isPicture = output?.kind === "image";
  const copyLink = () => told(copyText(new URL(linkOf(run.id), document.baseURI).href), "The link is copied.");
  const copyPicture = () => output && told(copyImage(outputUrl(output) ?? ""), "The picture is copied.");
  return html`
    <p class="facts-line">${factsOf(run, output).map((fact) => html`<span key=${fact}>${fact}</span>`)}</p>
    ${
      run.state === "failed" &&
      run.outputs.length > 0 &&
      html`<p class="problem" role="alert">
      ${run.error?.message}</p>`
    }
    <div class="actions" role="group" aria-label="This run">
      ${
        output?.url &&
        html`<a class="button button-small" href=${downloadUrl(output)} download=${output.filename}>
        <${Icon} name="download" />Download</a>`
      }
      <${Button} kind="small" icon="reuse" onClick=${() => reuse(run)}>Reuse settings<//>
      <span class="actions-icons">
      ${isPicture && html`<${IconButton} icon="zoom" label="Zoom" onClick=${onZoom} />`}
      ${
        canCompare &&
        html`<${IconButton} icon="compare" label="Compare with the previous picture" isOn=${isCompared}
        onClick=${onCompare} />`
      }
      ${
        isPicture &&
        canCopyImages() &&
        html`<${IconButton} icon="copy" label="Copy the picture"
        onClick=${copyPicture} />`
      }
      <${IconButton} icon="link" label="Copy the link" onClick=${copyLink} />
      <${IconButton} icon="info" label="Details" onClick=${() => setDetails(true)} />
      <${IconButton} icon="trash" label="Remove this run" onClick=${() => remove(run)} />
      </span>
    </div>
    ${showsDetails && html`<${DetailsDialog} run=${run} onClose=${() => setDetails(false)} />`}`;
}

/** @param {Promise<void>} copying @param {string} done */
function told(copying, done) {
  copying.then(
    () => notify(done),
    (error) => notify(`It could not be copied: ${sentence(error)}`, { level: "error" }),
  );
}

/** @param {Run} run @param {Output | null} output */
function factsOf(run, output) {
  const seeds = Object.entries(run.parameters)
    .filter(([name]) => /(^|[._])(noise_)?seed$/.test(name))
    .map(([, value]) => String(value));
  const state = { failed: "Failed", cancelled: "Cancelled" }[run.state];
  return [
    state,
    costSentence(run),
    output?.width && output.height && `${output.width} × ${output.height}`,
    ...new Set(seeds.map((seed) => `seed ${seed}`)),
    formatMoment(run.ended_at ?? run.created_at),
    run.is_emulated && "drawn by the built-in engine",
  ].filter(Boolean);
}
