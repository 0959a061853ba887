/** The form column: which workflow, its fields, and the button that runs it. */

import { askEndpoint, formStore, obstacle, problemsOf, resetValues, submit } from "../form.js";
import { formatPlural } from "../format.js";
import { isMac } from "../keys.js";
import { runStore } from "../runs.js";
import { isEnded } from "../sentences.js";
import { siteStore } from "../site.js";
import { html, useMedia, useStore } from "../view.js";
import { Button } from "./button.js";
import { FieldView } from "./field.js";
import { Icon } from "./icons.js";
import { Source } from "./source.js";

/** @typedef {import("../types.js").Field} Field */

export function Settings() {
  const form = useStore(formStore, (state) => state);
  const problems = form.showsProblems ? problemsOf(form) : {};
  const numbered = form.fields.map((field, index) => ({ field, index }));
  const draw = ({ field, index }) => html`<${FieldView} key=${field.name} field=${field} index=${index}
    value=${form.values[field.name]} problem=${problems[field.name] ?? null}
      isOneOfMany=${isOneOfMany(form.fields, field)} />`;
  const others = numbered.filter(({ field }) => !field.is_main);
  return html`<section class="settings" aria-labelledby="settings-title">
    <h2 id="settings-title" class="visually-hidden">Settings</h2>
    <form class="settings-form" novalidate onSubmit=${(event) => event.preventDefault()}>
      <div class="settings-body">
        <${Source} form=${form} />
        ${form.source ? numbered.filter(({ field }) => field.is_main).map(draw) : html`<${Skeleton} />`}
        ${others.length > 0 && html`<${More} others=${others} draw=${draw} problems=${problems} />`}
        ${
          form.fields.length > 0 &&
          html`<div class="settings-tools">
          <${Button} kind="quiet" icon="undo" onClick=${resetValues}>Back to the defaults<//>
          ${
            !form.isDescribed &&
            html`<${Button} kind="quiet" icon="search" disabled=${form.isAsking} onClick=${askEndpoint}
            title="A worker says which models and choices it has. It may have to start for that.">
              ${form.isAsking ? "Asking the endpoint" : "Ask the endpoint for its choices"}<//>`
          }
        </div>`
        }
      </div>
      <${RunBar} form=${form} problems=${problems} />
    </form>
  </section>`;
}

/**
 * Whether another of the main fields is called the same, so that its node must be named with it.
 * @param {Field[]} fields
 * @param {Field} field
 */
function isOneOfMany(fields, field) {
  return field.is_main && fields.filter((other) => other.is_main && other.label === field.label).length > 1;
}

/**
 * The fields that are rarely changed, by the node that they belong to.
 * @param {{others: {field: Field, index: number}[], draw: (item: any) => any, problems: Record<string, string>}} props
 */
function More({ others, draw, problems }) {
  const groups = new Map();
  for (const item of others) groups.set(item.field.group ?? "", [...(groups.get(item.field.group ?? "") ?? []), item]);
  const wrong = others.filter(({ field }) => problems[field.name]).length;
  return html`<details class="more">
    <summary><${Icon} name="more" />More settings<span class="soft">
      ${wrong ? `${wrong} to be changed` : others.length}</span></summary>
    ${[...groups].map(([group, items]) =>
      group
        ? html`<fieldset key=${group} class="group"><legend>${group}</legend>${items.map(draw)}</fieldset>`
        : html`<div key="" class="group">${items.map(draw)}</div>`,
    )}
  </details>`;
}

/** @param {{form: import("../form.js").FormState, problems: Record<string, string>}} props */
function RunBar({ form, problems }) {
  const active = useStore(runStore, (state) => state.runs.filter((run) => !isEnded(run)).length);
  useStore(siteStore, (site) => site); // limits, and whether the server answers
  const isTouched = useMedia("(pointer: coarse), (max-width: 759px)");
  const why = obstacle(form, active);
  const count = Object.keys(problems).length;
  const run = async () => {
    if (await submit()) document.getElementById("stage")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };
  const text = count ? `${formatPlural(count, "setting")} must be changed first.` : form.source && why;
  return html`<div class="run-bar">
    ${text && html`<p class=${count ? "problem" : "soft"} role="status">${text}</p>`}
    <button type="button" class="button button-primary button-run" onClick=${run}
      disabled=${Boolean(why) || form.isSending} aria-keyshortcuts="Control+Enter">
      <${Icon} name="play" />${form.isSending ? "Sending" : "Run"}${
        !isTouched &&
        html`<kbd aria-hidden="true">
        ${isMac ? "⌘" : "Ctrl"} ⏎</kbd>`
      }
    </button>
  </div>`;
}

function Skeleton() {
  return html`<div class="skeleton" aria-hidden="true"><span></span><span></span><span></span></div>`;
}
