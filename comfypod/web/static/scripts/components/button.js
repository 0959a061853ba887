/** Buttons with a word on them, and those that are only a drawing. */

import { classes, html } from "../view.js";
import { Icon } from "./icons.js";

/**
 * @param {object} props
 * @param {"" | "primary" | "small" | "quiet"} [props.kind]
 * @param {string | null} [props.icon] before the words
 * @param {unknown} [props.children]
 */
export function Button({ kind = "", icon = null, children, ...others }) {
  return html`<button type="button" class=${classes("button", kind && `button-${kind}`)} ...${others}>
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/**
 * A button without words; its name is read aloud, and shown when one points at it.
 * @param {object} props
 * @param {string} props.icon
 * @param {string} props.label
 * @param {boolean} [props.isOn] for what is switched on and off
 */
export function IconButton({ icon, label, isOn = undefined, ...others }) {
  const pressed = isOn === undefined ? null : String(isOn);
  return html`<button type="button" class="icon-button" aria-label=${label} title=${label} aria-pressed=${pressed}
    ...${others}>
    <${Icon} name=${icon} />
  </button>`;
}
