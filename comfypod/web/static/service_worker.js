/**
 * Keeps what this visitor has seen, for when the server is away: the page itself, the files of results, and the last
 * answers about runs and templates. The server is always asked first, except for results, which never change.
 *
 * What is kept of the page is one set of files that belong together, named by a hash of their contents: they are
 * replaced as a whole. Errors are never kept. Signing out deletes everything (`scripts/site.js`).
 */

const SHELL_PREFIX = "comfypod-shell-";
const RESULTS = "comfypod-results";
const ANSWERS = "comfypod-answers";
const MOST_RESULTS = 300;
const LARGEST_RESULT_BYTES = 40_000_000;
/** What the page needs to draw itself and its gallery; the first page of runs only. */
const KEPT_ANSWERS = /^api\/(session|templates|endpoint|runs\?limit=30|runs\/[\w-]+)$/;
const RESULT = /^api\/(runs\/[\w-]+\/files\/|uploads\/)/;
const RUN = /^api\/runs\/([\w-]+)$/;
const SHELL = /^(static\/|manifest\.webmanifest$|favicon\.ico$|$)/;
/** Tells the page that an answer was kept (`scripts/api.js`). */
const KEPT_HEADER = "X-Comfypod-Kept";

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(keepShell());
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const scope = self.registration.scope;
  if (!url.href.startsWith(scope)) return;
  const path = url.href.slice(scope.length).replace(/#.*$/, "");
  const removed = request.method === "DELETE" && RUN.exec(path);
  if (removed) event.waitUntil(forget(`${scope}api/runs/${removed[1]}`));
  if (request.method !== "GET") return;
  if (request.mode === "navigate" && path === "") {
    event.respondWith(shell(request, "./"));
    event.waitUntil(keepShell().catch(() => null)); // without the server, what is kept stays
  } else if (RESULT.test(path) && !url.searchParams.has("download")) {
    event.respondWith(result(event));
  } else if (KEPT_ANSWERS.test(path)) {
    event.respondWith(answer(request));
  } else if (SHELL.test(path)) {
    event.respondWith(shell(request, path));
  }
});

/** A part of the page: the server's, else the one that was kept. */
async function shell(request, path) {
  try {
    return await fetch(request);
  } catch (error) {
    const name = (await caches.keys()).find((key) => key.startsWith(SHELL_PREFIX));
    const kept = name && (await (await caches.open(name)).match(new URL(path, self.registration.scope)));
    if (kept) return kept;
    throw error;
  }
}

/** Fetches all that the front page names, and keeps it under the hash of its contents. */
async function keepShell() {
  const front = await fetch("./", { cache: "no-cache" });
  if (!front.ok) throw new Error(`HTTP ${front.status}`);
  const text = await front.clone().text();
  const paths = [...text.matchAll(/(?:href|src)="((?:static\/|manifest)[^"]+)"/g)].map((match) => match[1]);
  const files = new Map([["./", front]]);
  await Promise.all([...new Set(paths)].map(async (path) => files.set(path, await fetch(path, { cache: "no-cache" }))));
  if ([...files.values()].some((file) => !file.ok)) throw new Error("A part of the page is not there.");
  const name = SHELL_PREFIX + (await hashOf([...files.keys()].sort().map((path) => files.get(path).clone())));
  if (await caches.has(name)) return;
  const cache = await caches.open(name);
  await Promise.all([...files].map(([path, file]) => cache.put(new URL(path, self.registration.scope), file)));
  for (const key of await caches.keys()) if (key.startsWith(SHELL_PREFIX) && key !== name) await caches.delete(key);
}

async function hashOf(answers) {
  const bodies = await Promise.all(answers.map((item) => item.arrayBuffer()));
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(bodies).arrayBuffer());
  return [...new Uint8Array(digest).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What the server says now; what it said last where it does not answer. */
async function answer(request) {
  const cache = await caches.open(ANSWERS);
  try {
    const fresh = await fetch(request);
    if (fresh.ok) await cache.put(request.url, fresh.clone()).catch(() => null); // a full disk keeps nothing
    return fresh;
  } catch (error) {
    const kept = await cache.match(request.url);
    if (!kept) throw error;
    const headers = new Headers(kept.headers);
    headers.set(KEPT_HEADER, "1");
    return new Response(kept.body, { status: 200, headers });
  }
}

/** A result's file: kept as a whole, given in pieces to players that ask for pieces. */
async function result(event) {
  const { request } = event;
  const range = request.headers.get("Range");
  const cache = await caches.open(RESULTS);
  const kept = await cache.match(request.url);
  if (kept) return range ? piece(kept, range) : kept;
  const fresh = await fetch(request);
  if (fresh.ok)
    event.waitUntil(keepResult(cache, request.url, fresh.status === 200 ? fresh.clone() : null).catch(() => null));
  return fresh;
}

/**
 * @param {Cache} cache
 * @param {string} url
 * @param {Response | null} fresh the whole file; null where the page got a piece
 */
async function keepResult(cache, url, fresh) {
  const whole = fresh ?? (await fetch(url, { credentials: "same-origin" }));
  const size = Number(whole.headers.get("Content-Length") ?? Infinity);
  if (whole.status !== 200 || size > LARGEST_RESULT_BYTES) {
    await whole.body?.cancel();
    return;
  }
  await cache.put(url, whole);
  const keys = await cache.keys();
  for (const key of keys.slice(0, Math.max(0, keys.length - MOST_RESULTS))) await cache.delete(key); // the oldest first
}

/** The bytes that a `Range: bytes=FIRST-LAST` names (RFC 9110, 14). */
async function piece(kept, range) {
  const body = await kept.blob();
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? [];
  if (first === undefined) return new Response(body, { status: 200, headers: kept.headers });
  const start = first === "" ? Math.max(0, body.size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? body.size : Math.min(body.size, Number(last) + 1);
  if (start >= end) return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${body.size}` } });
  const headers = new Headers(kept.headers);
  headers.set("Content-Range", `bytes ${start}-${end - 1}/${body.size}`);
  headers.set("Content-Length", String(end - start));
  return new Response(body.slice(start, end), { status: 206, headers });
}

/** A run that is removed leaves nothing here either. @param {string} address */
async function forget(address) {
  for (const name of [RESULTS, ANSWERS]) {
    const cache = await caches.open(name);
    for (const key of await cache.keys())
      if (key.url === address || key.url.startsWith(`${address}/`)) await cache.delete(key);
  }
}
