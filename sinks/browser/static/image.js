// A panel with an image: what is looked at is asked for at the resolution of the screen, and drawn where it belongs.

import { MAPS, paint, percentiles, ramp } from "./colours.js";
import { choice, fill, keep, kept, labelled, make, number, save } from "./tools.js";

const SETTLE_MS = 120;
const STEP = 1.25;

export class ImageView extends EventTarget {
  part = null; // the latest message of the source that is shown
  where = { top: 0, left: 0, rows: 1, columns: 1 }; // of the window, in pixels of the source
  full = null;
  frozen = false;
  #drawn = null;
  #pending = 0;
  #probing = false;
  #next = null;
  #fingers = new Map();

  constructor(panel, name, link, isOurs) {
    super();
    this.panel = panel;
    this.name = name;
    this.link = link;
    this.isOurs = isOurs;
    this.look = kept(`look ${name}`, { map: name === "detector" ? "inferno" : "viridis", scale: name === "detector" ? "log" : "linear", pool: "mean", auto: true, low: 0, high: 1, cut: 0.1 });
    this.source = make("select", { title: "what is shown", onchange: () => this.#choose() });
    const look = (key, options) => choice(options, this.look[key], (value) => this.#set({ [key]: value }));
    this.low = make("input", { type: "number", step: "any", title: "lower limit", onchange: () => this.#set({ auto: false, low: Number(this.low.value) }) });
    this.high = make("input", { type: "number", step: "any", title: "upper limit", onchange: () => this.#set({ auto: false, high: Number(this.high.value) }) });
    this.auto = make("button", { type: "button", text: "auto", title: "limits from percentiles", onclick: () => this.#set({ auto: true }) });
    const cut = make("input", { type: "number", min: 0, max: 20, step: 0.1, value: this.look.cut, title: "percent left out at either end", onchange: () => this.#set({ cut: Math.min(20, Math.max(0, Number(cut.value))), auto: true }) });
    this.freeze = make("button", { type: "button", text: "freeze", "aria-pressed": "false", onclick: () => this.#freeze() });
    this.ramp = make("canvas", { class: "ramp" });
    this.bar = make("div", { class: "bar" }, this.source, look("scale", ["linear", "sqrt", "log"]), look("map", MAPS), labelled("blocks", look("pool", ["mean", "max"])), labelled("from", this.low), this.ramp, labelled("to", this.high), this.auto, labelled("cut %", cut), this.freeze,
      make("button", { type: "button", text: "whole", title: "show all of it (0)", onclick: () => this.whole() }),
      make("button", { type: "button", text: "PNG", onclick: () => this.canvas.toBlob((blob) => save(`${this.label()}.png`, blob)) }));
    this.canvas = make("canvas", { class: "image", tabindex: 0, "aria-label": "image: + and - zoom, arrows move, 0 shows all" });
    this.under = make("div", { class: "under" });
    this.caption = make("div", { class: "under", text: "no image yet" });
    panel.append(this.bar, this.canvas, this.caption, this.under);
    this.#listen();
    link.addEventListener("probe", ({ detail }) => this.#probed(detail));
    link.addEventListener("image", ({ detail }) => detail.source === this.source.value && !this.frozen && this.#take(detail));
    new ResizeObserver(() => this.#resized()).observe(this.canvas);
    this.#set({});
  }

  label() {
    return `inbeam_${this.source.value.replaceAll(/\W+/g, "_")}${this.part?.frame === null ? "" : `_${this.part?.frame}`}`;
  }

  // Which sources there are: name -> [rows, columns].
  offer(sources) {
    const ours = Object.keys(sources).filter(this.isOurs);
    this.panel.hidden = !ours.length && this.name !== "detector";
    const before = this.source.value;
    fill(this.source, ours.map((each) => [each, each.replace(/^image /, "")]));
    const shape = sources[this.source.value];
    const other = this.full && shape && (shape[0] !== this.full[0] || shape[1] !== this.full[1]);
    if (this.source.value && (this.source.value !== before || other || !this.full)) this.#choose(shape, !other && this.full);
  }

  view() {
    if (!this.source.value) return null;
    const { top, left, rows, columns } = this.where;
    const longest = Math.max(this.canvas.width, this.canvas.height);
    const view = { source: this.source.value, size: Math.min(4096, Math.max(64, Math.round(longest))), pool: this.look.pool };
    if (this.full && (rows < this.full[0] || columns < this.full[1])) {
      view.rows = [Math.max(0, Math.floor(top)), Math.max(1, Math.min(this.full[0], Math.ceil(top + rows)))];
      view.columns = [Math.max(0, Math.floor(left)), Math.max(1, Math.min(this.full[1], Math.ceil(left + columns)))];
    }
    return view;
  }

  whole() {
    if (!this.full) return;
    const [rows, columns] = this.full;
    const ratio = this.canvas.width / Math.max(1, this.canvas.height);
    const shown = ratio > columns / rows ? { rows, columns: rows * ratio } : { rows: columns / ratio, columns };
    this.where = { top: (rows - shown.rows) / 2, left: (columns - shown.columns) / 2, ...shown };
    this.#moved();
  }

  // A step on the screen, right and down, as [columns, rows] of the source.
  along(right, down) {
    return [right, down];
  }

  // From the window to pixels of the source, and back.
  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    return { column: this.where.left + ((event.clientX - box.left) / box.width) * this.where.columns, row: this.where.top + ((event.clientY - box.top) / box.height) * this.where.rows };
  }

  place(row, column) {
    return [((column - this.where.left) / this.where.columns) * this.canvas.width, ((row - this.where.top) / this.where.rows) * this.canvas.height];
  }

  // Pixels of the source in a point of the screen.
  perPoint() {
    return this.where.columns / Math.max(1, this.canvas.clientWidth);
  }

  // A finger that was held by somebody else is ours now.
  hold(event) {
    this.#fingers.set(event.pointerId, event);
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.part?.values && this.#drawn) {
      const { rows: [top], columns: [left], step, shape } = this.part;
      const [x, y] = this.place(top, left);
      const [right, bottom] = this.place(top + shape[0] * step, left + shape[1] * step);
      context.imageSmoothingEnabled = false;
      context.drawImage(this.#drawn, x, y, right - x, bottom - y);
    }
    this.dispatchEvent(new CustomEvent("drawn", { detail: context }));
  }

  #choose(shape = null, same = false) {
    this.part = this.#drawn = null;
    if (shape) this.full = shape;
    if (!same) this.whole();
    this.draw();
    this.#moved();
  }

  #set(change) {
    this.look = { ...this.look, ...change };
    keep(`look ${this.name}`, this.look);
    this.auto.setAttribute("aria-pressed", this.look.auto);
    ramp(this.ramp, this.look.map);
    this.#paint();
    this.draw();
    if (change.pool) this.#moved();
  }

  #freeze() {
    this.frozen = !this.frozen;
    this.freeze.setAttribute("aria-pressed", this.frozen);
  }

  #take(message) {
    if (message.corrupt) {
      this.caption.textContent = `frame ${message.frame}: cannot be decoded`;
      return;
    }
    message.values = new Float32Array(message.data, message.at, message.shape[0] * message.shape[1]);
    const first = !this.full || this.full[0] !== message.full[0] || this.full[1] !== message.full[1];
    this.full = message.full;
    this.part = message;
    if (first) this.whole();
    this.#paint();
    this.draw();
    const blocks = message.step > 1 ? `, ${this.look.pool} of ${message.step} × ${message.step} pixels` : ", every pixel";
    this.caption.textContent = `${message.frame === null ? "" : `frame ${message.frame}, `}${message.full[1]} × ${message.full[0]}${blocks}`;
  }

  #paint() {
    if (!this.part?.values) return;
    const { values, shape: [rows, columns] } = this.part;
    if (this.look.auto) [this.look.low, this.look.high] = percentiles(values, this.look.cut, 100 - this.look.cut);
    for (const side of ["low", "high"]) if (document.activeElement !== this[side]) this[side].value = number(this.look[side], 4);
    this.#drawn ??= document.createElement("canvas");
    if (this.#drawn.width !== columns || this.#drawn.height !== rows) [this.#drawn.width, this.#drawn.height] = [columns, rows];
    this.#drawn.getContext("2d").putImageData(paint(values, rows, columns, this.look), 0, 0);
  }

  #resized() {
    const before = this.canvas.width;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (before !== this.canvas.width) this.whole();
    this.draw();
  }

  #moved() {
    this.draw();
    clearTimeout(this.#pending);
    this.#pending = setTimeout(() => this.dispatchEvent(new Event("moved")), SETTLE_MS);
  }

  zoom(factor, row, column) {
    const least = 4, { where } = this;
    const limit = this.full ? 4 * Math.max(...this.full) : 1e6;
    const by = Math.min(limit / where.columns, Math.max(least / Math.min(where.rows, where.columns), factor));
    this.where = { top: row - (row - where.top) * by, left: column - (column - where.left) * by, rows: where.rows * by, columns: where.columns * by };
    this.#moved();
  }

  move(rows, columns) {
    this.where = { ...this.where, top: this.where.top + rows, left: this.where.left + columns };
    this.#moved();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { row, column } = this.pixel(event);
      this.zoom(event.deltaY > 0 ? STEP : 1 / STEP, row, column);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.whole());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#fingers.set(event.pointerId, event);
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.#fingers.delete(event.pointerId));
    canvas.addEventListener("pointermove", (event) => this.#pointer(event));
    canvas.addEventListener("pointerleave", () => (this.under.textContent = ""));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #pointer(event) {
    const before = this.#fingers.get(event.pointerId);
    if (before && !event.defaultPrevented) {
      const others = [...this.#fingers.values()].filter((each) => each.pointerId !== event.pointerId);
      const from = this.pixel(before), to = this.pixel(event);
      if (others.length === 1) {
        const apart = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY) || 1;
        const centre = this.pixel({ clientX: (event.clientX + others[0].clientX) / 2, clientY: (event.clientY + others[0].clientY) / 2 });
        this.zoom(apart(before) / apart(event), centre.row, centre.column);
      } else if (!others.length) this.move(from.row - to.row, from.column - to.column);
    }
    if (before) this.#fingers.set(event.pointerId, event);
    this.#hover(event);
  }

  #key(event) {
    if (event.defaultPrevented) return;
    const { top, left, rows, columns } = this.where;
    const centre = [top + rows / 2, left + columns / 2];
    const deeds = { "+": () => this.zoom(1 / STEP, ...centre), "=": () => this.zoom(1 / STEP, ...centre), "-": () => this.zoom(STEP, ...centre), 0: () => this.whole(), ArrowUp: () => this.move(-rows / 10, 0), ArrowDown: () => this.move(rows / 10, 0), ArrowLeft: () => this.move(0, -columns / 10), ArrowRight: () => this.move(0, columns / 10) };
    if (deeds[event.key]) {
      event.preventDefault();
      deeds[event.key]();
    }
  }

  #hover(event) {
    const place = this.pixel(event);
    const [row, column] = [Math.floor(place.row), Math.floor(place.column)];
    if (!this.full || row < 0 || column < 0 || row >= this.full[0] || column >= this.full[1]) {
      this.under.textContent = "";
      return;
    }
    this.#next = { kind: "probe", source: this.source.value, row, column };
    this.#probe();
  }

  #probe() {
    if (this.#probing || !this.#next) return;
    this.#probing = true;
    setTimeout(() => (this.#probing = false), 2000);
    this.link.say(this.#next);
    this.#next = null;
  }

  #probed(found) {
    if (found.source !== this.source.value) return;
    this.#probing = false;
    const parts = [`row ${found.row}, column ${found.column}`, found.masked ? "masked" : number(found.value, 7)];
    if (found.masked && found.value !== null) parts[1] += ` (${number(found.value, 7)})`;
    if (found.q_nm !== undefined) parts.push(`q ${number(found.q_nm)} 1/nm`);
    if (found.two_theta_deg !== undefined) parts.push(`2θ ${number(found.two_theta_deg)}°`, `χ ${number(found.chi_deg)}°`);
    if (found.d_angstrom) parts.push(`d ${number(found.d_angstrom)} Å`);
    if (found.frame !== null && found.frame !== undefined) parts.push(`frame ${found.frame}`);
    this.under.textContent = parts.join("   ");
    this.#probe();
  }
}
