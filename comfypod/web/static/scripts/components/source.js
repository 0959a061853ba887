/** Which workflow: one of the server's templates, or a file that is opened or dropped here. */

import { chooseTemplate, formStore } from "../form.js";
import { openWorkflowFile } from "../files.js";
import { html, useRef } from "../view.js";
import { Button, IconButton } from "./button.js";
import { Icon } from "./icons.js";

/** @param {{form: import("../form.js").FormState}} props */
export function Source({ form }) {
  const { source, templates } = form;
  const input = useRef(null);
  const description =
    source?.kind === "template" ? templates.find((template) => template.name === source.name)?.description : "";
  return html`<div class="source">
    ${
      source?.kind === "document"
        ? html`<${Opened} title=${source.title} />`
        : html`<div class="field">
      <label class="field-label" for="template">Workflow</label>
      <select class="input" id="template" aria-describedby="template-hint" disabled=${!source}
        onChange=${(event) => chooseTemplate(event.target.value)}>
        ${templates.map(
          ({ name }) => html`<option key=${name} value=${name}
          selected=${source?.kind === "template" && source.name === name}>${nameOf(name)}</option>`,
        )}
      </select>
    </div>`
    }
    <p class="field-hint" id="template-hint">${description}</p>
    <input ref=${input} class="visually-hidden" type="file" tabindex="-1" aria-hidden="true"
      accept=".json,application/json,image/png"
      onChange=${(event) => {
        const [file] = event.target.files;
        if (file) openWorkflowFile(file);
        event.target.value = "";
      }} />
    <${Button} kind="quiet" icon="folder" onClick=${() => input.current?.click()}>Open a workflow<//>
    ${
      form.notes.length > 0 &&
      html`<ul class="warnings" aria-label="About this workflow">
      ${form.notes.map((note) => html`<li key=${note}><${Icon} name="info" />${note}</li>`)}</ul>`
    }
  </div>`;
}

/** @param {{title: string}} props */
function Opened({ title }) {
  const back = () => chooseTemplate(formStore.state.templates[0]?.name);
  return html`<div class="opened"><${Icon} name="file" /><p><span class="field-label">Workflow</span>
    <bdi class="opened-title">${title}</bdi></p>
    <${IconButton} icon="close" label="Close this workflow" onClick=${back} /></div>`;
}

/** "text_to_image" as people write it. @param {string} name */
function nameOf(name) {
  const words = name.replaceAll(/[_-]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
