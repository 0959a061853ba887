/**
 * The values of a form: what a field starts with, what is wrong with a value, and what of it is sent. Pure.
 *
 * A value is kept as it was typed: a string for numbers, `"random"` or a string for seeds, a `FileValue` for files.
 */

import { formatBytes, formatCount } from "./format.js";

/** @typedef {import("./types.js").Field} Field */
/** @typedef {import("./types.js").Upload} Upload */
/**
 * A file that was uploaded; `original` is the picture before a mask was painted over it.
 * @typedef {Upload & {original?: Upload}} FileValue
 */

export const RANDOM = "random";
/** The largest whole number that JSON keeps exact in a browser; seeds may be larger, but cannot be typed here. */
export const LARGEST_SEED = Number.MAX_SAFE_INTEGER;
const FILE_KINDS = new Set(["image", "mask", "video", "audio", "file"]);
const ACCEPTED = { image: "image/*", mask: "image/*", video: "video/*", audio: "audio/*", file: "" };
const NOUNS = { image: "picture", mask: "mask", video: "video", audio: "sound file", file: "file" };
const MOST_SLIDER_STEPS = 2000;

/** @param {Field} field */
export function isFile(field) {
  return FILE_KINDS.has(field.kind);
}

/** @param {Field} field */
export function acceptedTypes(field) {
  return ACCEPTED[field.kind] ?? "";
}

/** @param {Field} field */
export function fileNoun(field) {
  return NOUNS[field.kind] ?? "file";
}

/**
 * What a field shows before anybody has touched it.
 * @param {Field} field
 */
export function startValue(field) {
  if (isFile(field)) return null; // its default is the name of a file at the endpoint, and nothing to show
  if (field.kind === "boolean") return Boolean(field.default);
  return field.default === null || field.default === undefined ? "" : String(field.default);
}

/**
 * Why a value cannot be sent, as a sentence; null where it can.
 * @param {Field} field
 * @param {any} value
 * @returns {string | null}
 */
export function problemOf(field, value) {
  if (isFile(field)) return value || field.default ? null : `Choose a ${fileNoun(field)} first.`;
  if (field.kind === "boolean") return null;
  if (field.kind === "choice") return choiceProblem(field, value);
  if (field.kind === "seed")
    return value === RANDOM || value === "" ? null : numberProblem(field, value, 0, LARGEST_SEED);
  if (isNumeric(field)) return numberProblem(field, value, field.minimum, field.maximum);
  return null;
}

/**
 * @param {Field} field
 * @param {string} value
 */
function choiceProblem(field, value) {
  if (!field.choices || field.choices.map(String).includes(value)) return null;
  return value ? `“${value}” is not among the choices.` : "Choose one.";
}

/**
 * @param {Field} field
 * @param {string} value
 * @param {number | null} minimum
 * @param {number | null} maximum
 */
function numberProblem(field, value, minimum, maximum) {
  if (isUntouched(field, value)) return null;
  const number = Number(value);
  if (String(value).trim() === "" || !Number.isFinite(number)) return "This must be a number.";
  if (field.kind !== "number" && !Number.isInteger(number)) return "This must be a whole number.";
  if (minimum !== null && minimum !== undefined && number < minimum)
    return `This must be at least ${formatCount(minimum)}.`;
  if (maximum !== null && maximum !== undefined && number > maximum)
    return `This must be at most ${formatCount(maximum)}.`;
  return multipleProblem(field, number);
}

/**
 * @param {Field} field
 * @param {number} number
 */
function multipleProblem(field, number) {
  const factor = field.multiple_of;
  if (!factor || number % factor === 0) return null;
  const below = Math.floor(number / factor) * factor;
  return `This must be a multiple of ${factor}: ${below} or ${below + factor}.`;
}

/** @param {Field} field */
export function isNumeric(field) {
  return field.kind === "integer" || field.kind === "number" || field.kind === "seed";
}

/**
 * Whether a value is the field's own default, which may be a number that JSON does not keep exact here.
 * @param {Field} field
 * @param {any} value
 */
function isUntouched(field, value) {
  return value === startValue(field);
}

/**
 * The step of a slider and of the arrow keys.
 * @param {Field} field
 */
export function stepOf(field) {
  if (field.step) return field.step;
  if (field.multiple_of) return field.multiple_of;
  if (field.kind !== "number") return 1;
  const range = (field.maximum ?? 1) - (field.minimum ?? 0);
  return 10 ** Math.floor(Math.log10(Math.max(range, 1e-6) / 100)); // about a hundred steps or more, and round
}

/**
 * Whether a slider helps: both ends are known, and one step of it can be hit.
 * @param {Field} field
 */
export function hasSlider(field) {
  if (typeof field.minimum !== "number" || typeof field.maximum !== "number") return false;
  const steps = (field.maximum - field.minimum) / stepOf(field);
  return steps >= 1 && steps <= MOST_SLIDER_STEPS;
}

/**
 * What a field that need not be changed lets out: seeds beyond what JSON keeps exact here, and files of the endpoint.
 * @param {Field} field
 * @param {any} value
 * @returns {any} undefined: nothing is sent, and the workflow's own value stands
 */
export function sentValue(field, value) {
  if (isFile(field)) return undefined; // files are named by `sentFiles`
  if (field.kind === "boolean") return value;
  if (field.kind === "choice") return (field.choices ?? []).find((choice) => String(choice) === value) ?? value;
  if (!isNumeric(field)) return value === "" && field.default === null ? undefined : value;
  if (value === RANDOM) return RANDOM;
  const number = Number(value);
  return value === "" || (Number.isInteger(number) && !Number.isSafeInteger(number)) ? undefined : number;
}

/**
 * What a run is asked for: its parameters and its files, each under a name of its own.
 * @param {Field[]} fields
 * @param {Record<string, any>} values
 */
export function requestOf(fields, values) {
  /** @type {Record<string, any>} */
  const parameters = {};
  /** @type {{name: string, upload: string}[]} */
  const files = [];
  for (const field of fields) {
    const value = values[field.name];
    if (isFile(field) && value) {
      const name = ownName(value, files);
      parameters[field.name] = name;
      if (!files.some((file) => file.name === name)) files.push({ name, upload: value.id });
    }
    const sent = sentValue(field, value);
    if (sent !== undefined) parameters[field.name] = sent;
  }
  return { parameters, files };
}

/**
 * The file's name, with a number where another file of the run has it.
 * @param {FileValue} value
 * @param {{name: string, upload: string}[]} files
 */
function ownName(value, files) {
  const [, stem, ending] = /^(.*?)(\.[^.]*)?$/s.exec(value.name) ?? ["", value.name, ""];
  let name = value.name;
  for (let number = 2; files.some((file) => file.name === name && file.upload !== value.id); number += 1) {
    name = `${stem}-${number}${ending ?? ""}`;
  }
  return name;
}

/**
 * The values of a form with which a run was made.
 * @param {Field[]} fields
 * @param {import("./types.js").Run} run
 */
export function valuesOfRun(fields, run) {
  /** @type {Record<string, any>} */
  const values = {};
  for (const field of fields) {
    const given = run.parameters[field.name];
    if (given === undefined) continue;
    if (isFile(field)) {
      const file = run.files.find((item) => item.name === given);
      if (file) values[field.name] = { id: file.upload, name: file.name };
    } else {
      values[field.name] = field.kind === "boolean" ? Boolean(given) : String(given);
    }
  }
  return values;
}

/**
 * What a run is called: the first line of its prompt, else the workflow's name.
 * @param {Field[]} fields
 * @param {Record<string, any>} values
 * @param {string} otherwise
 */
export function titleOf(fields, values, otherwise) {
  const prompt = fields.find(
    (field) => field.kind === "longtext" && field.is_main && String(values[field.name] ?? "").trim(),
  );
  return prompt ? String(values[prompt.name]).trim().slice(0, 200) : otherwise;
}

/**
 * Why a file cannot be sent, or null.
 * @param {Blob} file
 * @param {number | undefined} limitBytes
 */
export function fileProblem(file, limitBytes) {
  if (file.size === 0) return "This file is empty.";
  if (limitBytes && file.size > limitBytes)
    return `This file has ${formatBytes(file.size)}; at most ${formatBytes(limitBytes)} are taken.`;
  return null;
}

/**
 * The shape of a picture to come, width by height, as far as the form knows it.
 * @param {Record<string, any>} parameters
 * @returns {number | null}
 */
export function ratioOf(parameters) {
  const width = dimension(parameters, "width");
  const height = dimension(parameters, "height");
  return width && height ? width / height : null;
}

/**
 * @param {Record<string, any>} parameters
 * @param {string} name
 */
function dimension(parameters, name) {
  const key = Object.keys(parameters).find((item) => item === name || item.endsWith(`.${name}`));
  const value = key === undefined ? NaN : Number(parameters[key]);
  return value > 0 && Number.isFinite(value) ? value : null;
}
