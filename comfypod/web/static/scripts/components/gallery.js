/** All runs, newest first; older ones are fetched as one scrolls down to them. */

import { outputUrl, previewUrl } from "../api.js";
import { shortened } from "../format.js";
import { linkOf, loadMoreRuns, remove, runStore, selectedRun, visibleRuns } from "../runs.js";
import { isEnded } from "../sentences.js";
import { classes, html, useEffect, useRef, useStore } from "../view.js";
import { Icon } from "./icons.js";
import { ProgressBar } from "./progress.js";

const ICONS = { video: "video", audio: "sound", text: "text", file: "file" };
const STATES = {
  submitting: "being sent",
  queued: "waiting",
  running: "running",
  succeeded: "finished",
  failed: "failed",
  cancelled: "cancelled",
};

/** @typedef {import("../types.js").Run} Run */

export function Gallery() {
  const state = useStore(runStore, (runs) => runs);
  const runs = visibleRuns(state);
  const selected = selectedRun(state);
  return html`<section class="gallery" aria-labelledby="gallery-title">
    <h2 id="gallery-title" class="section-title">Gallery</h2>
    ${state.isLoaded && !runs.length && html`<p class="soft">What you make is kept here.</p>`}
    <ul class="tiles">${runs.map(
      (run) => html`<${Tile} key=${run.id} run=${run}
      isSelected=${run.id === selected?.id} />`,
    )}</ul>
    ${state.next && html`<${More} isLoading=${state.isLoadingMore} />`}
  </section>`;
}

/** @param {{run: Run, isSelected: boolean}} props */
function Tile({ run, isSelected }) {
  const remover = (event) => event.key === "Delete" && isEnded(run) && remove(run);
  const show = () => document.getElementById("stage")?.scrollIntoView({ block: "nearest" });
  return html`<li class=${classes("tile", `tile-${run.state}`)}>
    <a href=${linkOf(run.id)} aria-current=${isSelected ? "true" : null}
      aria-label=${`${shortened(run.title, 80)}, ${STATES[run.state]}`} title=${run.title}
      onKeyDown=${remover} onClick=${show}><${TilePicture} run=${run} /></a>
    ${!isEnded(run) && html`<${ProgressBar} run=${run} endpoint=${null} isDecoration=${true} />`}
    ${run.outputs.length > 1 && html`<span class="tile-count" aria-hidden="true">${run.outputs.length}</span>`}
  </li>`;
}

/** @param {{run: Run}} props */
function TilePicture({ run }) {
  const picture = run.outputs.find((output) => output.kind === "image");
  if (picture)
    return html`<img src=${outputUrl(picture)} width=${picture.width} height=${picture.height} alt="" loading="lazy"
      decoding="async" />`;
  if (!isEnded(run) && run.preview)
    return html`<img class="tile-preview" src=${previewUrl(run.id, run.preview.number)} alt="" />`;
  const other = run.outputs[0];
  const icon =
    run.state === "failed"
      ? "warning"
      : run.state === "cancelled"
        ? "stop"
        : other
          ? (ICONS[other.kind] ?? "file")
          : "picture";
  return html`<span class="tile-text"><${Icon} name=${icon} />
    ${shortened(other?.text ?? other?.filename ?? run.title, 60)}</span>`;
}

/**
 * Fetches by itself when it comes into sight; it is a button for those who do not scroll.
 * @param {{isLoading: boolean}} props
 */
function More({ isLoading }) {
  const button = useRef(null);
  useEffect(() => {
    if (!button.current || isLoading) return undefined;
    const observer = new IntersectionObserver(([entry]) => entry.isIntersecting && loadMoreRuns(), {
      rootMargin: "400px",
    });
    observer.observe(button.current);
    return () => observer.disconnect();
  }, [isLoading]);
  return html`<button ref=${button} type="button" class="button button-small gallery-more" disabled=${isLoading}
    onClick=${loadMoreRuns}>${isLoading ? "Fetching" : "Show older ones"}</button>`;
}
