/** What is told in passing: short notices that go away by themselves, and sentences that only a screen reader says. */

import { Store } from "./store.js";

const SHOWN_MILLISECONDS = 7000;

/**
 * @typedef {object} Notice
 * @property {number} id
 * @property {string} text
 * @property {"info" | "error"} level
 * @property {{label: string, act: () => void} | null} action
 */

/** @type {Store<{notices: Notice[], spoken: string}>} */
export const noticeStore = new Store({ notices: [], spoken: "" });
let lastId = 0;

/**
 * @param {string} text
 * @param {object} [options]
 * @param {"info" | "error"} [options.level]
 * @param {Notice["action"]} [options.action]
 * @param {() => void} [options.onGone] called when it went away without its action
 */
export function notify(text, { level = "info", action = null, onGone = () => {} } = {}) {
  lastId += 1;
  const id = lastId;
  const timer = setTimeout(() => {
    dismiss(id);
    onGone();
  }, SHOWN_MILLISECONDS);
  const act = () => {
    clearTimeout(timer);
    dismiss(id);
    action?.act();
  };
  const notice = { id, text, level, action: action && { label: action.label, act } };
  noticeStore.set({ notices: [...noticeStore.state.notices.slice(-2), notice] });
}

/** @param {number} id */
export function dismiss(id) {
  noticeStore.set({ notices: noticeStore.state.notices.filter((notice) => notice.id !== id) });
}

/**
 * Says a sentence to those who listen to the page; the same one is not said twice in a row.
 * @param {string} sentence
 */
export function announce(sentence) {
  if (sentence && sentence !== noticeStore.state.spoken) noticeStore.set({ spoken: sentence });
}
