/** All that is known of a run: its settings, how long each part took, and the names to look for it by. */

import { formatExactMoment, formatSeconds } from "../format.js";
import { costSentence } from "../sentences.js";
import { html } from "../view.js";
import { Dialog } from "./dialog.js";

/** @param {{run: import("../types.js").Run, onClose: () => void}} props */
export function DetailsDialog({ run, onClose }) {
  const times = Object.entries(run.timings ?? {}).filter(
    ([name, value]) => name.endsWith("_ms") && typeof value === "number",
  );
  const names = [
    ["Run", run.id],
    ["Job", run.job_id],
    ["Template", run.template],
    ["Took", costSentence(run)],
    ["Begun", formatExactMoment(run.created_at)],
    ["Ended", run.ended_at && formatExactMoment(run.ended_at)],
  ];
  return html`<${Dialog} title="Details" kind="dialog-details" onClose=${onClose}>
    <div class="details" tabindex="0" role="group" aria-label="All that is known of this run">
    <${Facts} title="Settings" facts=${Object.entries(run.parameters).map(([name, value]) => [name, String(value)])} />
    <${Facts} title="Times"
      facts=${times.map(([name, value]) => [name.replace("_ms", "").replaceAll("_", " "), formatSeconds(value / 1000)])} />
    <${Facts} title="Names" facts=${names.filter(([, value]) => value)} />
    </div>
  <//>`;
}

/** @param {{title: string, facts: string[][]}} props */
function Facts({ title, facts }) {
  if (!facts.length) return null;
  return html`<section><h3>${title}</h3><dl class="facts">${facts.map(
    ([name, value]) => html`<div key=${name}><dt>
    ${name}</dt><dd>${value}</dd></div>`,
  )}</dl></section>`;
}
