/**
 * A workflow out of a file: a JSON document in either of ComfyUI's formats, or a PNG that ComfyUI has written its
 * workflow into. Pure.
 */

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** What a text has in it that was copied to be run, in either format; anything else is pasted for some other reason. */
const HAS_NODES = /^\s*\{[^]*"(class_type|nodes)"\s*:/;
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
  const document = parsed(text); // whether it can be run is for the server to say
  if (document === null || typeof document !== "object" || Array.isArray(document))
    throw new Error(`“${file.name}” is not a workflow. Export one from ComfyUI: Workflow, Export (API).`);
  return document;
}

/** The document in a text that was pasted; null where it is none. @param {string} text */
export function workflowOfText(text) {
  if (text.length > LARGEST_BYTES || !HAS_NODES.test(text)) return null;
  return parsed(text);
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
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
