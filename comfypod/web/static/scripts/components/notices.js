/** Short notices at the foot of the page, how the connection is, and what only screen readers say. */

import { noticeStore, dismiss } from "../notices.js";
import { reconnect, siteStore } from "../site.js";
import { html, useEffect, useSeconds, useState, useStore } from "../view.js";
import { Button, IconButton } from "./button.js";
import { Icon } from "./icons.js";

const QUIET_MILLISECONDS = 1500; // a short break is nobody's business

export function Notices() {
  const { notices, spoken } = useStore(noticeStore, (state) => state);
  return html`
    <div class="notices" role="status" aria-label="Notices">
      ${notices.map(
        (notice) => html`<div key=${notice.id} class=${`notice notice-${notice.level}`}>
        ${notice.level === "error" && html`<${Icon} name="warning" />`}
        <p>${notice.text}</p>
        ${notice.action && html`<${Button} kind="small" onClick=${notice.action.act}>${notice.action.label}<//>`}
        <${IconButton} icon="close" label="Close this notice" onClick=${() => dismiss(notice.id)} />
      </div>`,
      )}
    </div>
    <div class="visually-hidden" role="log" aria-live="polite" aria-label="Progress">${spoken}</div>`;
}

export function ConnectionBanner() {
  const { state, isConnected, isKept, retryAt } = useStore(siteStore, (site) => site);
  const isLost = state === "signed_in" && !isConnected && retryAt !== null;
  const [isLong, setLong] = useState(false);
  useSeconds(isLost);
  useEffect(() => {
    setLong(false);
    if (!isLost) return undefined;
    const timer = setTimeout(() => setLong(true), QUIET_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [isLost]);
  const seconds = Math.max(0, Math.ceil(((retryAt ?? 0) - Date.now()) / 1000));
  const text =
    isKept || !navigator.onLine
      ? "You are offline. What you have seen before is still here."
      : "The connection is lost.";
  return html`<div class="banner-place" role="status" aria-label="Connection">
    ${
      isLost &&
      isLong &&
      html`<div class="banner">
      <span class="dot dot-bad"></span>
      <p>${text} <span aria-hidden="true">${seconds ? `Trying again in ${seconds} s.` : "Trying again."}</span></p>
      <${Button} kind="small" onClick=${reconnect}>Try now<//>
    </div>`
    }
  </div>`;
}
