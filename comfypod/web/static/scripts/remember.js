/** What this browser keeps between two visits. A browser that keeps nothing is no error: then nothing is remembered. */

const PREFIX = "comfypod.";
const LONGEST = 400_000; // characters; browsers give a site some five million in all

/**
 * @param {string} key
 * @param {any} otherwise
 */
export function recall(key, otherwise) {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise; // forbidden, or not what we wrote
  }
}

/**
 * @param {string} key
 * @param {any} value null forgets it
 */
export function remember(key, value) {
  try {
    const text = JSON.stringify(value);
    if (value === null || text.length > LONGEST) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, text);
  } catch {
    // Forbidden or full: the page works without.
  }
}

/** Forgets all that this page wrote but the colours. */
export function forget() {
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX) && key !== `${PREFIX}theme`) localStorage.removeItem(key);
    }
  } catch {
    // Forbidden: there is nothing to forget.
  }
}
