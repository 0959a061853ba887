/** Numbers as people read them. Pure. */

const SMALL = new Intl.NumberFormat("en", { minimumSignificantDigits: 2, maximumSignificantDigits: 2 });
const INTEGER = new Intl.NumberFormat("en");

/** @param {number} value */
export function formatCount(value) {
  return INTEGER.format(value);
}

/**
 * "0.8 s", "12 s", "2 min 5 s", "1 h 3 min".
 * @param {number} seconds
 */
export function formatSeconds(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  return formatWholeSeconds(seconds);
}

/**
 * The same without fractions: for what is counted up while one looks.
 * @param {number} seconds
 */
export function formatWholeSeconds(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * Two digits that count: "$0.0011", "$0.25", "$3.20".
 * @param {number} dollars
 */
export function formatDollars(dollars) {
  if (dollars >= 0.1 || dollars === 0) return `$${dollars.toFixed(2)}`;
  if (dollars < 0.000001) return "less than $0.000001";
  return `$${SMALL.format(dollars)}`;
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/**
 * "14:05" today, "21 Nov, 14:05" before.
 * @param {string} moment ISO 8601
 */
export function formatMoment(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return "";
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/**
 * "22 Nov 2026, 14:05:09".
 * @param {string} moment ISO 8601
 */
export function formatExactMoment(moment) {
  return new Date(moment).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/**
 * "1 picture", "3 pictures".
 * @param {number} count
 * @param {string} singular
 * @param {string} [plural]
 */
export function formatPlural(count, singular, plural = `${singular}s`) {
  return `${formatCount(count)} ${count === 1 ? singular : plural}`;
}

/**
 * A text on one line, cut at a word where it is too long.
 * @param {string} text
 * @param {number} length
 */
export function shortened(text, length) {
  const line = text.replace(/\s+/g, " ").trim();
  if (line.length <= length) return line;
  const cut = line.slice(0, length - 1);
  const space = cut.lastIndexOf(" ");
  return `${space > length * 0.6 ? cut.slice(0, space) : cut}…`;
}
