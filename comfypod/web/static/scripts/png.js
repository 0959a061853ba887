/**
 * Writes a PNG from pixels exactly as they are.
 *
 * A canvas forgets the colours of what it makes transparent (it keeps them multiplied by alpha), and with a mask in
 * the alpha channel those colours are the picture that is painted over. So the file is put together here: PNG
 * (W3C, "Portable Network Graphics", 5 and 9), eight bits a channel, every row with the Paeth filter.
 */

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const CHANNELS = 4;
const PAETH = 4;
const CHECKSUMS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * @param {ImageData} pixels RGBA, not multiplied by alpha
 * @returns {Promise<Blob>}
 */
export async function encodePng({ width, height, data }) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 6, 0, 0, 0], 8); // bits, RGBA, deflate, the filters of PNG, not interlaced
  const compressed = await deflated(filtered(data, width, height));
  return new Blob([SIGNATURE, chunk("IHDR", header), chunk("IDAT", compressed), chunk("IEND", new Uint8Array())], {
    type: "image/png",
  });
}

/**
 * @param {Uint8ClampedArray} data
 * @param {number} width
 * @param {number} height
 */
function filtered(data, width, height) {
  const row = width * CHANNELS;
  const result = new Uint8Array((row + 1) * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    result[at++] = PAETH;
    for (let x = 0, from = y * row; x < row; x += 1, from += 1) {
      const left = x >= CHANNELS ? data[from - CHANNELS] : 0;
      const above = y ? data[from - row] : 0;
      const corner = y && x >= CHANNELS ? data[from - row - CHANNELS] : 0;
      result[at++] = data[from] - nearest(left, above, corner);
    }
  }
  return result;
}

/**
 * The neighbour that comes closest to their plane (PNG, 9.4).
 * @param {number} left
 * @param {number} above
 * @param {number} corner
 */
function nearest(left, above, corner) {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** @param {Uint8Array} bytes */
async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * @param {string} type
 * @param {Uint8Array} data
 */
function chunk(type, data) {
  const result = new Uint8Array(12 + data.length);
  const view = new DataView(result.buffer);
  view.setUint32(0, data.length);
  result.set(new TextEncoder().encode(type), 4);
  result.set(data, 8);
  view.setUint32(8 + data.length, checksum(result.subarray(4, 8 + data.length)));
  return result;
}

/** CRC-32, over a chunk's type and data. @param {Uint8Array} bytes */
function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CHECKSUMS[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
