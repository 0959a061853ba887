/**
 * A mask as it is painted: strokes over a picture, and the PNG that ComfyUI reads a mask from.
 *
 * ComfyUI's `LoadImage` gives the picture and, as its mask, one minus the alpha channel: alpha is 0 where masked.
 * `LoadImageMask` takes one channel: alpha, again as one minus it, or a colour as it is. A file that is white and
 * transparent where masked, black and opaque elsewhere, is right for each of its channels
 * (ComfyUI 0.33.0, `nodes.py`, `LoadImage.load_image` and `LoadImageMask.load_image`).
 */

import { encodePng } from "./png.js";

const MOST_PIXELS = 2_000_000; // a PNG of more would hardly fit into a job
const COLOUR = "rgb(255 60 100)";
const SAMPLE = 64;

/** @typedef {{x: number, y: number}} Point in pixels of the picture */
/** @typedef {{size: number, isErasing: boolean, points: Point[]}} Stroke */

export class MaskPainting {
  /**
   * @param {HTMLCanvasElement} picture shows the picture
   * @param {HTMLCanvasElement} mask lies above it, as opaque as the mask
   * @param {ImageBitmap} bitmap
   */
  constructor(picture, mask, bitmap) {
    const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
    this.width = Math.max(1, Math.round(bitmap.width * scale));
    this.height = Math.max(1, Math.round(bitmap.height * scale));
    this.isScaled = scale < 1;
    this.picture = contextOf(picture, this.width, this.height);
    this.mask = contextOf(mask, this.width, this.height);
    this.picture.drawImage(bitmap, 0, 0, this.width, this.height);
    /** What is done, in order: a stroke, or a change of everything. @type {(Stroke | "clear" | "invert")[]} */
    this.actions = [];
    /** @type {ImageBitmap | null} the mask that was there before, opaque where masked */
    this.earlier = null;
  }

  /** Take over a mask from a file that was painted before. @param {ImageBitmap} bitmap */
  async takeOver(bitmap) {
    const context = contextOf(new OffscreenCanvas(1, 1), this.width, this.height);
    context.drawImage(bitmap, 0, 0, this.width, this.height);
    const pixels = context.getImageData(0, 0, this.width, this.height);
    for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set([255, 60, 100, 255 - pixels.data[at + 3]], at);
    this.earlier = await createImageBitmap(pixels);
    this.redraw();
  }

  /** @param {Point} point @param {number} size @param {boolean} isErasing */
  begin(point, size, isErasing) {
    this.actions.push({ size, isErasing, points: [point] });
    this.drawEnd();
  }

  /** @param {Point} point */
  extend(point) {
    const stroke = this.actions.at(-1);
    if (typeof stroke !== "object") return;
    stroke.points.push(point);
    this.drawEnd();
  }

  /** @param {"clear" | "invert"} action */
  change(action) {
    this.actions.push(action);
    this.draw(action);
  }

  undo() {
    this.actions.pop();
    this.redraw();
  }

  redraw() {
    this.mask.globalCompositeOperation = "source-over";
    this.mask.clearRect(0, 0, this.width, this.height);
    if (this.earlier) this.mask.drawImage(this.earlier, 0, 0);
    for (const action of this.actions) this.draw(action);
  }

  /** The newest piece of the newest stroke. */
  drawEnd() {
    const stroke = this.actions.at(-1);
    if (typeof stroke === "object") this.draw({ ...stroke, points: stroke.points.slice(-2) });
  }

  /** @param {Stroke | "clear" | "invert"} action */
  draw(action) {
    const { mask } = this;
    if (action === "clear") {
      mask.clearRect(0, 0, this.width, this.height);
      return;
    }
    if (action === "invert") {
      mask.globalCompositeOperation = "source-out"; // stays where there was nothing
      mask.fillStyle = COLOUR;
      mask.fillRect(0, 0, this.width, this.height);
      return;
    }
    mask.globalCompositeOperation = action.isErasing ? "destination-out" : "source-over";
    mask.strokeStyle = COLOUR;
    mask.lineWidth = action.size;
    mask.lineCap = "round";
    mask.lineJoin = "round";
    mask.beginPath();
    for (const { x, y } of action.points) mask.lineTo(x, y);
    if (action.points.length === 1) mask.lineTo(action.points[0].x + 0.01, action.points[0].y); // a dot
    mask.stroke();
  }

  /** Which part of the picture is masked, 0 to 1. */
  coverage() {
    const small = contextOf(new OffscreenCanvas(1, 1), SAMPLE, SAMPLE);
    small.drawImage(this.mask.canvas, 0, 0, SAMPLE, SAMPLE);
    const { data } = small.getImageData(0, 0, SAMPLE, SAMPLE);
    let sum = 0;
    for (let at = 3; at < data.length; at += 4) sum += data[at];
    return sum / 255 / SAMPLE / SAMPLE;
  }

  /**
   * @param {boolean} withPicture the picture with the mask as its alpha channel; else the mask alone
   * @returns {Promise<Blob>}
   */
  toPng(withPicture) {
    const pixels = this.picture.getImageData(0, 0, this.width, this.height);
    const mask = this.mask.getImageData(0, 0, this.width, this.height).data;
    for (let at = 0; at < mask.length; at += 4) {
      const masked = mask[at + 3];
      if (!withPicture) pixels.data.fill(masked, at, at + 3);
      pixels.data[at + 3] = withPicture ? Math.min(pixels.data[at + 3], 255 - masked) : 255 - masked;
    }
    return encodePng(pixels);
  }
}

/**
 * @template {HTMLCanvasElement | OffscreenCanvas} Canvas
 * @param {Canvas} canvas
 * @param {number} width
 * @param {number} height
 * @returns {CanvasRenderingContext2D}
 */
function contextOf(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true });
}

/**
 * The pixels behind an address, as they are.
 * @param {string} url
 * @returns {Promise<ImageBitmap>}
 */
export async function loadBitmap(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error("The picture is not there any more.");
  return createImageBitmap(await answer.blob());
}
