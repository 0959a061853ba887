/** Which keys the page takes for itself. */

import { submit } from "./form.js";

const TYPED_INTO = "input, textarea, select, [role=listbox], audio, video";
export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

/** Ctrl+Enter (or ⌘ Enter) runs, wherever the focus is; dialogs keep their keys. */
export function watchKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
    event.preventDefault();
    submit();
  });
}

/**
 * Whether an Escape may cancel the run on the stage: nothing else on the page wants it.
 * @param {KeyboardEvent} event
 */
export function canCancelByKey(event) {
  const target = event.target instanceof Element ? event.target : null;
  if (event.defaultPrevented || target?.closest(TYPED_INTO) || document.querySelector(":popover-open")) return false;
  return target === document.body || Boolean(target?.closest(".stage, .run-bar"));
}
