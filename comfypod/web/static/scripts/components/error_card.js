/** Why a run failed: the node, the sentence, the code, and what can be done. */

import { repeat } from "../form.js";
import { html } from "../view.js";
import { Button } from "./button.js";
import { Icon } from "./icons.js";

/** @param {{run: import("../types.js").Run}} props */
export function ErrorCard({ run }) {
  const error = run.error ?? {
    code: "unknown",
    message: "The run failed, and nothing says why.",
    node_id: null,
    node_title: null,
    is_retryable: false,
  };
  const node = error.node_title || (error.node_id && "A node");
  return html`<div class="card error-card" role="alert">
    <${Icon} name="warning" />
    <h2>${node ? html`<bdi>${node}</bdi> failed` : "The run failed"}</h2>
    <p class="error-message">${error.message}</p>
    <p class="soft">${error.node_id && html`Node ${error.node_id}, `}<code>${error.code}</code></p>
    ${
      error.is_retryable &&
      html`<div class="card-tools"><${Button} kind="primary" icon="reuse"
      onClick=${() => repeat(run)}>Try again<//></div>`
    }
  </div>`;
}
