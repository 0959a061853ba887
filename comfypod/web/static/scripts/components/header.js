/** The bar at the top: whose page it is, how the endpoint is, light or dark, and the way out. */

import { formatCount, formatDollars } from "../format.js";
import { recall, remember } from "../remember.js";
import { endpointState } from "../sentences.js";
import { signOut, siteStore } from "../site.js";
import { html, useState, useStore } from "../view.js";
import { IconButton } from "./button.js";
import { Mark } from "./icons.js";

const THEMES = ["system", "light", "dark"];
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };
const THEME_NAMES = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };

export function Header() {
  const site = useStore(siteStore, (state) => state);
  return html`<header class="header">
    <a class="wordmark" href="#/" aria-label="comfypod, start"><${Mark} /><span>comfypod</span></a>
    <div class="header-tools">
      ${site.state === "signed_in" && html`<${EndpointState} endpoint=${site.endpoint} />`}
      <${ThemeSwitch} />
      ${
        site.state === "signed_in" &&
        site.needsToken &&
        html`<${IconButton} icon="signOut" label="Sign out"
        onClick=${signOut} />`
      }
    </div>
  </header>`;
}

/** @param {{endpoint: import("../types.js").Endpoint | null}} props */
function EndpointState({ endpoint }) {
  const { level, text } = endpointState(endpoint);
  return html`<div class="endpoint">
    <button type="button" class="endpoint-button" popovertarget="endpoint-details">
      <span class=${`dot dot-${level}`}></span><span class="visually-hidden">Endpoint: </span>${text}
    </button>
    <div popover="auto" id="endpoint-details" class="popover">
      <h2>${endpoint?.name ?? "Endpoint"}</h2>
      ${endpoint ? html`<${EndpointDetails} endpoint=${endpoint} />` : html`<p>Nothing is known of it yet.</p>`}
    </div>
  </div>`;
}

/** @param {{endpoint: import("../types.js").Endpoint}} props */
function EndpointDetails({ endpoint }) {
  const { workers, jobs } = endpoint;
  const rows = [
    ["Workers idle", workers.idle],
    ["Workers running", workers.running],
    ["Workers starting", workers.initializing],
    ["Workers throttled", workers.throttled],
    ["Workers unhealthy", workers.unhealthy],
    ["Jobs waiting", jobs.in_queue],
    ["Jobs in progress", jobs.in_progress],
  ].filter(([name, count], index) => count || index < 2 || String(name).startsWith("Jobs"));
  return html`
    ${endpoint.is_local && html`<p>A RunPod of this computer: it costs nothing.</p>`}
    ${!endpoint.is_reachable && html`<p class="problem">${endpoint.error?.message ?? "It cannot be reached."}</p>`}
    <dl class="facts">
      ${rows.map(
        ([name, count]) => html`<div key=${name}><dt>${name}</dt><dd>
        ${formatCount(Number(count ?? 0))}</dd></div>`,
      )}
      ${
        typeof endpoint.dollars_per_second === "number" &&
        html`<div><dt>Price of a second</dt><dd>
        ${formatDollars(endpoint.dollars_per_second)}</dd></div>`
      }
    </dl>
    ${
      endpoint.is_reachable &&
      !Object.values(workers).some(Boolean) &&
      html`<p>No worker is running. The first run starts one.</p>`
    }`;
}

function ThemeSwitch() {
  const [theme, setTheme] = useState(recall("theme", null) ?? "system");
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const change = () => {
    setTheme(next);
    remember("theme", next === "system" ? null : next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  };
  return html`<${IconButton} icon=${THEME_ICONS[theme] ?? "system"} label=${THEME_NAMES[theme] ?? THEME_NAMES.system}
    onClick=${change} />`;
}
