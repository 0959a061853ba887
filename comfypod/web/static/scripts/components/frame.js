/** A picture as it comes into being: previews one over the other, ever less blurred, and at last the picture itself. */

import { outputUrl, previewUrl } from "../api.js";
import { percent } from "../sentences.js";
import { classes, html, useEffect, useLayoutEffect, useRef, useState } from "../view.js";

const MOST_BLUR = 14; // CSS pixels, at the beginning
const GROWTH = 0.006; // for each pixel of it, so that the blurred edge lies outside
const FADE_MILLISECONDS = 700;

/** @typedef {{src: string, isLoaded: boolean}} Layer */

/**
 * @param {object} props
 * @param {import("../types.js").Run} props.run
 * @param {import("../types.js").Output | null} props.output the picture, once there is one
 * @param {number | null} props.ratio width by height, where it is known
 * @param {boolean} props.isMoving the run goes on
 * @param {() => void} props.onZoom
 */
export function Frame({ run, output, ratio, isMoving, onZoom }) {
  const frame = useRef(null);
  const [seenRatio, setSeenRatio] = useState(null);
  const src = output ? outputUrl(output) : run.preview && isMoving ? previewUrl(run.id, run.preview.number) : null;
  const [layers, change] = useLayers(src);
  const blur = output ? 0 : MOST_BLUR * (1 - percent(run) / 100) ** 1.5 + 1;
  const shape = ratio ?? seenRatio ?? 1;
  useLayoutEffect(() => {
    frame.current?.parentElement?.style.setProperty("--ratio", String(shape));
    frame.current?.style.setProperty("--blur", `${blur.toFixed(1)}px`);
    frame.current?.style.setProperty("--grow", (1 + blur * GROWTH).toFixed(3));
  }, [shape, blur]);
  const loaded = (layer, image) => {
    if (image.naturalHeight) setSeenRatio(image.naturalWidth / image.naturalHeight);
    change.markLoaded(layer.src);
  };
  return html`<div ref=${frame} class=${classes("frame", isMoving && "frame-moving", output && "frame-final")}>
    ${layers.map((layer, index) => {
      const isTop = index === layers.length - 1;
      return html`<img key=${layer.src} class=${classes("layer", layer.isLoaded && "layer-loaded")} src=${layer.src}
        width=${output?.width ?? null} height=${output?.height ?? null} alt=${isTop ? altOf(run, output) : ""}
          decoding="async"
        onLoad=${(event) => loaded(layer, event.target)} onError=${() => change.drop(layer.src)}
          onClick=${output ? onZoom : null} />`;
    })}
    ${!layers.length && run.state === "cancelled" && html`<p class="frame-note">Cancelled</p>`}
  </div>`;
}

/** @param {import("../types.js").Run} run @param {import("../types.js").Output | null} output */
function altOf(run, output) {
  return output ? run.title : `Preview of ${run.title}`;
}

/**
 * The pictures that lie one over the other: the newest, and the one before it until the newest has faded in.
 * @param {string | null} src
 * @returns {[Layer[], {markLoaded: (src: string) => void, drop: (src: string) => void}]}
 */
function useLayers(src) {
  const [layers, setLayers] = useState([]);
  useEffect(() => {
    if (src)
      setLayers((old) => [
        ...old.filter((layer) => layer.isLoaded && layer.src !== src).slice(-1),
        { src, isLoaded: false },
      ]);
  }, [src]);
  const isSettled = layers.length > 1 && layers[layers.length - 1].isLoaded;
  useEffect(() => {
    if (!isSettled) return undefined;
    const timer = setTimeout(() => setLayers((old) => old.slice(-1)), FADE_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [isSettled, src]);
  const markLoaded = (of) =>
    setLayers((old) => old.map((layer) => (layer.src === of ? { ...layer, isLoaded: true } : layer)));
  const drop = (of) => setLayers((old) => old.filter((layer) => layer.src !== of));
  return [layers, { markLoaded, drop }];
}
