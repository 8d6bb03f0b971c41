// The background point of an image: what is there is subtracted everywhere, as the image grows and changes.

import { make, number } from "./tools.js";

export class BackgroundPoint {
  at = null; // {row, column, value}

  // changed: called when it is another one.
  constructor(view, changed) {
    this.view = view;
    this.changed = changed;
    this.button = make("button", { type: "button", text: "background point", title: "click a pixel: what is there is subtracted everywhere", "aria-pressed": "false", onclick: () => this.#toggle() });
    view.canvas.addEventListener("pointerdown", (event) => this.button.getAttribute("aria-pressed") === "mixed" && this.#take(event), { capture: true });
  }

  clear() {
    this.at = null;
    this.button.setAttribute("aria-pressed", "false");
  }

  // The values above it; a point that is not seen now keeps the value that it had.
  above(values) {
    if (!this.at) return values;
    const here = this.view.valueAt(this.at.row, this.at.column);
    if (Number.isFinite(here)) this.at.value = here;
    return values.map((each) => each - this.at.value);
  }

  words() {
    return this.at ? [`less ${number(this.at.value)}, which is at row ${this.at.row}, column ${this.at.column}`] : [];
  }

  draw(context) {
    if (!this.at) return;
    const [x, y] = this.view.window.place(this.at.row + 0.5, this.at.column + 0.5), arm = 7 * (devicePixelRatio || 1);
    for (const [width, colour] of [[4, "#000a"], [1.5, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      for (const [dx, dy] of [[arm, 0], [0, arm]]) {
        context.moveTo(x - dx, y - dy);
        context.lineTo(x + dx, y + dy);
      }
      context.stroke();
    }
  }

  #toggle() {
    const wanted = this.button.getAttribute("aria-pressed") === "false" ? "mixed" : "false";
    this.clear();
    this.button.setAttribute("aria-pressed", wanted);
    this.changed();
  }

  #take(event) {
    const place = this.view.window.pixel(event), [row, column] = [Math.floor(place.row), Math.floor(place.column)];
    const value = this.view.valueAt(row, column);
    event.stopImmediatePropagation();
    if (!Number.isFinite(value)) return;
    this.at = { row, column, value };
    this.button.setAttribute("aria-pressed", "true");
    this.changed();
  }
}
