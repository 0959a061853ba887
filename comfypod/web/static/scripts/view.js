/**
 * What components are made with: Preact and htm from the vendored module, and a few hooks of our own.
 * Everything else imports from here, so that the library has one door.
 */

import {
  html,
  render,
  useEffect,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "../vendor/htm/preact/standalone.module.js";

export { html, render, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState };

/**
 * What `select` takes out of a store; the component is drawn again when that changes.
 * @template State, Chosen
 * @param {import("./store.js").Store<State>} store
 * @param {(state: State) => Chosen} select must return something that is `===` while nothing changed
 * @returns {Chosen}
 */
export function useStore(store, select) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const latest = useRef(null);
  latest.current = { select, chosen: select(store.state) };
  useEffect(() => {
    const look = () => {
      const { select: choose, chosen } = latest.current;
      if (choose(store.state) !== chosen) redraw();
    };
    look(); // it may have changed since this was drawn
    return store.subscribe(look);
  }, [store]);
  return latest.current.chosen;
}

/**
 * Whether a media query matches, now and as it changes.
 * @param {string} query
 */
export function useMedia(query) {
  const list = useMemo(() => matchMedia(query), [query]);
  const [matches, setMatches] = useState(list.matches);
  useEffect(() => {
    const look = () => setMatches(list.matches);
    look();
    list.addEventListener("change", look);
    return () => list.removeEventListener("change", look);
  }, [list]);
  return matches;
}

/**
 * Draws the component again every second while `isOn`: for what counts time.
 * @param {boolean} isOn
 */
export function useSeconds(isOn) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(redraw, 1000);
    return () => clearInterval(timer);
  }, [isOn]);
}

/**
 * An address for a file that the page holds in memory, given back when it is no longer shown.
 * @param {Blob | null} blob
 */
export function useObjectUrl(blob) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!blob) {
      setUrl(null);
      return undefined;
    }
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return url;
}

/**
 * Shows a `<dialog>` above everything for as long as the component is there. The browser keeps the focus inside;
 * when it closes, the focus goes back to where it was.
 * @returns {{current: HTMLDialogElement | null}} to be given to the `<dialog>` as `ref`
 */
export function useModal() {
  const dialog = useRef(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    const element = dialog.current;
    element?.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return dialog;
}

/**
 * Class names, without those that do not apply.
 * @param {...(string | false | null | undefined)} names
 */
export function classes(...names) {
  return names.filter(Boolean).join(" ");
}
