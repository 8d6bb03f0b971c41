// What is under the pointer: asked for one pixel at a time; of an image that is frozen, what is shown.

import { make, number } from "./tools.js";

export class Hover {
  #asking = false;
  #next = null;
  #here = null;

  constructor(view, link) {
    this.view = view;
    this.link = link;
    this.element = make("div", { class: "under hover" });
    link.addEventListener("probe", ({ detail }) => this.#answered(detail));
    view.canvas.addEventListener("pointermove", (event) => this.#move(event));
    view.canvas.addEventListener("pointerleave", () => this.#leave());
  }

  // A new image is there: what is under a pointer that rests is another value.
  again() {
    if (this.#here) this.#ask(this.#here);
  }

  #leave() {
    this.#here = this.#next = null;
    this.element.textContent = "";
  }

  #move(event) {
    const place = this.view.window.pixel(event), { full } = this.view.window;
    const [row, column] = [Math.floor(place.row), Math.floor(place.column)];
    if (!full || row < 0 || column < 0 || row >= full[0] || column >= full[1]) return this.#leave();
    this.#here = { row, column };
    this.element.dataset.pixel = `row ${row}, column ${column} `; // not told yet
    this.#ask(this.#here);
  }

  #ask({ row, column }) {
    this.#next = { kind: "probe", source: this.view.source.value, row, column, ...(this.view.past && { past: this.view.past }) };
    this.#send();
  }

  #send() {
    if (this.#asking || !this.#next) return;
    this.#asking = true;
    setTimeout(() => (this.#asking = false), 2000);
    this.link.say(this.#next);
    this.#next = null;
  }

  #answered(found) {
    if (found.source !== this.view.source.value) return;
    this.#asking = false;
    if (this.#here) this.element.textContent = [`row ${found.row}, column ${found.column}`, ...this.#value(found), ...angles(found)].join("   ");
    this.#send();
  }

  #value(found) {
    const { part, frozen, point: { at: zero } } = this.view;
    const above = (value) => (zero && value !== null ? [`${number(value - zero.value, 7)} above the background point`] : []);
    if (frozen && part) {
      const value = this.view.valueAt(found.row, found.column);
      const what = value === null ? "not shown here" : Number.isNaN(value) ? "masked" : number(value, 7);
      const blocks = part.step > 1 && value !== null ? ` (${part.pool} of ${part.step} × ${part.step} pixels)` : "";
      return [what + blocks, ...above(Number.isNaN(value) ? null : value), ...framed(part.frame)];
    }
    const masked = found.masked ? `masked${found.value === null ? "" : ` (${number(found.value, 7)})`}` : number(found.value, 7);
    return [masked, ...above(found.masked ? null : found.value), ...framed(found.frame)];
  }
}

const framed = (frame) => (frame === null || frame === undefined ? [] : [`frame ${frame}`]);

function angles(found) {
  const parts = [];
  if (found.q_nm !== undefined) parts.push(`q ${number(found.q_nm)} 1/nm`);
  if (found.two_theta_deg !== undefined) parts.push(`2θ ${number(found.two_theta_deg)}°`, `χ ${number(found.chi_deg)}°`);
  if (found.d_angstrom) parts.push(`d ${number(found.d_angstrom)} Å`);
  return parts;
}
