// Regions of maps over a pattern: ranges of its axis that are drawn, dragged and pulled at their edges. Each step is a
// change of an option of the run; the map is made again with the next frame.

import { colour } from "./plots.js";
import { Sender } from "./sender.js";
import { Since } from "./since.js";
import { kept as remembered, labelled, make } from "./tools.js";

const NEAR = { mouse: 6, pen: 9, touch: 18 };
const SUFFIX = ".rois";

export class Bands {
  path = "";
  known = {};
  chosen = null;
  #wished = new Map();
  #grip = null;
  #drawing = false;
  #fieldsOf = "";

  // curves: {plot, axis(), product()}: what is shown, and how.
  constructor(curves, options, link) {
    this.curves = curves;
    this.options = options;
    this.products = [];
    this.sender = new Sender(options, (path, answer) => this.#answered(path, answer));
    this.since = new Since(link, () => this.path, () => Object.keys(this.known), () => this.show());
    this.tool = make("button", { type: "button", text: "new map region", "aria-pressed": "false", title: "then drag over the pattern", onclick: () => this.#take(!this.#drawing) });
    this.list = make("div", { class: "bandlist" });
    this.element = make("div", { class: "bands", hidden: true }, make("div", { class: "bar" }, this.tool), this.list);
    options.addEventListener("known", () => this.#know());
    link.addEventListener("scan", ({ detail }) => {
      this.products = detail.scan.products ?? [];
      this.#know();
    });
    const on = (kind, deed) => curves.plot.area.addEventListener(kind, (event) => deed(event) && (event.preventDefault(), event.stopPropagation()), { capture: true });
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#drag(event));
    for (const kind of ["pointerup", "pointercancel"]) on(kind, (event) => this.#release(event));
    on("mousedown", () => Boolean(this.#grip)); // uPlot's own zoom
  }

  // The map that is made of what is shown.
  #know() {
    const of = this.curves.product();
    const maps = this.products.filter((each) => each.of === of && of).map((each) => `processors.${each.name}${SUFFIX}`);
    const option = this.options.known.find((each) => each.type === "map" && maps.includes(each.path));
    this.element.hidden = !option;
    this.path = option?.path ?? "";
    this.known = option?.value ?? {};
    this.tool.disabled = !this.options.operator;
    if (this.chosen && !this.shown(this.chosen)) this.chosen = null;
    this.since.hear();
    this.show();
  }

  shown = (name) => (this.#wished.has(name) ? this.#wished.get(name) : this.known[name]);
  #names = () => [...new Set([...Object.keys(this.known), ...this.#wished.keys()])].filter(this.shown);

  changed() {
    this.#know();
  }

  show() {
    this.#list();
    this.curves.plot.plot?.redraw(false);
  }

  #wish(name, roi) {
    this.#wished.set(name, roi);
    this.sender.wish(`${this.path}.${name}`, roi);
    this.show();
  }

  async #remove(name) {
    const { [name]: gone, ...rest } = this.known;
    if (gone) await this.options.change(this.path, rest, this.known);
  }

  #answered(path, answer) {
    const name = path.slice(path.lastIndexOf(".") + 1);
    if (answer.ok) this.since.put(path, answer.frame);
    else if (this.#grip?.name === name) this.#grip = null;
    if (!this.sender.waits(path) && this.#grip?.name !== name) this.#wished.delete(name);
    this.#know();
  }

  #take(drawing) {
    this.#drawing = drawing;
    this.tool.setAttribute("aria-pressed", drawing);
  }

  // On the axis as it was computed, under the pointer.
  #at(event) {
    const { plot } = this.curves.plot, box = plot.over.getBoundingClientRect();
    return this.curves.axis().back(plot.posToVal(event.clientX - box.left, "x"));
  }

  // Edges of a range on the screen, in points from the left of the plot.
  #edges = (range) => range.map((each) => this.curves.plot.plot.valToPos(this.curves.axis().to(each), "x"));

  #under(event) {
    const box = this.curves.plot.plot.over.getBoundingClientRect(), x = event.clientX - box.left;
    const near = NEAR[event.pointerType] ?? 6;
    for (const name of this.#names().toReversed()) {
      const roi = this.shown(name), edges = this.#edges(roi.range), edge = edges.findIndex((each) => Math.abs(each - x) < near);
      if (edge >= 0) return { name, roi, edge };
      if (x > Math.min(...edges) && x < Math.max(...edges)) return { name, roi, edge: null };
    }
    return null;
  }

  #press(event) {
    const { plot } = this.curves.plot;
    if (this.element.hidden || !plot || this.#grip || event.button > 0 || !plot.over.contains(event.target) || !this.options.operator) return false;
    const from = this.#at(event);
    if (this.#drawing) {
      let number = 1;
      while (this.shown(`region${number}`)) number++;
      this.#grip = { name: `region${number}`, roi: { range: [from, from] }, edge: 1, from };
    } else {
      const under = this.#under(event);
      this.#grip = under && { ...under, from };
    }
    this.chosen = this.#grip?.name ?? null;
    this.show();
    if (!this.#grip) return false;
    this.#grip.id = event.pointerId;
    plot.over.setPointerCapture(event.pointerId);
    return true;
  }

  #drag(event) {
    const grip = this.#grip;
    if (grip?.id !== event.pointerId) return false;
    const { range } = grip.roi, at = this.#at(event);
    const { ends } = this.curves.axis(), kept = (value, low, high) => Math.min(high, Math.max(low, value));
    const by = kept(at - grip.from, ends[0] - range[0], ends[1] - range[1]);
    const moved = grip.edge === null ? range.map((each) => each + by) : [range[1 - grip.edge], kept(at, ...ends)];
    const [low, high] = moved.map((each) => Number(each.toPrecision(6))).sort((one, other) => one - other);
    if (!(low < high)) return true;
    const roi = { ...grip.roi, range: [low, high] };
    if (remembered("live", true)) this.#wish(grip.name, roi);
    else this.#wished.set(grip.name, roi);
    this.show();
    return true;
  }

  #release(event) {
    const grip = this.#grip;
    if (grip?.id !== event.pointerId) return false;
    this.#grip = null;
    this.#take(false);
    const wished = this.#wished.get(grip.name);
    if (wished && !this.sender.waits(`${this.path}.${grip.name}`)) {
      if (JSON.stringify(wished) === JSON.stringify(this.known[grip.name])) this.#wished.delete(grip.name);
      else this.#wish(grip.name, wished);
    }
    this.show();
    return true;
  }

  // About a bin of the axis: what an arrow key changes.
  #step() {
    const { ends, bins } = this.curves.axis();
    return Number(((ends[1] - ends[0]) / bins).toPrecision(1)) || "any";
  }

  #list() {
    const names = this.#names(), operator = this.options.operator;
    const of = `${names} ${operator} ${this.#step()} ${names.map((name) => this.since.get(name))}`;
    if (of !== this.#fieldsOf) {
      this.list.replaceChildren(...names.map((name, at) => {
        const fields = [0, 1].map((side) => make("input", { type: "number", step: this.#step(), disabled: !operator, "aria-label": `${name}, ${side ? "to" : "from"}`, "data-side": side, oninput: (event) => Number.isFinite(event.target.valueAsNumber) && this.#wish(name, { ...this.shown(name), range: this.shown(name).range.map((each, k) => (k === side ? event.target.valueAsNumber : each)) }) }));
        const mark = make("b", { text: name });
        mark.style.color = colour(at + 1);
        const since = this.since.get(name);
        return make("div", { class: "bar", "data-band": name }, mark, labelled("from", fields[0]), labelled("to", fields[1]), make("button", { type: "button", text: "×", "aria-label": `remove ${name}`, disabled: !operator, onclick: () => this.#remove(name) }), make("small", { class: "since", text: since === undefined ? "" : `from frame ${since} on` }));
      }));
      this.#fieldsOf = of;
    }
    for (const row of this.list.children) {
      const { range } = this.shown(row.dataset.band);
      row.toggleAttribute("data-waits", this.#wished.has(row.dataset.band));
      for (const field of row.querySelectorAll("input")) if (field !== document.activeElement) field.value = range[field.dataset.side];
    }
  }

  // Over the lines.
  draw(plot) {
    if (this.element.hidden) return;
    const { ctx, bbox } = plot, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    this.#names().forEach((name, at) => {
      const [left, right] = this.#edges(this.shown(name).range).map((each) => bbox.left + each * ratio).sort((one, other) => one - other);
      ctx.fillStyle = `${colour(at + 1)}33`;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.strokeStyle = colour(at + 1);
      ctx.lineWidth = (name === this.chosen ? 2.5 : 1) * ratio;
      ctx.strokeRect(left, bbox.top - 5, right - left, bbox.height + 10);
      ctx.fillStyle = colour(at + 1);
      ctx.font = `${11 * ratio}px system-ui`;
      ctx.fillText(name, left + 3 * ratio, bbox.top + 12 * ratio);
    });
    ctx.restore();
  }
}
