/** Small line drawings in the colour of the text around them. Never read aloud: their buttons have names. */

import { html } from "../view.js";

const PATHS = {
  camera: "M3 7h3l1.5-2h5L14 7h3v9H3zM10 14a2.75 2.75 0 1 0 0-5.5 2.75 2.75 0 0 0 0 5.5",
  check: "m4 10.5 4 4 8-9",
  close: "m5 5 10 10M15 5 5 15",
  compare: "M10 3v14M4 6h3v8H4zM13 6h3v8h-3z",
  copy: "M7 7h9v10H7zM4 13V3h9",
  dice: "M5 3h10a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2M7 7h.01M13 13h.01M10 10h.01M13 7h.01M7 13h.01",
  download: "M10 3v10m-4-4 4 4 4-4M4 17h12",
  erase: "m4 12 7-7 5 5-6 6H7zM8 16h9",
  file: "M5 3h7l3 3v11H5zM12 3v3h3",
  folder: "M3 5h5l2 2h7v9H3z",
  info: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14M10 9v4M10 6.5h.01",
  link: "M8.5 11.5a3 3 0 0 0 4.2 0l3-3a3 3 0 0 0-4.2-4.2l-1 1M11.5 8.5a3 3 0 0 0-4.2 0l-3 3a3 3 0 0 0 4.2 4.2l1-1",
  lock: "M5 9h10v8H5zM7 9V6.5a3 3 0 0 1 6 0V9",
  mask: "M3 16.5c3 .5 4-1 4-2.7A2.2 2.2 0 0 0 3.4 12C4 14 3.8 15 3 16.5M7 12l8-8.5 2 2L9 13.6",
  minus: "M4 10h12",
  moon: "M16 12.5A6.5 6.5 0 1 1 7.5 4a5.2 5.2 0 0 0 8.5 8.5",
  more: "m6 8 4 4 4-4",
  picture: "M3 4h14v12H3zM3 13l4-4 4 4 2-2 4 4M13 8h.01",
  play: "M6 4v12l10-6z",
  plus: "M10 4v12M4 10h12",
  reuse: "M4 10a6 6 0 0 1 10.5-4L16 7.5M16 4v3.5h-3.5M16 10a6 6 0 0 1-10.5 4L4 12.5M4 16v-3.5h3.5",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11M13 13l4 4",
  signOut: "M8 4H4v12h4M9 10h8m-3-3 3 3-3 3",
  sound: "M4 8v4h3l4 3V5L7 8zM14 7.5a3.5 3.5 0 0 1 0 5",
  stop: "M5.5 5.5h9v9h-9z",
  sun: "M10 13.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  system: "M3 4h14v10H3zM7 17h6M10 14v3",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.8 11h7.4l.8-11",
  undo: "M4 4.5V9h4.5M4.5 9A6.5 6.5 0 1 1 4 13",
  video: "M3 5h10v10H3zM13 9l4-2v6l-4-2",
  warning: "M10 3 2.5 16.5h15zM10 8v4M10 14.3h.01",
  zoom: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11M13 13l4 4M9 6.8v4.4M6.8 9h4.4",
};

/** @param {{name: keyof typeof PATHS}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"
      stroke-linejoin="round" />
  </svg>`;
}

/** The mark of the program: a picture in a pod. */
export function Mark() {
  return html`<svg class="mark" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false">
    <rect x="1.5" y="1.5" width="21" height="21" rx="7" class="mark-pod" />
    <circle cx="12" cy="12" r="5.2" class="mark-lens" />
    <circle cx="13.8" cy="10.2" r="1.5" class="mark-light" />
  </svg>`;
}
