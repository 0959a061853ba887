/** The form: which workflow it is made of, its fields, what was entered, and what is sent. */

import * as api from "./api.js";
import { problemOf, requestOf, startValue, titleOf, valuesOfRun } from "./fields.js";
import { shortened } from "./format.js";
import { announce, notify } from "./notices.js";
import { recall, remember } from "./remember.js";
import { sentence, start } from "./runs.js";
import { siteStore } from "./site.js";
import { Store } from "./store.js";

/** @typedef {import("./types.js").Field} Field */
/**
 * Where the form comes from: a template of the server, or a document that was opened here.
 * @typedef {{kind: "template", name: string} | {kind: "document", title: string, document: Record<string, any>}} Source
 */

/**
 * @typedef {object} FormState
 * @property {import("./types.js").Template[]} templates
 * @property {Source | null} source
 * @property {Record<string, any> | null} workflow in API format, as far as the server could make it one
 * @property {Field[]} fields
 * @property {string[]} notes
 * @property {boolean} isDescribed the endpoint has said what it has
 * @property {boolean} isAsking the endpoint is being asked
 * @property {boolean} isSending a run is being sent
 * @property {Record<string, any>} values by the names of the fields; see `fields.js`
 * @property {boolean} showsProblems
 */

/** @type {Store<FormState>} */
export const formStore = new Store({
  templates: [],
  source: null,
  workflow: null,
  fields: [],
  notes: [],
  isDescribed: false,
  isAsking: false,
  isSending: false,
  values: {},
  showsProblems: false,
});

let turn = 0; // which workflow was chosen last: an answer about an earlier one comes too late

/** Begin with what was open the last time, else with the first template. */
export async function loadForm() {
  const templates = await api.getTemplates();
  formStore.set({ templates });
  const last = recall("source", null);
  if (last?.kind === "document") await openDocument(last.document, last.title);
  else await chooseTemplate(templates.find((template) => template.name === last?.name)?.name ?? templates[0]?.name);
}

/** @param {string | undefined} name */
export async function chooseTemplate(name) {
  const template = formStore.state.templates.find((item) => item.name === name);
  if (!template) return;
  const source = { kind: "template", name: template.name };
  show(source, { title: template.name, workflow: null, fields: template.fields, notes: [], is_described: false });
  void refine(source);
}

/**
 * @param {Record<string, any>} document
 * @param {string} title
 * @returns {Promise<boolean>} whether it can be opened
 */
export async function openDocument(document, title) {
  const source = { kind: "document", document, title };
  try {
    const form = await api.getForm(document, false);
    show(source, form);
  } catch (error) {
    notify(`“${title}” cannot be opened: ${sentence(error)}`, { level: "error" });
    if (!formStore.state.source) await chooseTemplate(formStore.state.templates[0]?.name);
    return false;
  }
  announce(`${title} is open.`);
  void refine(source);
  return true;
}

/**
 * @param {Source} source
 * @param {import("./types.js").Form} form
 */
function show(source, form) {
  turn += 1;
  // Of documents only the last one is remembered.
  if (source.kind === "document" && JSON.stringify(recall("source", null)) !== JSON.stringify(source))
    remember(keyOf(source), null);
  remember("source", source);
  const values = { ...startValues(form.fields), ...known(form.fields, recall(keyOf(source), {})) };
  formStore.set({
    source,
    values,
    workflow: form.workflow,
    fields: form.fields,
    notes: form.notes ?? [],
    isDescribed: form.is_described,
    isAsking: false,
    showsProblems: false,
  });
}

/**
 * What the server knows of the endpoint already; a local endpoint is asked itself, since that costs nothing.
 * @param {Source} source
 */
async function refine(source) {
  const mine = turn;
  if (source.kind === "template") await ask(false, mine);
  if (mine === turn) askIfLocal();
}

/** That the endpoint is a local one may become known only after the form was drawn. */
export function watchEndpoint() {
  siteStore.subscribe(askIfLocal);
}

let asked = 0; // the turn in which the endpoint was asked: once is enough

function askIfLocal() {
  const { state, endpoint } = siteStore.state;
  const { source, isDescribed } = formStore.state;
  const isOurs = state === "signed_in" && endpoint?.is_local && endpoint.is_reachable;
  if (isOurs && source && !isDescribed && asked !== turn) askEndpoint();
}

/** Ask the endpoint what it has: choices, ranges and defaults. */
export async function askEndpoint() {
  const mine = turn;
  asked = mine;
  formStore.set({ isAsking: true });
  await ask(true, mine);
  if (mine === turn) formStore.set({ isAsking: false });
}

/**
 * @param {boolean} asks
 * @param {number} mine
 */
async function ask(asks, mine) {
  const { source } = formStore.state;
  if (!source) return;
  try {
    const form = await api.getForm(source.kind === "template" ? source.name : source.document, asks);
    if (mine === turn && (asks || !formStore.state.isDescribed)) refill(form);
  } catch (error) {
    // Without an answer the fields stay as they are; that is told to whoever asked.
    if (asks && mine === turn) notify(`The endpoint was asked in vain: ${sentence(error)}`, { level: "error" });
  }
}

/**
 * Other fields for the same workflow; what was entered stays.
 * @param {import("./types.js").Form} form
 */
function refill(form) {
  const { values, fields } = formStore.state;
  const touched = Object.fromEntries(
    fields.filter((field) => values[field.name] !== startValue(field)).map((field) => [field.name, values[field.name]]),
  );
  formStore.set({
    fields: form.fields,
    workflow: form.workflow,
    notes: form.notes ?? [],
    isDescribed: form.is_described,
    values: { ...startValues(form.fields), ...known(form.fields, touched) },
  });
}

/** @param {Field[]} fields */
function startValues(fields) {
  return Object.fromEntries(fields.map((field) => [field.name, startValue(field)]));
}

/** @param {Field[]} fields @param {Record<string, any>} values */
function known(fields, values) {
  return Object.fromEntries(
    fields.filter((field) => field.name in values).map((field) => [field.name, values[field.name]]),
  );
}

/** @param {Source} source */
function keyOf(source) {
  return source.kind === "template" ? `values.${source.name}` : "values";
}

/**
 * @param {string} name
 * @param {any} value
 */
export function setValue(name, value) {
  const values = { ...formStore.state.values, [name]: value };
  formStore.set({ values });
  if (formStore.state.source) remember(keyOf(formStore.state.source), values);
}

export function resetValues() {
  const { source, fields } = formStore.state;
  if (!source) return;
  remember(keyOf(source), null);
  formStore.set({ values: startValues(fields), showsProblems: false });
  announce("All settings are back to their defaults.");
}

/** Puts a run's settings into the form. @param {import("./types.js").Run} run */
export async function reuse(run) {
  if (!(await openSourceOf(run))) return;
  const { fields, source } = formStore.state;
  const next = { ...startValues(fields), ...valuesOfRun(fields, run) };
  formStore.set({ values: next, showsProblems: false });
  if (source) remember(keyOf(source), next);
  notify("The settings are in the form.");
}

/**
 * Makes the form that of a run's workflow.
 * @param {import("./types.js").Run} run
 * @returns {Promise<boolean>} whether it could be had
 */
async function openSourceOf(run) {
  const { source, templates } = formStore.state;
  if (run.template) {
    if (source?.kind === "template" && source.name === run.template) return true;
    if (!templates.some((template) => template.name === run.template)) {
      notify(`The template “${run.template}” is not there any more.`, { level: "error" });
      return false;
    }
    await chooseTemplate(run.template);
    return true;
  }
  try {
    return await openDocument(await api.getRunWorkflow(run.id), shortened(run.title, 40));
  } catch (error) {
    notify(sentence(error), { level: "error" });
    return false;
  }
}

/** The fields that cannot be sent as they are, each with a sentence. @param {FormState} state */
export function problemsOf(state) {
  /** @type {Record<string, string>} */
  const problems = {};
  for (const field of state.fields) {
    const problem = problemOf(field, state.values[field.name]);
    if (problem) problems[field.name] = problem;
  }
  return problems;
}

/**
 * Why nothing can be run now, as a sentence; null where it can.
 * @param {FormState} state
 * @param {number} active runs that go on
 */
export function obstacle(state, active) {
  const { isKept, limits } = siteStore.state;
  if (!state.source) return "Choose a workflow first.";
  if (isKept) return "You are offline.";
  if (limits.runs_at_once && active >= limits.runs_at_once) return `At most ${limits.runs_at_once} runs go on at once.`;
  return null;
}

/**
 * Sends a run. The first field that cannot be sent gets the focus instead.
 * @returns {Promise<boolean>} whether it was sent
 */
export async function submit() {
  const { fields, values, source, workflow, isSending } = formStore.state;
  if (!source || isSending) return false;
  const problems = problemsOf(formStore.state);
  const first = fields.findIndex((field) => problems[field.name]);
  if (first >= 0) {
    formStore.set({ showsProblems: true });
    requestAnimationFrame(() => revealField(first));
    return false;
  }
  formStore.set({ isSending: true, showsProblems: false });
  const title = titleOf(fields, values, source.kind === "template" ? source.name : source.title);
  const what = source.kind === "template" ? source.name : (workflow ?? source.document);
  return send({ workflow: what, title, ...requestOf(fields, values) });
}

/** The same run once more. @param {import("./types.js").Run} run */
export async function repeat(run) {
  formStore.set({ isSending: true });
  const workflow = run.template ?? (await api.getRunWorkflow(run.id).catch(() => null));
  if (workflow === null) {
    formStore.set({ isSending: false });
    notify("The workflow of this run is not there any more.", { level: "error" });
    return;
  }
  await send({ workflow, title: run.title, parameters: run.parameters, files: run.files });
}

/** @param {Parameters<typeof start>[0]} request */
async function send(request) {
  try {
    await start(request);
    return true;
  } catch (error) {
    notify(sentence(error), { level: "error" });
    return false;
  } finally {
    formStore.set({ isSending: false });
  }
}

/** The id of a field's control in the page. @param {number} index */
export function fieldId(index) {
  return `field-${index}`;
}

/** Opens what a field is folded into, and goes there. @param {number} index */
function revealField(index) {
  const control = document.getElementById(fieldId(index));
  const fold = control?.closest("details");
  if (fold) fold.open = true;
  control?.focus();
  control?.scrollIntoView({ block: "nearest" });
}
