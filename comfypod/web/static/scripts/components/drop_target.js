/** The whole page takes files: dropped anywhere, or pasted. */

import { receiveFiles } from "../files.js";
import { openDocument } from "../form.js";
import { html, useEffect, useState } from "../view.js";
import { workflowOfText } from "../workflow_file.js";
import { Icon } from "./icons.js";

export function DropTarget() {
  const [depth, setDepth] = useState(0); // how many elements deep the pointer is, as enter and leave count it
  useEffect(() => {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const enter = (event) => hasFiles(event) && setDepth((old) => old + 1);
    const leave = (event) => hasFiles(event) && setDepth((old) => Math.max(0, old - 1));
    const over = (event) => hasFiles(event) && event.preventDefault();
    const end = () => setDepth(0);
    document.addEventListener("dragenter", enter);
    document.addEventListener("dragleave", leave);
    document.addEventListener("dragover", over);
    document.addEventListener("drop", end, true); // also where a field has taken the file
    document.addEventListener("drop", drop);
    document.addEventListener("paste", paste);
    return () => {
      document.removeEventListener("dragenter", enter);
      document.removeEventListener("dragleave", leave);
      document.removeEventListener("dragover", over);
      document.removeEventListener("drop", end, true);
      document.removeEventListener("drop", drop);
      document.removeEventListener("paste", paste);
    };
  }, []);
  if (!depth) return null;
  return html`<div class="drop-target" aria-hidden="true"><p>
    <${Icon} name="folder" />Drop a workflow, or a file for this one</p></div>`;
}

/** @param {DragEvent} event */
function drop(event) {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  receiveFiles([...event.dataTransfer.files]);
}

/** @param {ClipboardEvent} event */
function paste(event) {
  const data = event.clipboardData;
  if (data?.files.length) {
    event.preventDefault();
    receiveFiles([...data.files]);
    return;
  }
  const isTyping = event.target instanceof Element && event.target.closest("input, textarea");
  const workflow = !isTyping && data ? workflowOfText(data.getData("text/plain")) : null;
  if (!workflow) return;
  event.preventDefault();
  openDocument(workflow, "Pasted workflow");
}
