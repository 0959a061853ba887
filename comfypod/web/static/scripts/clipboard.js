/** Copying texts and pictures. Browsers allow pictures only on secure pages (https, or this computer). */

/** @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea"); // plain http to another computer: the old way
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (!isCopied) throw new Error("This browser does not let the page copy.");
}

export function canCopyImages() {
  return Boolean(navigator.clipboard && "ClipboardItem" in globalThis);
}

/** @param {string} url of a picture; it is copied as PNG, the one kind that all programs take */
export async function copyImage(url) {
  await navigator.clipboard.write([new ClipboardItem({ "image/png": pngOf(url) })]);
}

/** @param {string} url */
async function pngOf(url) {
  const blob = await (await fetch(url)).blob();
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
