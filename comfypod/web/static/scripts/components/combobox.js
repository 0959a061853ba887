/**
 * A choice among many: one types a part of it, and picks. Built as the ARIA Authoring Practices describe a combobox
 * with a list (w3.org/WAI/ARIA/apg/patterns/combobox): the focus stays in the text, the list follows the arrow keys.
 */

import { formatCount } from "../format.js";
import { classes, html, useEffect, useMemo, useRef, useState } from "../view.js";
import { Icon } from "./icons.js";

const MOST_SHOWN = 100;

/** @param {import("./field.js").ControlProps} props */
export function Combobox({ field, id, value, about, onChange }) {
  const [typed, setTyped] = useState(null); // null: closed, and the value is shown
  const [active, setActive] = useState(0);
  const list = useRef(null);
  const choices = useMemo(() => (field.choices ?? []).map(String), [field.choices]);
  const found = useMemo(() => matching(choices, typed ?? ""), [choices, typed]);
  const isOpen = typed !== null;
  const open = () => {
    setTyped("");
    setActive(Math.max(0, choices.indexOf(value)));
  };
  const pick = (choice) => {
    if (choice !== undefined) onChange(choice);
    setTyped(null);
  };
  const press = (event) => {
    if (event.ctrlKey || event.metaKey) return;
    if (!isOpen) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        open();
      }
      return;
    }
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    const move = moves[event.key];
    if (move) setActive(Math.min(Math.min(found.length, MOST_SHOWN) - 1, Math.max(0, active + move)));
    else if (event.key === "Enter") pick(found[active]);
    else if (event.key === "Escape") setTyped(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  useEffect(() => list.current?.scrollIntoView({ block: "nearest" }), [isOpen]);
  useEffect(
    () => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }),
    [active, isOpen],
  );
  return html`<div class="combobox">
    <input class="input" id=${id} type="text" role="combobox" aria-autocomplete="list" aria-expanded=${String(isOpen)}
      aria-controls=${`${id}-list`}
      aria-activedescendant=${isOpen && found.length ? `${id}-${active}` : null} autocomplete="off"
        spellcheck=${false} ...${about}
      value=${typed ?? value} placeholder=${isOpen ? value : "Search"} onFocus=${(event) => event.target.select()}
        onClick=${() => !isOpen && open()} onKeyDown=${press} onBlur=${() => setTyped(null)}
      onInput=${(event) => {
        setTyped(event.target.value);
        setActive(0);
      }} />
    <${Icon} name="search" />
    <ul ref=${list} class="options" id=${`${id}-list`} role="listbox" aria-label=${field.label} hidden=${!isOpen}>
      ${
        isOpen &&
        found.slice(0, MOST_SHOWN).map(
          (choice, index) => html`<li key=${choice} id=${`${id}-${index}`} role="option"
        aria-selected=${String(index === active)} class=${classes("option", choice === value && "option-current")}
        onPointerDown=${(event) => event.preventDefault()} onClick=${() => pick(choice)}>${choice}</li>`,
        )
      }
      ${isOpen && html`<${Rest} found=${found.length} />`}
    </ul>
  </div>`;
}

/** @param {{found: number}} props */
function Rest({ found }) {
  if (found > 0 && found <= MOST_SHOWN) return null;
  const text = found
    ? `${formatCount(found - MOST_SHOWN)} more: type a part of the name`
    : "Nothing has this in its name.";
  return html`<li class="options-rest" role="option" aria-disabled="true" aria-selected="false">${text}</li>`;
}

/**
 * Those that have every word that was typed.
 * @param {string[]} choices
 * @param {string} typed
 */
function matching(choices, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length
    ? choices.filter((choice) => words.every((word) => choice.toLowerCase().includes(word)))
    : choices;
}
