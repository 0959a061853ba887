/** What runs make besides pictures: films, sounds, texts and other files. */

import { downloadUrl, outputUrl } from "../api.js";
import { copyText } from "../clipboard.js";
import { formatBytes } from "../format.js";
import { notify } from "../notices.js";
import { sentence } from "../runs.js";
import { html, useLayoutEffect, useRef, useState } from "../view.js";
import { Button } from "./button.js";
import { Icon } from "./icons.js";

/** @typedef {{output: import("../types.js").Output}} Props */

const USUAL_RATIO = 16 / 9;

/** @param {Props} props */
export function Video({ output }) {
  const video = useRef(null);
  const [seen, setSeen] = useState(0);
  const ratio = output.width && output.height ? output.width / output.height : seen || USUAL_RATIO;
  useLayoutEffect(
    () => video.current?.parentElement?.parentElement?.style.setProperty("--ratio", String(ratio)),
    [ratio],
  );
  const look = (event) => setSeen(event.target.videoWidth / event.target.videoHeight || 0);
  return html`<div class="frame frame-final"><video ref=${video} class="video"
    src=${outputUrl(output)} controls loop playsinline preload="metadata"
    aria-label=${output.filename ?? "Film"} onLoadedMetadata=${look}></video></div>`;
}

/** @param {Props} props */
export function AudioCard({ output }) {
  return html`<div class="card media-card"><${Icon} name="sound" /><h2>${output.filename}</h2>
    <${Facts} output=${output} />
    <audio src=${outputUrl(output)} controls preload="metadata"
      aria-label=${output.filename ?? "Sound"}></audio></div>`;
}

/** @param {Props} props */
export function TextCard({ output }) {
  const copy = () =>
    copyText(output.text ?? "").then(
      () => notify("The text is copied."),
      (error) => notify(sentence(error), { level: "error" }),
    );
  return html`<div class="card media-card text-card"><h2>${output.node_title ?? "Text"}</h2>
    <pre class="text" tabindex="0" aria-label="Text">${output.text}</pre>
    <div class="card-tools"><${Button} kind="small" icon="copy" onClick=${copy}>Copy the text<//></div></div>`;
}

/** @param {Props} props */
export function FileCard({ output }) {
  return html`<div class="card media-card"><${Icon} name="file" /><h2>${output.filename}</h2>
    <${Facts} output=${output} />
    <a class="button" href=${downloadUrl(output)} download=${output.filename}>
      <${Icon} name="download" />Download</a></div>`;
}

/** @param {Props} props */
function Facts({ output }) {
  const size = output.size_bytes === null ? null : formatBytes(output.size_bytes ?? 0);
  return html`<p class="soft">${[output.content_type, size].filter(Boolean).join(", ")}</p>`;
}
