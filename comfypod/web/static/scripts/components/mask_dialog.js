/**
 * Painting a mask over a picture, with the pointer or the keyboard: the arrow keys move the brush, the space bar
 * paints for as long as it is held.
 */

import { uploadUrl } from "../api.js";
import { give } from "../files.js";
import { loadBitmap, MaskPainting } from "../mask.js";
import { announce } from "../notices.js";
import { sentence } from "../runs.js";
import { html, useEffect, useLayoutEffect, useReducer, useRef, useState } from "../view.js";
import { Button } from "./button.js";
import { Dialog } from "./dialog.js";
import { Slider } from "./slider.js";

const HELP =
  "Paint with the pointer, or with the arrow keys (with Shift in small steps) and the space bar. " +
  "Ctrl+Z takes a stroke back.";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {object} props
 * @param {import("../types.js").Field} props.field
 * @param {import("../types.js").Upload} props.base the picture
 * @param {import("../fields.js").FileValue | null} props.current what the field has now: perhaps an earlier mask
 * @param {() => void} props.onClose
 */
export function MaskDialog({ field, base, current, onClose }) {
  const [painting, setPainting] = useState(null);
  const [problem, setProblem] = useState("");
  const [brush, setBrush] = useState({ part: 8, isErasing: false });
  const [, redraw] = useReducer((count) => count + 1, 0);
  const picture = useRef(null);
  const mask = useRef(null);
  const isMaskField = field.kind === "mask";
  useEffect(() => {
    prepare(picture.current, mask.current, base, isMaskField ? current : current?.original && current).then(
      setPainting,
      (error) => setProblem(sentence(error)),
    );
  }, []);
  const act = (action) => () => {
    action();
    redraw(0);
    if (painting) announce(`${Math.round(painting.coverage() * 100)} percent is masked.`);
  };
  const save = async () => {
    if (!painting) return;
    const blob = await painting.toPng(!isMaskField);
    const stem = base.name.replace(/\.[^.]*$/, "").replace(/-mask(ed)?$/, "");
    const file = new File([blob], `${stem}-${isMaskField ? "mask" : "masked"}.png`, { type: "image/png" });
    onClose();
    await give(field, file, base);
  };
  const covered = painting ? Math.round(painting.coverage() * 100) : 0;
  const hasWork = Boolean(painting?.actions.length);
  const footer = html`<p class="soft">
    ${painting?.isScaled ? `Scaled to ${painting.width} × ${painting.height}. ` : ""}${covered} % masked</p>
    <${Button} onClick=${onClose}>Cancel<//>
    <${Button} kind="primary" disabled=${!painting} onClick=${save}>Use this mask<//>`;
  return html`<${Dialog} title=${`Mask: ${base.name}`} kind="dialog-mask" onClose=${onClose} footer=${footer}>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <div class="mask-tools" role="group" aria-label="Painting">
      <label class="mask-size">Brush <${Slider} minimum=${1} maximum=${40} value=${brush.part}
        about=${{ "aria-valuetext": `${brush.part} percent of the picture` }}
        onChange=${(part) => setBrush({ ...brush, part: Number(part) })} /></label>
      <${Button} kind="small" icon="erase" aria-pressed=${String(brush.isErasing)}
        onClick=${() => setBrush({ ...brush, isErasing: !brush.isErasing })}>Erase<//>
      <${Button} kind="small" icon="undo" disabled=${!hasWork} onClick=${act(() => painting?.undo())}>Undo<//>
      <${Button} kind="small" disabled=${!painting} onClick=${act(() => painting?.change("invert"))}>Invert<//>
      <${Button} kind="small" disabled=${!painting} onClick=${act(() => painting?.change("clear"))}>Clear<//>
    </div>
    <${Easel} pictureRef=${picture} maskRef=${mask} painting=${painting} brush=${brush} onChange=${act(() => {})}
      onUndo=${act(() => painting?.undo())} />
    <p class="soft" id="mask-help">${HELP}</p>
  <//>`;
}

/**
 * @param {HTMLCanvasElement} picture
 * @param {HTMLCanvasElement} mask
 * @param {import("../types.js").Upload} base
 * @param {import("../types.js").Upload | null | undefined} earlier
 */
async function prepare(picture, mask, base, earlier) {
  const painting = new MaskPainting(picture, mask, await loadBitmap(uploadUrl(base.id)));
  if (earlier && earlier.id !== base.id) await painting.takeOver(await loadBitmap(uploadUrl(earlier.id)));
  return painting;
}

/**
 * The picture, the mask above it, and the brush.
 * @param {object} props
 * @param {any} props.pictureRef
 * @param {any} props.maskRef
 * @param {MaskPainting | null} props.painting
 * @param {{part: number, isErasing: boolean}} props.brush `part` in hundredths of the picture's shorter side
 * @param {() => void} props.onChange
 * @param {() => void} props.onUndo
 */
function Easel({ pictureRef, maskRef, painting, brush, onChange, onUndo }) {
  const [at, setAt] = useState({ x: 0.5, y: 0.5 }); // the brush, in parts of the picture
  const ring = useRef(null);
  const easel = useRef(null);
  const isPainting = useRef(false);
  const width = painting?.width ?? 1;
  const height = painting?.height ?? 1;
  const size = Math.max(2, (brush.part / 100) * Math.min(width, height));
  useLayoutEffect(() => {
    easel.current?.style.setProperty("--ratio", String(width / height));
    ring.current?.style.setProperty("left", `${at.x * 100}%`);
    ring.current?.style.setProperty("top", `${at.y * 100}%`);
    ring.current?.style.setProperty("width", `${(size / width) * 100}%`);
  });
  const toPixels = (point) => ({ x: point.x * width, y: point.y * height });
  const move = (point) => {
    setAt(point);
    if (isPainting.current) painting?.extend(toPixels(point));
  };
  const begin = (point) => {
    isPainting.current = true;
    setAt(point);
    painting?.begin(toPixels(point), size, brush.isErasing);
  };
  const end = () => {
    if (isPainting.current) onChange();
    isPainting.current = false;
  };
  const pointOf = (event) => {
    const box = maskRef.current.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  const press = (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = event.shiftKey ? 1 : Math.max(1, size / 3);
      const inside = (value) => Math.min(1, Math.max(0, value));
      move({ x: inside(at.x + (arrow[0] * step) / width), y: inside(at.y + (arrow[1] * step) / height) });
    } else if (event.key === " ") {
      if (!event.repeat) begin(at);
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      onUndo();
    } else {
      return;
    }
    event.preventDefault();
  };
  return html`<div class="easel-place"><div ref=${easel} class="easel" tabindex="0" role="application"
    aria-label="Painting area" aria-describedby="mask-help"
    onKeyDown=${press} onKeyUp=${(event) => event.key === " " && end()} onBlur=${end}
    onPointerDown=${(event) => {
      if (event.button === 0) {
        event.currentTarget.setPointerCapture(event.pointerId);
        begin(pointOf(event));
      }
    }}
    onPointerMove=${(event) => movesOf(event).forEach((item) => move(pointOf(item)))}
    onPointerUp=${end} onPointerCancel=${end}>
    <canvas ref=${pictureRef} class="easel-picture"></canvas>
    <canvas ref=${maskRef} class="easel-mask"></canvas>
    <div ref=${ring} class=${brush.isErasing ? "easel-brush easel-brush-erasing" : "easel-brush"}></div>
  </div></div>`;
}

/** All places that the pointer has been at since the last event: more than one where it is fast. */
function movesOf(event) {
  const moves = event.getCoalescedEvents?.() ?? [];
  return moves.length ? moves : [event];
}
