/**
 * A workflow out of a file: a JSON document in either of ComfyUI's formats, or a PNG that ComfyUI has written its
 * workflow into. Pure.
 */

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const LARGEST_BYTES = 8_000_000;

/** Whether a file may hold a workflow and is no picture that a field wants. @param {File} file */
export function isWorkflowFile(file) {
  return file.type === "application/json" || file.name.toLowerCase().endsWith(".json");
}

/**
 * @param {File} file
 * @returns {Promise<Record<string, any>>}
 * @throws {Error} with a sentence
 */
export async function readWorkflow(file) {
  if (file.size > LARGEST_BYTES && isWorkflowFile(file)) throw new Error("This file is too large to be a workflow.");
  const text = isWorkflowFile(file) ? await file.text() : workflowOfPng(new Uint8Array(await file.arrayBuffer()));
  if (text === null) throw new Error("There is no workflow in this picture, and no field that takes a picture.");
  const document = parsed(text);
  if (!looksLikeWorkflow(document)) throw new Error(`“${file.name}” is not a workflow. Export one from ComfyUI: Workflow, Export (API).`);
  return document;
}

/** The document in a text that was pasted; null where it is none. @param {string} text */
export function workflowOfText(text) {
  if (text.length > LARGEST_BYTES || !text.trimStart().startsWith("{")) return null;
  const document = parsed(text);
  return looksLikeWorkflow(document) ? document : null;
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** API format: nodes with a class; as the page saves it: a list of nodes. Everything else is judged by the server. @param {any} document */
function looksLikeWorkflow(document) {
  if (document === null || typeof document !== "object" || Array.isArray(document)) return false;
  if (Array.isArray(document.nodes)) return true;
  return Object.values(document.prompt ?? document.workflow ?? document).some((node) => typeof (/** @type {any} */ (node)?.class_type) === "string");
}

/**
 * The text of a PNG's `prompt` chunk (API format), else of its `workflow` chunk; null where there is none.
 * PNG: length, type, data and checksum of each chunk; `tEXt` is a keyword, a zero and Latin-1 text.
 * @param {Uint8Array} bytes
 */
function workflowOfPng(bytes) {
  if (!PNG_SIGNATURE.every((byte, index) => bytes[index] === byte)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const latin = new TextDecoder("latin1");
  /** @type {Record<string, string>} */
  const texts = {};
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const data = bytes.subarray(at + 8, at + 8 + length);
    const zero = data.indexOf(0);
    if (latin.decode(bytes.subarray(at + 4, at + 8)) === "tEXt" && zero > 0) {
      texts[latin.decode(data.subarray(0, zero))] = latin.decode(data.subarray(zero + 1));
    }
    at += 12 + length;
  }
  return texts.prompt ?? texts.workflow ?? null;
}
