/** The bar that fills; it sways while nothing can be said of how far a run is. */

import { isMeasured, percent, progressText } from "../sentences.js";
import { html, useLayoutEffect, useRef } from "../view.js";

/**
 * @param {object} props
 * @param {import("../types.js").Run} props.run
 * @param {import("../types.js").Endpoint | null} props.endpoint
 * @param {boolean} [props.isDecoration] the same is said in words beside it
 */
export function ProgressBar({ run, endpoint, isDecoration = false }) {
  const bar = useRef(null);
  const isKnown = isMeasured(run);
  const value = percent(run);
  useLayoutEffect(() => bar.current?.style.setProperty("--value", `${value}%`), [value]);
  const spoken = isDecoration
    ? { "aria-hidden": "true" }
    : {
        role: "progressbar",
        "aria-label": "Progress of the run",
        "aria-valuemin": "0",
        "aria-valuemax": "100",
        "aria-valuenow": isKnown ? String(value) : null,
        "aria-valuetext": progressText(run, endpoint, performance.now()),
      };
  return html`<div ref=${bar} class=${isKnown ? "progress" : "progress progress-unknown"} ...${spoken}>
    <div class="progress-bar"></div></div>`;
}
