/** Who uses the page, and how the server and the endpoint are reached. */

import * as api from "./api.js";
import { EventConnection } from "./events.js";
import { forget } from "./remember.js";
import { receiveRemoved, receiveRun, receiveSnapshot, runStore } from "./runs.js";
import { Store } from "./store.js";

const HIDDEN_PATIENCE_MILLISECONDS = 60_000;

/**
 * @typedef {object} Site
 * @property {"starting" | "signed_out" | "signed_in" | "broken"} state
 * @property {string} problem why it is broken
 * @property {boolean} needsToken whether one can sign out
 * @property {import("./types.js").Session["limits"]} limits
 * @property {import("./types.js").Endpoint | null} endpoint
 * @property {boolean} isConnected the server's events arrive
 * @property {boolean} isKept what is seen was kept by this browser; the server does not answer
 * @property {number | null} retryAt in milliseconds of `Date.now()`
 */

/** @type {Store<Site>} */
export const siteStore = new Store({
  state: "starting",
  problem: "",
  needsToken: false,
  limits: {},
  endpoint: null,
  isConnected: false,
  isKept: false,
  retryAt: null,
});

const connection = new EventConnection(receive, ({ isOpen, retryAt }) => {
  siteStore.set({ isConnected: isOpen, retryAt, ...(isOpen && { isKept: false }) });
  if (!isOpen) lookWhy();
});

api.listeners.onSignedOut = () => {
  connection.close();
  siteStore.set({ state: "signed_out", needsToken: true, isConnected: false });
};
api.listeners.onKept = (isKept) => {
  if (isKept !== siteStore.state.isKept) siteStore.set({ isKept });
};

/** Ask who we are, and begin; called again after signing in. */
export async function enter() {
  try {
    const session = await api.getSession();
    const state = session.is_signed_in || !session.needs_token ? "signed_in" : "signed_out";
    siteStore.set({ state, needsToken: session.needs_token, limits: session.limits ?? {}, problem: "" });
    if (state === "signed_in") connection.open();
  } catch (error) {
    siteStore.set({ state: "broken", problem: error instanceof Error ? error.message : String(error) });
  }
}

/** @param {string} token */
export async function signIn(token) {
  await api.signIn(token);
  await enter();
}

/** Leaves nothing of this visitor in the browser. */
export async function signOut() {
  connection.close();
  await api.signOut().catch(() => null); // the cookie may be gone already
  forget();
  if ("caches" in globalThis) await Promise.all((await caches.keys()).map((name) => caches.delete(name)));
  location.hash = "";
  location.reload();
}

export function reconnect() {
  connection.open();
}

/** Nobody looks and nothing runs: the connection is given back, since a browser has few of them for all its tabs. */
export function watchVisibility() {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (siteStore.state.state !== "signed_in") return;
    if (document.hidden) timer = setTimeout(rest, HIDDEN_PATIENCE_MILLISECONDS);
    else if (!connection.source) connection.open();
  });
  addEventListener("online", () => siteStore.state.state === "signed_in" && connection.open());
}

function rest() {
  if (runStore.state.runs.every((run) => run.ended_at)) connection.close();
}

/**
 * @param {string} name
 * @param {any} document
 */
function receive(name, document) {
  if (name === "runs") receiveSnapshot(document.runs ?? document);
  else if (name === "run") receiveRun(document);
  else if (name === "removed") receiveRemoved(document.id);
  else if (name === "endpoint") siteStore.set({ endpoint: document });
}

/** An event stream does not say why it was refused; a question does. */
async function lookWhy() {
  const session = await api.getSession().catch(() => null);
  if (session && session.needs_token && !session.is_signed_in) api.listeners.onSignedOut();
}
