/** The runs that go on besides the one on the stage, each with how far it is. */

import { previewUrl } from "../api.js";
import { shortened } from "../format.js";
import { linkOf } from "../runs.js";
import { isEnded, isMeasured, percent, stateSentence } from "../sentences.js";
import { siteStore } from "../site.js";
import { html, useSeconds, useStore } from "../view.js";
import { ProgressBar } from "./progress.js";

/** @typedef {import("../types.js").Run} Run */

/** @param {{runs: Run[], selected: Run | null}} props */
export function RunStrip({ runs, selected }) {
  const active = runs.filter((run) => !isEnded(run)).reverse();
  const isUseful = active.length > 1 || (active.length === 1 && active[0].id !== selected?.id);
  useSeconds(isUseful);
  const endpoint = useStore(siteStore, (site) => site.endpoint);
  if (!isUseful) return null;
  return html`<nav class="run-strip" aria-label="Runs that go on"><ul>
    ${active.map(
      (run) => html`<li key=${run.id}>
      <a class="strip-run" href=${linkOf(run.id)} aria-current=${run.id === selected?.id ? "true" : null}>
        <span class="strip-picture">${
          run.preview &&
          html`<img src=${previewUrl(run.id, run.preview.number)}
          alt="" />`
        }</span>
        <span class="strip-text"><span class="strip-title">${shortened(run.title, 60)}</span>
        <span class="strip-state">
          ${isMeasured(run) ? `${percent(run)} %` : stateSentence(run, endpoint, performance.now())}</span></span>
        <${ProgressBar} run=${run} endpoint=${endpoint} isDecoration=${true} />
      </a></li>`,
    )}
  </ul></nav>`;
}
