/** All runs that the page knows, newest first, and what can be done with them. */

import * as api from "./api.js";
import { announce, notify } from "./notices.js";
import { announcement, isEnded } from "./sentences.js";
import { Store } from "./store.js";

/** @typedef {import("./types.js").Run} Run */

const LINK = /^#\/runs\/([A-Za-z0-9_-]+)$/;
const REFRESH_MILLISECONDS = 1500;

/**
 * @typedef {object} RunState
 * @property {Run[]} runs newest first
 * @property {string | null} next where older ones begin; null: there are none, or nobody has asked yet
 * @property {boolean} isLoaded the first page of the gallery is there
 * @property {boolean} isLoadingMore
 * @property {string | null} linked the run that the page's address names
 * @property {string[]} hidden runs that are about to be removed
 */

/** @type {Store<RunState>} */
export const runStore = new Store({
  runs: [],
  next: null,
  isLoaded: false,
  isLoadingMore: false,
  linked: linkedRun(),
  hidden: [],
});

/** @type {Map<string, string>} what was last said aloud of each run */
const spoken = new Map();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let refreshing;

/**
 * The run on the stage: the one that the address names, else the newest that goes on, else the newest.
 * @param {RunState} state
 */
export function selectedRun(state) {
  const shown = visibleRuns(state);
  return shown.find((run) => run.id === state.linked) ?? shown.find((run) => !isEnded(run)) ?? shown[0] ?? null;
}

let visible = { of: null, runs: [] };

/** All but those about to be removed. @param {RunState} state */
export function visibleRuns(state) {
  if (!state.hidden.length) return state.runs;
  if (visible.of !== state) visible = { of: state, runs: state.runs.filter((run) => !state.hidden.includes(run.id)) };
  return visible.runs;
}

/** @param {string} id */
export function linkOf(id) {
  return `#/runs/${id}`;
}

/** @param {string} id */
export function select(id) {
  if (location.hash !== linkOf(id)) location.hash = linkOf(id);
}

/** Takes the run that the page's address names, and asks for one that nobody has told of. */
export async function lookAtAddress() {
  const linked = linkedRun();
  runStore.set({ linked });
  if (!linked || runStore.state.runs.some((run) => run.id === linked)) return;
  try {
    receiveRun(await api.getRun(linked));
  } catch (error) {
    if (!(error instanceof api.ApiError) || error.status !== 404) throw error;
    notify("The run that this address names is not there any more.");
  }
}

function linkedRun() {
  return LINK.exec(location.hash)?.[1] ?? null;
}

/** The first page of the gallery; asked for anew after each run, so that the service worker keeps it. */
export async function loadRuns() {
  const { runs, next } = await api.getRuns();
  const isFirst = !runStore.state.isLoaded;
  merge(runs);
  runStore.set({ isLoaded: true, ...(isFirst && { next }) });
}

export async function loadMoreRuns() {
  const { next, isLoadingMore } = runStore.state;
  if (!next || isLoadingMore) return;
  runStore.set({ isLoadingMore: true });
  try {
    const page = await api.getRuns(next);
    merge(page.runs);
    runStore.set({ next: page.next });
  } catch (error) {
    notify(sentence(error), { level: "error" });
  } finally {
    runStore.set({ isLoadingMore: false });
  }
}

/**
 * All that goes on, and the newest of what has ended: whatever is newer than those and not among them is gone.
 * @param {Run[]} runs
 */
export function receiveSnapshot(runs) {
  const present = new Set(runs.map((run) => run.id));
  const ended = runs
    .filter(isEnded)
    .map((run) => run.id)
    .sort();
  const oldest = ended[0] ?? ""; // none has ended: then whatever has is gone
  const kept = runStore.state.runs.filter((run) => present.has(run.id) || (isEnded(run) && run.id < oldest));
  runStore.set({ runs: kept });
  for (const run of runs) spoken.set(run.id, announcement(run, null)); // old news
  merge(runs);
}

/** @param {Run} run */
export function receiveRun(run) {
  const before = runStore.state.runs.find((item) => item.id === run.id);
  merge([run]);
  speak(run);
  if (isEnded(run) && before && !isEnded(before)) {
    clearTimeout(refreshing);
    refreshing = setTimeout(() => loadRuns().catch(() => null), REFRESH_MILLISECONDS); // it is only kept for later
  }
}

/** @param {string} id */
export function receiveRemoved(id) {
  const { runs, hidden } = runStore.state;
  runStore.set({ runs: runs.filter((run) => run.id !== id), hidden: hidden.filter((item) => item !== id) });
}

/** @param {Run[]} runs */
function merge(runs) {
  const receivedAt = performance.now();
  const byId = new Map(runStore.state.runs.map((run) => [run.id, run]));
  for (const run of runs) {
    const known = byId.get(run.id);
    // A list that was on its way may be older than the event that has overtaken it.
    if (!known || !isEnded(known) || isEnded(run)) byId.set(run.id, { ...run, receivedAt });
  }
  runStore.set({ runs: [...byId.values()].sort((one, other) => (one.id < other.id ? 1 : -1)) });
}

/** @param {Run} run */
function speak(run) {
  const text = announcement(run, null);
  if (spoken.get(run.id) === text) return;
  spoken.set(run.id, text);
  announce(text);
}

/** @param {Parameters<typeof api.startRun>[0]} request */
export async function start(request) {
  const run = await api.startRun(request);
  receiveRun(run);
  select(run.id);
  return run;
}

/** @param {Run} run */
export async function cancel(run) {
  if (isEnded(run) || run.is_cancelling) return;
  merge([{ ...run, is_cancelling: true }]);
  try {
    const answer = await api.cancelRun(run.id);
    if (answer?.id) receiveRun(answer);
  } catch (error) {
    merge([{ ...run, is_cancelling: false }]);
    notify(sentence(error), { level: "error" });
  }
}

/**
 * Takes a run away at once, and removes it for good when nobody has taken that back.
 * @param {Run} run
 */
export function remove(run) {
  runStore.set({ hidden: [...runStore.state.hidden, run.id] });
  if (runStore.state.linked === run.id) history.replaceState(null, "", "#/");
  runStore.set({ linked: linkedRun() });
  const show = () => runStore.set({ hidden: runStore.state.hidden.filter((id) => id !== run.id) });
  const removeNow = async () => {
    removeEventListener("pagehide", removeNow);
    try {
      await api.removeRun(run.id);
      receiveRemoved(run.id);
    } catch (error) {
      show();
      if (!(error instanceof api.ApiError) || error.status !== 404) notify(sentence(error), { level: "error" });
      else receiveRemoved(run.id);
    }
  };
  addEventListener("pagehide", removeNow);
  const undo = () => {
    removeEventListener("pagehide", removeNow);
    show();
    select(run.id);
  };
  notify("The run was removed.", { action: { label: "Undo", act: undo }, onGone: removeNow });
}

/** @param {unknown} error */
export function sentence(error) {
  return error instanceof Error ? error.message : String(error);
}
