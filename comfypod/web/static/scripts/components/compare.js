/** A picture beside the one before it: the line between them is moved with a pointer, a finger or the arrow keys. */

import { outputUrl } from "../api.js";
import { html, useLayoutEffect, useRef, useState } from "../view.js";

/** @param {{output: import("../types.js").Output, previous: import("../types.js").Output}} props */
export function Compare({ output, previous }) {
  const frame = useRef(null);
  const [part, setPart] = useState(50);
  useLayoutEffect(() => {
    const ratio = output.width && output.height ? output.width / output.height : 1;
    frame.current?.parentElement?.style.setProperty("--ratio", String(ratio));
    frame.current?.style.setProperty("--part", `${part}%`);
  }, [output, part]);
  return html`<div ref=${frame} class="frame frame-final compare">
    <img class="layer layer-loaded" src=${outputUrl(output)} width=${output.width} height=${output.height}
      alt="This picture" />
    <img class="layer layer-loaded compare-previous" src=${outputUrl(previous)} width=${previous.width}
      height=${previous.height} alt="The previous picture" />
    <input class="compare-range" type="range" min="0" max="100" value=${part}
      aria-label="How much of the previous picture is seen"
      aria-valuetext=${`${part} percent`} onInput=${(event) => setPart(Number(event.target.value))} />
    <div class="compare-line" aria-hidden="true"></div>
    <span class="compare-name compare-name-left" aria-hidden="true">Previous</span>
    <span class="compare-name compare-name-right" aria-hidden="true">This one</span>
  </div>`;
}
