/**
 * The server-sent events of this visitor: one connection, made again after ever longer pauses when it is lost.
 * The first event of each connection is the whole state, so nothing that happened in between is missed.
 */

const FIRST_PAUSE_SECONDS = 0.5;
const LONGEST_PAUSE_SECONDS = 15;
const NAMES = ["runs", "run", "removed", "endpoint"];

/**
 * @typedef {{isOpen: boolean, retryAt: number | null}} Connection `retryAt` in milliseconds of `Date.now()`
 */

export class EventConnection {
  /**
   * @param {(name: string, document: any) => void} onEvent
   * @param {(connection: Connection) => void} onChange
   */
  constructor(onEvent, onChange) {
    this.onEvent = onEvent;
    this.onChange = onChange;
    this.pauseSeconds = FIRST_PAUSE_SECONDS;
    /** @type {EventSource | null} */
    this.source = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** Connect now, whatever was planned. */
  open() {
    this.close();
    const source = new EventSource(new URL("api/events", document.baseURI));
    this.source = source;
    source.onopen = () => {
      this.pauseSeconds = FIRST_PAUSE_SECONDS;
      this.onChange({ isOpen: true, retryAt: null });
    };
    // A browser tries again by itself after some failures and gives up after others: here all are treated alike.
    source.onerror = () => this.openLater();
    for (const name of NAMES) {
      source.addEventListener(name, (message) => this.onEvent(name, JSON.parse(message.data)));
    }
  }

  openLater() {
    this.close();
    const pause = this.pauseSeconds * (0.75 + Math.random() / 2) * 1000; // not all tabs in the same moment
    this.pauseSeconds = Math.min(LONGEST_PAUSE_SECONDS, this.pauseSeconds * 2);
    this.timer = setTimeout(() => this.open(), pause);
    this.onChange({ isOpen: false, retryAt: Date.now() + pause });
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
