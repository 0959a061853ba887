/** A file for a field: dropped, chosen, pasted, from the camera; a mask can be painted over a picture. */

import { uploadUrl } from "../api.js";
import { acceptedTypes, fileNoun } from "../fields.js";
import { fileStore, fits, give } from "../files.js";
import { formStore } from "../form.js";
import { formatBytes } from "../format.js";
import { classes, html, useMedia, useObjectUrl, useRef, useState, useStore } from "../view.js";
import { Button, IconButton } from "./button.js";
import { CameraDialog } from "./camera_dialog.js";
import { Icon } from "./icons.js";
import { MaskDialog } from "./mask_dialog.js";

/** @param {import("./field.js").ControlProps} props */
export function FileField({ field, id, value, about, onChange }) {
  const sending = useStore(fileStore, (state) => state.sending[field.name] ?? null);
  const [dialog, setDialog] = useState(null);
  const [isOver, setOver] = useState(false);
  const input = useRef(null);
  const isPicture = field.kind === "image" || field.kind === "mask";
  const base = usePaintable(field, value);
  const take = (file) => file && give(field, file);
  const drop = (event) => {
    setOver(false);
    const file = event.dataTransfer?.files[0];
    if (!file || !fits(field, file)) return; // the page judges what this is
    event.preventDefault();
    event.stopPropagation();
    take(file);
  };
  return html`<div class=${classes("file", isOver && "file-over", value && "file-full")}
    onDragEnter=${() => setOver(true)} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    ${
      value || sending
        ? html`<${Chosen} field=${field} value=${value} sending=${sending} />`
        : html`<${Nothing} field=${field} />`
    }
    <input ref=${input} class="visually-hidden" type="file" tabindex="-1" aria-hidden="true"
      accept=${acceptedTypes(field)}
      onChange=${(event) => {
        take(event.target.files[0]);
        event.target.value = "";
      }} />
    <div class="file-tools">
      <${Button} kind="small" icon="folder" id=${id} aria-label=${`${field.label}: choose a ${fileNoun(field)}`}
        ...${about}
        onClick=${() => input.current?.click()}>${value ? "Choose another" : "Choose"}<//>
      ${
        field.kind === "image" &&
        html`<${CameraButton} field=${field} onTake=${take}
        onOpen=${() => setDialog("camera")} />`
      }
      ${
        isPicture &&
        base &&
        html`<${Button} kind="small" icon="mask" aria-label=${`${field.label}: paint a mask`}
        onClick=${() => setDialog("mask")}>Mask<//>`
      }
      ${value && html`<${IconButton} icon="trash" label=${`${field.label}: remove`} onClick=${() => onChange(null)} />`}
    </div>
    ${dialog === "camera" && html`<${CameraDialog} onTake=${take} onClose=${() => setDialog(null)} />`}
    ${
      dialog === "mask" &&
      base &&
      html`<${MaskDialog} field=${field} base=${base} current=${value}
      onClose=${() => setDialog(null)} />`
    }
  </div>`;
}

/**
 * The picture that a mask is painted over: the field's own, or for a mask the first picture of the form.
 * @param {import("../types.js").Field} field
 * @param {any} value
 * @returns {import("../types.js").Upload | null}
 */
function usePaintable(field, value) {
  return useStore(formStore, (state) => {
    if (field.kind === "image") return value?.original ?? value;
    const other = state.fields.find((item) => item.kind === "image" && state.values[item.name]);
    const picture = other && state.values[other.name];
    return picture?.original ?? picture ?? value?.original ?? value;
  });
}

/** @param {{field: import("../types.js").Field}} props */
function Nothing({ field }) {
  const touch = useMedia("(pointer: coarse), (max-width: 759px)");
  return html`<div class="file-empty">
    <${Icon} name=${{ video: "video", audio: "sound", file: "file" }[field.kind] ?? "picture"} />
    <p>${touch ? `No ${fileNoun(field)} yet` : `Drop a ${fileNoun(field)} here, or paste one`}</p>
    ${
      typeof field.default === "string" &&
      field.default &&
      html`<p class="soft">Without one: ${field.default}, if the endpoint has it</p>`
    }
  </div>`;
}

/**
 * @param {{field: import("../types.js").Field, value: import("../fields.js").FileValue | null, sending: File | null}} props
 */
function Chosen({ field, value, sending }) {
  const own = useObjectUrl(sending);
  const url = own ?? (value && !sending ? uploadUrl(value.id) : null);
  const name = sending?.name ?? value?.name ?? "";
  const facts = [
    value?.width && value.height && `${value.width} × ${value.height}`,
    value?.size_bytes && formatBytes(value.size_bytes),
  ].filter(Boolean);
  return html`<div class="file-chosen" aria-busy=${sending ? "true" : null}>
    <div class="file-picture">${url && html`<${Thumbnail} kind=${field.kind} url=${url} />`}</div>
    <p class="file-name">${name}</p>
    <p class="soft">
      ${sending ? "Sending…" : [...facts, value?.original && "with a mask"].filter(Boolean).join(", ")}</p>
  </div>`;
}

/** @param {{kind: string, url: string}} props */
function Thumbnail({ kind, url }) {
  const [isBroken, setBroken] = useState(false);
  if (isBroken || kind === "file") return html`<${Icon} name="file" />`;
  if (kind === "video") return html`<video src=${url} muted playsinline preload="metadata" aria-hidden="true"></video>`;
  if (kind === "audio") return html`<${Icon} name="sound" />`;
  return html`<img src=${url} alt="" onError=${() => setBroken(true)} />`;
}

/**
 * On a phone the system's own camera; else a dialog.
 * @param {{field: import("../types.js").Field, onTake: (file: File | undefined) => void, onOpen: () => void}} props
 */
function CameraButton({ field, onTake, onOpen }) {
  const input = useRef(null);
  const isPhone = useMedia("(pointer: coarse)");
  if (!isPhone && !navigator.mediaDevices?.getUserMedia) return null; // not on plain http to another computer
  return html`<${Button} kind="small" icon="camera" aria-label=${`${field.label}: take a photo`}
      onClick=${() => (isPhone ? input.current?.click() : onOpen())}>Camera<//>
    ${
      isPhone &&
      html`<input ref=${input} class="visually-hidden" type="file" tabindex="-1" aria-hidden="true" accept="image/*"
        capture="environment"
      onChange=${(event) => {
        onTake(event.target.files[0]);
        event.target.value = "";
      }} />`
    }`;
}
