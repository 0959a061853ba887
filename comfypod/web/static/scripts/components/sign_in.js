/** The one field of those who are asked for a token. */

import { sentence } from "../runs.js";
import { signIn } from "../site.js";
import { html, useEffect, useRef, useState } from "../view.js";
import { Mark } from "./icons.js";

export function SignIn() {
  const [problem, setProblem] = useState("");
  const [isSending, setSending] = useState(false);
  const field = useRef(null);
  useEffect(() => field.current?.focus(), []);
  const send = async (event) => {
    event.preventDefault();
    const token = field.current?.value.trim() ?? "";
    setSending(true);
    setProblem("");
    try {
      if (!token) throw new Error("Enter the token.");
      await signIn(token);
    } catch (error) {
      setProblem(sentence(error));
      setSending(false);
      field.current?.select();
    }
  };
  return html`<main class="sign-in" id="main">
    <form class="card" onSubmit=${send}>
      <${Mark} />
      <h1>Sign in</h1>
      <p>Whoever started this server has the token.</p>
      <div class="field">
        <label class="field-label" for="token">Token</label>
        <input ref=${field} id="token" class="input" type="password" autocomplete="current-password" required
          aria-invalid=${problem ? "true" : null} aria-describedby=${problem ? "token-problem" : null} />
        ${problem && html`<p id="token-problem" class="problem" role="alert">${problem}</p>`}
      </div>
      <button class="button button-primary" disabled=${isSending}>${isSending ? "Signing in" : "Sign in"}</button>
    </form>
  </main>`;
}
