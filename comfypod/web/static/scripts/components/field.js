/** One field: its label, its control by kind, what it is for, and what is wrong with it. */

import { RANDOM, hasSlider, isFile, isNumeric, LARGEST_SEED, stepOf } from "../fields.js";
import { fieldId, setValue } from "../form.js";
import { classes, html, useLayoutEffect, useRef } from "../view.js";
import { IconButton } from "./button.js";
import { Combobox } from "./combobox.js";
import { FileField } from "./file_field.js";
import { Slider } from "./slider.js";

const LONGEST_SELECT = 24; // more choices are searched
const SILENT = { tabindex: "-1", "aria-hidden": "true" };
const HAS_FIELD_SIZING = CSS.supports("field-sizing", "content");

/**
 * @typedef {object} ControlProps
 * @property {import("../types.js").Field} field
 * @property {string} id of the control
 * @property {any} value
 * @property {(value: any) => void} onChange
 * @property {Record<string, string | null>} about the attributes that tie it to its description and its problem
 */

/**
 * @param {object} props
 * @param {import("../types.js").Field} props.field
 * @param {number} props.index
 * @param {any} props.value
 * @param {string | null} props.problem
 * @param {boolean} props.isOneOfMany another field has the same label
 */
export function FieldView({ field, index, value, problem, isOneOfMany }) {
  const id = fieldId(index);
  const described = [field.description && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ");
  const about = { "aria-describedby": described || null, "aria-invalid": problem ? "true" : null };
  const Control = controlOf(field);
  const isRow = field.kind === "boolean" || (isNumeric(field) && field.kind !== "seed");
  const name = html`${field.label}${
    isOneOfMany && field.group && html`<span class="field-node">, ${field.group}</span>`
  }`;
  const label = isFile(field)
    ? html`<span class="field-label" id=${`${id}-label`}>${name}</span>`
    : html`<label class="field-label" for=${id} id=${`${id}-label`}>${name}</label>`;
  const group = isFile(field) ? { role: "group", "aria-labelledby": `${id}-label` } : {};
  return html`<div class=${classes("field", isRow && "field-row", `field-${field.kind}`)} ...${group}>
    ${label}
    <${Control} field=${field} id=${id} value=${value} about=${about}
      onChange=${(next) => setValue(field.name, next)} />
    ${field.description && html`<p class="field-hint" id=${`${id}-hint`}>${field.description}</p>`}
    ${problem && html`<p class="problem" id=${`${id}-problem`}>${problem}</p>`}
  </div>`;
}

/** @param {import("../types.js").Field} field */
function controlOf(field) {
  if (isFile(field)) return FileField;
  if (field.kind === "longtext") return LongText;
  if (field.kind === "seed") return SeedControl;
  if (field.kind === "boolean") return Switch;
  if (field.kind === "choice" && field.choices) return field.choices.length > LONGEST_SELECT ? Combobox : Select;
  return isNumeric(field) ? NumberControl : ShortText;
}

/** @param {ControlProps} props */
function ShortText({ id, value, about, onChange }) {
  return html`<input class="input" id=${id} type="text" value=${value} autocomplete="off" spellcheck=${false}
    ...${about}
    onInput=${(event) => onChange(event.target.value)} />`;
}

/** Grows with its text. @param {ControlProps} props */
function LongText({ id, value, about, onChange }) {
  const area = useRef(null);
  useLayoutEffect(() => {
    if (HAS_FIELD_SIZING || !area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight + 2}px`;
  }, [value]);
  return html`<textarea ref=${area} class="input input-long" id=${id} rows="3" value=${value} ...${about}
    onInput=${(event) => onChange(event.target.value)}></textarea>`;
}

/**
 * A number to be typed, and a slider for the hand; the slider says nothing that the number does not.
 * @param {ControlProps} props
 */
function NumberControl({ field, id, value, about, onChange }) {
  return html`
    <input class="input input-number" id=${id} type="number"
      inputmode=${field.kind === "number" ? "decimal" : "numeric"} value=${value}
      min=${field.minimum} max=${field.maximum} step=${field.kind === "number" ? "any" : stepOf(field)} ...${about}
        onInput=${(event) => onChange(event.target.value)}
      onKeyDown=${(event) => arrow(event, field, value, onChange)} />
    ${
      hasSlider(field) &&
      html`<${Slider} minimum=${Number(field.minimum)} maximum=${Number(field.maximum)} step=${stepOf(field)}
        value=${value}
      onChange=${onChange} about=${SILENT} />`
    }`;
}

/**
 * The arrow keys go by steps; a browser that takes any number would go by one.
 * @param {KeyboardEvent} event
 * @param {import("../types.js").Field} field
 * @param {string} value
 * @param {(value: string) => void} onChange
 */
function arrow(event, field, value, onChange) {
  const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!direction || field.kind !== "number") return;
  event.preventDefault();
  const step = stepOf(field);
  const next = Math.round((Number(value) + direction * step) / step) * step;
  const within = Math.min(field.maximum ?? Infinity, Math.max(field.minimum ?? -Infinity, next));
  onChange(String(Number(within.toPrecision(12))));
}

/** @param {ControlProps} props */
function SeedControl({ field, id, value, about, onChange }) {
  const isRandom = value === RANDOM;
  const roll = () => onChange(String(crypto.getRandomValues(new Uint32Array(1))[0]));
  const lock = (event) => (event.target.checked ? onChange(RANDOM) : roll());
  return html`<div class="seed">
    <input class="input" id=${id} type="text" inputmode="numeric" autocomplete="off"
      maxlength=${String(LARGEST_SEED).length}
      value=${isRandom ? "" : value} placeholder=${isRandom ? "drawn at each run" : ""} readonly=${isRandom} ...${about}
      onInput=${(event) => onChange(event.target.value)} />
    <${IconButton} icon="dice" label=${`${field.label}: draw a number`} onClick=${roll} />
    <label class="check"><input type="checkbox" checked=${isRandom} onChange=${lock} />Random each time</label>
  </div>`;
}

/** @param {ControlProps} props */
function Switch({ id, value, about, onChange }) {
  return html`<input class="switch" id=${id} type="checkbox" role="switch" checked=${Boolean(value)} ...${about}
    onChange=${(event) => onChange(event.target.checked)} />`;
}

/** @param {ControlProps} props */
function Select({ field, id, value, about, onChange }) {
  const choices = (field.choices ?? []).map(String);
  return html`<select class="input" id=${id} ...${about} onChange=${(event) => onChange(event.target.value)}>
    ${!choices.includes(value) && html`<option value=${value} selected>${value || "Choose"}</option>`}
    ${choices.map(
      (choice) => html`<option key=${choice} value=${choice} selected=${choice === value}>
      ${choice}</option>`,
    )}
  </select>`;
}
