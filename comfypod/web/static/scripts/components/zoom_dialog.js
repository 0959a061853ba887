/** A picture as large as the window, or larger: it is moved by scrolling, and with the arrow keys. */

import { outputUrl } from "../api.js";
import { html, useLayoutEffect, useRef, useState } from "../view.js";
import { IconButton } from "./button.js";
import { Dialog } from "./dialog.js";

const SCALES = [0, 0.5, 1, 2, 4]; // 0: as large as fits

/** @param {{output: import("../types.js").Output, title: string, onClose: () => void}} props */
export function ZoomDialog({ output, title, onClose }) {
  const [scale, setScale] = useState(0);
  const image = useRef(null);
  const at = SCALES.indexOf(scale);
  useLayoutEffect(() => {
    const natural = image.current?.naturalWidth || output.width || 0;
    image.current?.style.setProperty("width", scale && natural ? `${natural * scale}px` : "");
  }, [scale]);
  const tools = html`
    <span class="zoom-scale" role="status">${scale ? `${scale * 100} %` : "Fits"}</span>
    <${IconButton} icon="minus" label="Smaller" disabled=${at === 0} onClick=${() => setScale(SCALES[at - 1])} />
    <${IconButton} icon="plus" label="Larger" disabled=${at === SCALES.length - 1}
      onClick=${() => setScale(SCALES[at + 1])} />`;
  return html`<${Dialog} title=${title} kind="dialog-zoom" onClose=${onClose} tools=${tools}>
    <div class=${scale ? "zoom zoom-large" : "zoom"} tabindex="0" role="group"
      aria-label="Picture, scrolls with the arrow keys">
      <img ref=${image} src=${outputUrl(output)} width=${output.width} height=${output.height} alt=${title}
        onClick=${() => setScale(scale ? 0 : 1)} />
    </div>
  <//>`;
}
