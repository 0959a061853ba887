/** A slider whose way up to the thumb is coloured. */

import { html, useLayoutEffect, useRef } from "../view.js";

/**
 * @param {object} props
 * @param {number} props.minimum
 * @param {number} props.maximum
 * @param {number} [props.step]
 * @param {string | number} props.value
 * @param {(value: string) => void} props.onChange
 * @param {Record<string, string>} [props.about] further attributes
 */
export function Slider({ minimum, maximum, step = 1, value, onChange, about = {} }) {
  const slider = useRef(null);
  const part = Math.min(1, Math.max(0, (Number(value) - minimum) / (maximum - minimum) || 0));
  useLayoutEffect(() => slider.current?.style.setProperty("--part", String(part)), [part]);
  return html`<input ref=${slider} class="slider" type="range" min=${minimum} max=${maximum} step=${step}
    value=${value} ...${about}
    onInput=${(event) => onChange(event.target.value)} />`;
}
