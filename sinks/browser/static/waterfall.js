// Patterns one below the other, along the axis that is chosen, with its ticks and the frame numbers.

import { paint, percentiles } from "./colours.js";
import { make, number } from "./tools.js";

const BELOW = 18, LEFT = 46;

export class Waterfall {
  #rows = [];
  #x = [];
  #box = null;

  constructor() {
    this.element = make("canvas", { class: "fall", hidden: true, "aria-label": "patterns in the order of their frames" });
    this.under = make("div", { class: "under" });
    this.element.addEventListener("pointermove", (event) => this.#hover(event));
    this.element.addEventListener("pointerleave", () => (this.under.textContent = ""));
  }

  // rows: {frame, values} of equal length. x: what is shown of each bin, rising or falling.
  show(rows, x, label, scale) {
    const canvas = this.element, ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.max(100, canvas.clientWidth * ratio), Math.max(60, canvas.clientHeight * ratio)].map(Math.round);
    const [left, below] = [LEFT * ratio, BELOW * ratio], width = canvas.width - left, height = canvas.height - below;
    const finite = x.filter(Number.isFinite), [first, last] = [Math.min(...finite), Math.max(...finite)];
    const bins = Int32Array.from({ length: width }, (_, at) => nearest(x, first + ((at + 0.5) / width) * (last - first)));
    const all = new Float32Array(rows.length * width);
    rows.forEach(({ values }, row) => bins.forEach((bin, at) => (all[row * width + at] = values[bin])));
    [this.#rows, this.#x, this.#box] = [rows, x, { left, width, height, first, last, ratio, label }];
    const [low, high] = percentiles(all, 0.5, 99.8);
    const drawn = make("canvas", { width, height: rows.length });
    drawn.getContext("2d").putImageData(paint(all, rows.length, width, { map: "viridis", scale, low, high }), 0, 0);
    const context = canvas.getContext("2d");
    context.fillStyle = "#1d2229";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(drawn, left, 0, width, height);
    this.#ticks(context);
  }

  #ticks(context) {
    const { left, width, height, first, last, ratio, label } = this.#box;
    context.fillStyle = "#9aa5b4";
    context.font = `${11 * ratio}px system-ui`;
    for (let at = 0; at <= 4; at++) {
      context.textAlign = at === 4 ? "right" : at ? "center" : "left";
      context.fillText(number(first + (at / 4) * (last - first), 3) + (at === 2 ? ` ${label}` : ""), left + (at / 4) * width, height + 13 * ratio);
    }
    context.textAlign = "right";
    context.fillText(String(this.#rows[0].frame), left - 4 * ratio, 10 * ratio);
    context.fillText(String(this.#rows.at(-1).frame), left - 4 * ratio, height - 2 * ratio);
  }

  #hover(event) {
    if (!this.#box) return;
    const box = this.element.getBoundingClientRect(), { left, width, height, first, last, ratio, label } = this.#box;
    const across = ((event.clientX - box.left) * ratio - left) / width, down = ((event.clientY - box.top) * ratio) / height;
    const row = this.#rows[Math.floor(down * this.#rows.length)];
    if (across < 0 || across >= 1 || !row) return (this.under.textContent = "");
    const bin = nearest(this.#x, first + across * (last - first));
    this.under.textContent = `frame ${row.frame}   ${label} ${number(this.#x[bin])}   ${number(row.values[bin])}`;
  }
}

// Place of the nearest value in an axis that rises or falls all the way.
function nearest(x, wanted) {
  const falls = x[0] > x.at(-1);
  let [low, high] = [0, x.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle] > wanted === falls) low = middle;
    else high = middle;
  }
  return Math.abs(x[low] - wanted) <= Math.abs(x[high] - wanted) ? low : high;
}
