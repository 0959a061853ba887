/** What is said about a run and about the endpoint: one sentence each, honest about what is not known. Pure. */

import { formatDollars, formatPlural, formatSeconds, formatWholeSeconds } from "./format.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Endpoint} Endpoint */

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const STAGES = {
  prepare: "Getting ready",
  queue: "Waiting on the worker",
  execute: "Running",
  deliver: "Bringing the result",
};
export const UNREACHABLE = "The endpoint cannot be reached; trying again";

/** @param {Run} run */
export function isEnded(run) {
  return ENDED.has(run.state);
}

/**
 * Whether its worker says how far a run is.
 * @param {Run} run
 */
export function isMeasured(run) {
  return run.state === "running" && run.progress !== null;
}

/**
 * How far a run is, or what it waits for. Counts on by itself between two messages of the server.
 * @param {Run} run
 * @param {Endpoint | null} endpoint
 * @param {number} now milliseconds of `performance.now()`
 */
export function stateSentence(run, endpoint, now) {
  if (run.state === "succeeded") return "Finished";
  if (run.state === "failed") return "Failed";
  if (run.state === "cancelled") return "Cancelled";
  if (run.is_cancelling) return "Cancelling";
  if (endpoint && !endpoint.is_reachable) return UNREACHABLE;
  if (isMeasured(run)) return progressSentence(run, now);
  if (run.state === "running") return "A worker has taken it";
  return waitSentence(run, now);
}

/**
 * @param {Run} run
 * @param {number} now
 */
function waitSentence(run, now) {
  if (!run.wait) return run.state === "submitting" ? "Sending the job" : "Waiting for the endpoint";
  const waited = formatWholeSeconds(run.wait.seconds + secondsSince(run, now));
  const jobs = run.wait.jobs_in_queue;
  switch (run.wait.kind) {
    case "cold_start":
      return `Starting a worker, ${waited}`;
    case "throttled":
      return `No GPU free right now (throttled), ${waited}`;
    case "queue":
      return jobs
        ? `Waiting: ${formatPlural(jobs, "job")} at the endpoint, ${waited}`
        : `Waiting for a free worker, ${waited}`;
    default:
      return `Waiting for the endpoint, ${waited}`;
  }
}

/**
 * @param {Run} run
 * @param {number} now
 */
function progressSentence(run, now) {
  const progress = run.progress;
  const parts = [stageName(run)];
  if (progress.step && progress.steps) parts.push(`step ${progress.step} of ${progress.steps}`);
  const left = (progress.eta_seconds ?? 0) - secondsSince(run, now);
  if (left >= 1) parts.push(`about ${formatWholeSeconds(Math.ceil(left))} left`);
  return parts.join(", ");
}

/**
 * The name of what a running run does: its node's title while nodes run.
 * @param {Run} run
 */
export function stageName(run) {
  const progress = run.progress;
  if (!progress) return "A worker has taken it";
  if (progress.stage === "execute" && progress.node_title) return progress.node_title;
  return STAGES[progress.stage] ?? progress.message ?? "Running";
}

/**
 * @param {Run} run
 * @param {number} now
 */
function secondsSince(run, now) {
  return Math.max(0, (now - (run.receivedAt ?? now)) / 1000);
}

/** @param {Run} run */
export function percent(run) {
  return Math.round(Math.min(1, Math.max(0, run.progress?.value ?? 0)) * 100);
}

/**
 * What the progress bar says to those who hear it.
 * @param {Run} run
 * @param {Endpoint | null} endpoint
 * @param {number} now
 */
export function progressText(run, endpoint, now) {
  const sentence = stateSentence(run, endpoint, now);
  return isMeasured(run) ? `${percent(run)} percent, ${sentence}` : sentence;
}

/** "3.2 s, about $0.0011"; without a price the time alone. @param {Run} run */
export function costSentence(run) {
  if (!run.cost) return "";
  const time = formatSeconds(run.cost.seconds);
  return run.cost.dollars === null || run.cost.dollars === undefined
    ? time
    : `${time}, about ${formatDollars(run.cost.dollars)}`;
}

/** @param {Run} run */
export function outputsSentence(run) {
  const counts = new Map();
  for (const output of run.outputs) counts.set(output.kind, (counts.get(output.kind) ?? 0) + 1);
  const names = { image: "picture", video: "video", audio: "sound", text: "text", file: "file" };
  return [...counts].map(([kind, count]) => formatPlural(count, names[kind] ?? "file")).join(", ");
}

/**
 * What is said aloud when a run gets further; the same text is said once only, and steps are not told.
 * @param {Run} run
 * @param {Endpoint | null} endpoint
 */
export function announcement(run, endpoint) {
  if (run.state === "succeeded") return `Finished: ${run.title}. ${outputsSentence(run)}.`;
  if (run.state === "cancelled") return `Cancelled: ${run.title}.`;
  if (run.state === "failed") return ""; // the error is an alert of its own
  if (run.state === "running") return run.progress ? `${STAGES[run.progress.stage] ?? "Running"}.` : "";
  return (
    stateSentence({ ...run, wait: run.wait && { ...run.wait, seconds: 0 } }, endpoint, 0).replace(/, 0 s$/, "") + "."
  );
}

/**
 * The endpoint in a word or two, and how well it is.
 * @param {Endpoint | null} endpoint
 * @returns {{level: "good" | "busy" | "bad" | "unknown", text: string}}
 */
export function endpointState(endpoint) {
  if (!endpoint) return { level: "unknown", text: "Asking the endpoint" };
  if (!endpoint.is_reachable) return { level: "bad", text: "Cannot be reached" };
  const { workers } = endpoint;
  if (workers.idle) return { level: "good", text: "Ready" };
  if (workers.running) return { level: "busy", text: "Busy" };
  if (workers.ready) return { level: "good", text: "Ready" };
  if (workers.initializing) return { level: "busy", text: "Starting a worker" };
  if (workers.throttled) return { level: "bad", text: "No GPU free" };
  if (workers.unhealthy) return { level: "bad", text: "Unhealthy" };
  return { level: "unknown", text: "Asleep" };
}
