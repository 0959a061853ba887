/** A dialog above the page: a title, a close button, and what is in it. Escape closes it; the focus goes back. */

import { html, useModal } from "../view.js";
import { IconButton } from "./button.js";

/**
 * @param {object} props
 * @param {string} props.title
 * @param {string} [props.kind] a class name
 * @param {() => void} props.onClose
 * @param {unknown} [props.tools] beside the title
 * @param {unknown} [props.footer]
 * @param {unknown} [props.children]
 */
export function Dialog({ title, kind = "", onClose, tools = null, footer = null, children }) {
  const dialog = useModal();
  const close = (event) => {
    event.preventDefault(); // the component's end closes it
    onClose();
  };
  const wasClosed = () => dialog.current && onClose(); // a browser may close it without asking
  return html`<dialog ref=${dialog} class=${`dialog ${kind}`} aria-labelledby="dialog-title" onCancel=${close}
    onClose=${wasClosed}
    onKeyDown=${(event) => event.stopPropagation()}>
    <header class="dialog-header">
      <h2 id="dialog-title">${title}</h2>
      <div class="dialog-tools">${tools}<${IconButton} icon="close" label="Close" onClick=${onClose} /></div>
    </header>
    <div class="dialog-body">${children}</div>
    ${footer && html`<footer class="dialog-footer">${footer}</footer>`}
  </dialog>`;
}
