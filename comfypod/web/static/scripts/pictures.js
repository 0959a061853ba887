/** Pictures that are too large to be sent, made smaller: a phone's camera makes more than a job can carry. */

const MOST_PIXELS = 4_000_000;
const QUALITY = 0.9;

/**
 * The picture as a JPEG of fewer pixels; null for what is no picture that a browser can read.
 * @param {File} file
 * @returns {Promise<File | null>}
 */
export async function scaledDown(file) {
  if (!file.type.startsWith("image/")) return null;
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return null;
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  return new File([blob], file.name.replace(/\.[^.]*$/, "") + ".jpg", { type: blob.type });
}
