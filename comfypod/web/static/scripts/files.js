/** Files that a field wants: sent to the server as soon as they are chosen, and where dropped or pasted ones go. */

import * as api from "./api.js";
import { fileProblem, isFile } from "./fields.js";
import { formStore, openDocument, setValue } from "./form.js";
import { announce, notify } from "./notices.js";
import { scaledDown } from "./pictures.js";
import { sentence } from "./runs.js";
import { siteStore } from "./site.js";
import { Store } from "./store.js";
import { isWorkflowFile, readWorkflow } from "./workflow_file.js";

/** @typedef {import("./types.js").Field} Field */

/** The files on their way, by the names of their fields. @type {Store<{sending: Record<string, File>}>} */
export const fileStore = new Store({ sending: {} });

/**
 * Sends a file and makes it the field's value.
 * @param {Field} field
 * @param {File} file
 * @param {import("./types.js").Upload} [original] the picture that a mask was painted over
 */
export async function give(field, file, original) {
  const limitBytes = siteStore.state.limits.upload_bytes;
  const problem = fileProblem(file, limitBytes);
  const smaller = problem && file.size && !original ? await scaledDown(file) : null;
  if (smaller && !fileProblem(smaller, limitBytes)) {
    notify(`${file.name} was made smaller: ${problem}`);
    await give(field, smaller);
    return;
  }
  if (problem) {
    notify(`${file.name}: ${problem}`, { level: "error" });
    return;
  }
  fileStore.set({ sending: { ...fileStore.state.sending, [field.name]: file } });
  try {
    const upload = await api.upload(file, file.name);
    setValue(field.name, original ? { ...upload, original } : upload);
    announce(`${file.name} is there.`);
  } catch (error) {
    notify(`${file.name} was not sent: ${sentence(error)}`, { level: "error" });
  } finally {
    const { [field.name]: _done, ...sending } = fileStore.state.sending;
    fileStore.set({ sending });
  }
}

/**
 * Files that were dropped or pasted somewhere on the page: a workflow is opened, the others go to the first fields
 * that take them and are still empty.
 * @param {Iterable<File>} files
 */
export async function receiveFiles(files) {
  const taken = new Set();
  for (const file of files) {
    const field = isWorkflowFile(file) ? undefined : fieldFor(file, taken);
    if (field) {
      taken.add(field.name);
      await give(field, file);
    } else {
      await openWorkflowFile(file);
    }
  }
}

/** @param {File} file */
export async function openWorkflowFile(file) {
  try {
    await openDocument(await readWorkflow(file), file.name.replace(/\.(json|png)$/i, ""));
  } catch (error) {
    notify(sentence(error), { level: "error" });
  }
}

/**
 * @param {File} file
 * @param {Set<string>} taken
 */
function fieldFor(file, taken) {
  const { fields, values } = formStore.state;
  const fitting = fields.filter((field) => isFile(field) && !taken.has(field.name) && fits(field, file));
  return fitting.find((field) => !values[field.name]) ?? fitting[0];
}

/**
 * @param {Field} field
 * @param {File} file
 */
export function fits(field, file) {
  const kind = file.type.split("/")[0];
  if (field.kind === "file") return true;
  return kind === (field.kind === "mask" ? "image" : field.kind);
}
