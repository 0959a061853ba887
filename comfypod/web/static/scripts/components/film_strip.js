/** All that one run made, small; the one that is shown large is marked. */

import { outputUrl } from "../api.js";
import { html } from "../view.js";
import { Icon } from "./icons.js";

const ICONS = { video: "video", audio: "sound", text: "file", file: "file", image: "picture" };
const NOUNS = { video: "Film", audio: "Sound", text: "Text", file: "File", image: "Picture" };

/**
 * @param {object} props
 * @param {import("../types.js").Run} props.run
 * @param {import("../types.js").Output | null} props.selected
 * @param {(index: number) => void} props.onSelect
 */
export function FilmStrip({ run, selected, onSelect }) {
  return html`<ul class="film-strip" aria-label="Results of this run">
    ${run.outputs.map(
      (output, index) => html`<li key=${index}>
      <button type="button" class="film" aria-pressed=${String(output === selected)}
        aria-label=${`${NOUNS[output.kind] ?? "File"} ${index + 1} of ${run.outputs.length}`}
        onClick=${() => onSelect(index)}>
        ${
          output.kind === "image"
            ? html`<img src=${outputUrl(output)} alt="" loading="lazy" decoding="async" />`
            : html`<${Icon} name=${ICONS[output.kind] ?? "file"} />`
        }
      </button></li>`,
    )}
  </ul>`;
}
