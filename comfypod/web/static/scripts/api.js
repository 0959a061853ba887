/** The server's HTTP interface (`api/openapi.json`): one function a route. Every answer is a document or an `ApiError`. */

/** @typedef {import("./types.js").Run} Run */

const PATIENCE_SECONDS = 30;
const ASKING_PATIENCE_SECONDS = 300; // a worker may have to start for the answer
const UPLOAD_PATIENCE_SECONDS = 600;
const ATTEMPTS = 3;
/** Set by the service worker on what it kept, so that the page can say that it is offline. */
const KEPT_HEADER = "X-Comfypod-Kept";

/** What the server refused, or that it did not answer (`status` is then 0). The message is a sentence. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {import("./types.js").ErrorDocument} document
   */
  constructor(status, document) {
    super(document.message);
    this.status = status;
    this.code = document.code;
    this.details = document.details ?? {};
  }
}

/** Called when the server no longer knows who this is, and when an answer came from what was kept. */
export const listeners = { onSignedOut: () => {}, onKept: (_isKept) => {} };

/**
 * @typedef {object} Call
 * @property {string} [method]
 * @property {unknown} [json] the body
 * @property {Blob} [blob] the body, as it is
 * @property {Record<string, string>} [headers]
 * @property {number} [patienceSeconds]
 */

/**
 * @param {string} path relative to the page, so that it works under any path
 * @param {Call} [call]
 * @returns {Promise<any>} the document; null where there is none
 */
async function ask(path, { method = "GET", json, blob, headers = {}, patienceSeconds = PATIENCE_SECONDS } = {}) {
  const sent = new Headers(headers);
  if (json !== undefined) sent.set("Content-Type", "application/json");
  if (method !== "GET") sent.set("X-Comfypod", "page"); // no form of another site can set it
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), {
      method,
      headers: sent,
      body: json === undefined ? blob : JSON.stringify(json),
      cache: "no-store",
      credentials: "same-origin",
      signal: AbortSignal.timeout(patienceSeconds * 1000),
      keepalive: method === "DELETE", // also when the page is being left
    });
  } catch {
    throw new ApiError(0, { code: "unreachable", message: "The server of this page does not answer." });
  }
  listeners.onKept(answer.headers.has(KEPT_HEADER));
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const error = await errorOf(answer);
  if (error.status === 401 && path !== "api/session") listeners.onSignedOut();
  throw error;
}

/** @param {Response} answer */
async function errorOf(answer) {
  const other = { code: `http_${answer.status}`, message: `The server answered with HTTP ${answer.status}.` };
  const document = await answer.json().catch(() => null); // a proxy's own page is no JSON
  return new ApiError(answer.status, typeof document?.error?.message === "string" ? document.error : other);
}

/** @returns {Promise<import("./types.js").Session>} */
export const getSession = () => ask("api/session");
/** @param {string} token */
export const signIn = (token) => ask("api/session", { method: "POST", json: { token } });
export const signOut = () => ask("api/session", { method: "DELETE" });
/** @returns {Promise<import("./types.js").Template[]>} */
export const getTemplates = () => ask("api/templates");

/**
 * @param {string | Record<string, any>} workflow a template's name, or a document in either format
 * @param {boolean} asks whether the endpoint is asked what it has
 * @returns {Promise<import("./types.js").Form>}
 */
export function getForm(workflow, asks) {
  const patienceSeconds = asks ? ASKING_PATIENCE_SECONDS : PATIENCE_SECONDS;
  return ask("api/forms", { method: "POST", json: { workflow, ask: asks }, patienceSeconds });
}

/**
 * @param {Blob} blob
 * @param {string} name
 * @returns {Promise<import("./types.js").Upload>}
 */
export function upload(blob, name) {
  const headers = { "Content-Type": blob.type || "application/octet-stream" };
  return ask(`api/uploads?name=${encodeURIComponent(name)}`, {
    method: "POST",
    blob,
    headers,
    patienceSeconds: UPLOAD_PATIENCE_SECONDS,
  });
}

/** @param {string} id */
export const uploadUrl = (id) => `api/uploads/${encodeURIComponent(id)}`;

/**
 * Sent again where no answer came; the key keeps the server from making two runs of it.
 * @param {{workflow: unknown, title: string, parameters: Record<string, any>, files: {name: string, upload: string}[]}} request
 * @returns {Promise<Run>}
 */
export async function startRun(request) {
  const headers = { "Idempotency-Key": randomName() };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask("api/runs", { method: "POST", json: request, headers });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 0 || attempt === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, attempt * 500));
    }
  }
}

/**
 * @param {string | null} before the id of a run: those that are older
 * @returns {Promise<{runs: Run[], next: string | null}>}
 */
export function getRuns(before = null) {
  return ask(`api/runs?limit=30${before ? `&before=${encodeURIComponent(before)}` : ""}`);
}

/** @param {string} id */
const runPath = (id) => `api/runs/${encodeURIComponent(id)}`;
/** @param {string} id @returns {Promise<Run>} */
export const getRun = (id) => ask(runPath(id));
/**
 * The workflow that a run was made with, as it was sent.
 * @param {string} id
 * @returns {Promise<Record<string, any>>}
 */
export const getRunWorkflow = (id) => ask(`${runPath(id)}/workflow`);
/** @param {string} id */
export const cancelRun = (id) => ask(`${runPath(id)}/cancel`, { method: "POST", json: {} });
/** @param {string} id */
export const removeRun = (id) => ask(runPath(id), { method: "DELETE" });
/** @param {string} id @param {number} number */
export const previewUrl = (id, number) => `${runPath(id)}/preview?number=${number}`;

/**
 * Where a result's file is; null for whatever does not lie on this server.
 * @param {import("./types.js").Output} output
 */
export function outputUrl(output) {
  if (!output.url) return null;
  const url = new URL(output.url, document.baseURI);
  return url.origin === location.origin ? url.href : null;
}

/** @param {import("./types.js").Output} output */
export function downloadUrl(output) {
  const url = outputUrl(output);
  return url && `${url}?download=1`;
}

/** 32 digits that nobody guesses; `crypto.randomUUID` is not there on plain HTTP. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
