// A panel with an image: what is looked at is asked for at the resolution of the screen, and drawn where it belongs.

import { paint, paintRgb, percentiles } from "./colours.js";
import { Gestures } from "./gestures.js";
import { Hover } from "./hover.js";
import { Looks } from "./looks.js";
import { fill, labelled, make, save } from "./tools.js";
import { BackgroundPoint } from "./point.js";
import { Viewport } from "./viewport.js";

const SETTLE_MS = 120;
const PRIMARIES = ["red", "green", "blue"];

export class ImageView extends EventTarget {
  parts = new Map(); // source -> its latest message
  frozen = false;
  saturated = null; // pixels of the newest frame; undefined: not told yet, null: nobody asks
  past = null; // {scan, frame}: an archived frame, instead of the newest one
  #held = new Map(); // what came while it was frozen
  #offered = {};
  #drawn = document.createElement("canvas");
  #isDrawn = false;
  #pending = 0;

  constructor(panel, name, link, isOurs) {
    super();
    this.panel = panel;
    this.name = name;
    this.link = link;
    this.isOurs = isOurs;
    this.canvas = make("canvas", { class: "image", tabindex: 0, "aria-label": "image: + and - zoom, arrows move, 0 shows all" });
    this.window = new Viewport(this.canvas);
    this.source = make("select", { title: "what is shown", onchange: () => this.looks.set({ source: this.source.value }) });
    this.looks = new Looks(name, (change) => this.#looked(change));
    this.freeze = make("button", { type: "button", text: "freeze", "aria-pressed": "false", onclick: () => this.#freeze() });
    this.point = new BackgroundPoint(this, () => { this.#paint(); this.draw(); });
    this.rgb = make("button", { type: "button", text: "RGB", title: "three images as red, green and blue", "aria-pressed": "false", hidden: true, onclick: () => this.looks.set({ rgb: this.looks.now.rgb ? null : this.#three() }) });
    this.primaries = PRIMARIES.map((colour, at) => make("select", { title: colour, onchange: () => this.looks.set({ rgb: this.looks.now.rgb.map((each, k) => (k === at ? this.primaries[at].value : each)) }) }));
    this.mixed = make("span", { class: "bar", hidden: true }, ...this.primaries.map((each, at) => labelled(PRIMARIES[at], each)));
    this.bar = make("div", { class: "bar" }, this.source, this.rgb, this.mixed, ...this.looks.elements, this.point.button, this.freeze,
      make("button", { type: "button", text: "whole", title: "show all of it (0)", onclick: () => { this.window.whole(); this.#moved(); } }),
      make("button", { type: "button", text: "PNG", onclick: () => this.canvas.toBlob((blob) => save(`${this.label()}.png`, blob)) }));
    this.caption = make("div", { class: "under", text: "no image yet" });
    this.hover = new Hover(this, link);
    panel.append(this.bar, this.canvas, this.caption, this.hover.element);
    this.gestures = new Gestures(this.canvas, this.window, () => this.#moved());
    link.addEventListener("image", ({ detail }) => this.sources().includes(detail.source) && this.#isOf(detail) && (this.frozen ? this.#held.set(detail.source, detail) : this.#take(detail)));
    new ResizeObserver(() => this.#resized()).observe(this.canvas);
    this.#looked(this.looks.now);
  }

  get part() {
    return this.parts.get(this.sources()[0]) ?? null;
  }

  sources() {
    return this.looks?.now.rgb ?? [this.source.value];
  }

  label() {
    const frame = this.part?.frame ?? null;
    return `inbeam_${this.sources().join("_").replaceAll(/\W+/g, "_")}${frame === null ? "" : `_${frame}`}`;
  }

  // Which sources there are: name -> [rows, columns].
  offer(sources) {
    const ours = Object.keys(sources).filter(this.isOurs);
    this.panel.hidden = !ours.length && this.name !== "detector";
    if (!ours.length) return; // the next scan begins: what is chosen stays
    const before = this.source.value, named = ours.map((each) => [each, each.replace(/^image /, "")]);
    this.#offered = Object.fromEntries(ours.map((each) => [each, sources[each]]));
    fill(this.source, named, this.looks.now.source ?? before);
    this.rgb.hidden = this.name === "detector" || this.#alike().length < 2;
    for (const [at, select] of this.primaries.entries()) fill(select, this.#alike().map((each) => [each, each]), this.looks.now.rgb?.[at]);
    if (this.looks.now.rgb?.every((each) => !sources[each])) this.looks.set({ rgb: null });
    this.#fit(sources[this.source.value]);
    if (this.source.value !== before) this.#looked({ source: true });
  }

  // The looks of this detector; the window stays as long as the shape does.
  begin(scan) {
    this.looks.of(this.name === "detector" ? [scan.detector?.description, scan.detector?.serial_number].filter(Boolean).join(" ") : "");
  }

  views() {
    if (!this.source.value) return {};
    const longest = Math.max(this.canvas.width, this.canvas.height), part = this.window.part();
    const view = { size: Math.min(4096, Math.max(64, Math.round(longest))), pool: this.looks.now.pool, ...(part && { rows: part[0], columns: part[1] }), ...(this.past && { past: this.past }), ...(this.saturated !== null && { saturated: true }) };
    return Object.fromEntries(this.sources().map((source, at) => [at ? `${this.name} ${PRIMARIES[at]}` : this.name, { source, ...view }]));
  }

  // What is shown at a pixel: NaN where it is masked, null where nothing is known of it.
  valueAt(row, column, part = this.part) {
    if (!part?.values || row < part.rows[0] || row >= part.rows[1] || column < part.columns[0] || column >= part.columns[1]) return null;
    return part.values[Math.floor((row - part.rows[0]) / part.step) * part.shape[1] + Math.floor((column - part.columns[0]) / part.step)];
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.#isDrawn && this.part) {
      const { rows: [top], columns: [left], step, shape } = this.part;
      context.save();
      context.setTransform(...this.window.matrix());
      context.imageSmoothingEnabled = false;
      context.drawImage(this.#drawn, left, top, shape[1] * step, shape[0] * step);
      context.restore();
    }
    this.point.draw(context);
    this.dispatchEvent(new CustomEvent("drawn", { detail: context }));
  }

  // Sources of the same shape as the one that is chosen.
  #alike() {
    const shape = this.#offered[this.source.value];
    return Object.keys(this.#offered).filter((each) => shape && this.#offered[each][0] === shape[0] && this.#offered[each][1] === shape[1]);
  }

  #three() {
    const alike = this.#alike(), first = alike.indexOf(this.source.value);
    return [0, 1, 2].map((step) => alike[(first + step) % alike.length]);
  }

  #fit(shape) {
    const { full } = this.window;
    if (!shape || (full && full[0] === shape[0] && full[1] === shape[1])) return;
    this.window.full = shape;
    this.window.whole();
    this.#moved();
  }

  #looked(change) {
    if (!this.looks) return;
    const { now } = this.looks, { transpose, flipX, flipY } = now;
    if (now.source && this.#offered[now.source]) this.source.value = now.source;
    this.rgb.setAttribute("aria-pressed", Boolean(now.rgb));
    this.mixed.hidden = !now.rgb;
    this.source.hidden = this.point.button.hidden = Boolean(now.rgb);
    this.window.turn({ transpose, flipX, flipY });
    if ("source" in change || "rgb" in change) {
      this.point.clear();
      for (const each of [...this.parts.keys()]) if (!this.sources().includes(each)) this.parts.delete(each); // what stays is not sent again
      this.#isDrawn = false;
      this.#fit(this.#offered[this.source.value]);
    }
    this.#paint();
    this.#moved();
  }

  // Show an archived frame; null: the newest.
  go(past) {
    if (this.past?.frame === past?.frame && this.past?.scan === past?.scan) return;
    this.past = past;
    this.#held.clear();
    if (this.frozen) this.#freeze();
    this.#moved();
  }

  #isOf(message) {
    return this.past ? message.past === true && message.frame === this.past.frame && message.scan === this.past.scan : !message.past;
  }

  #freeze() {
    this.frozen = !this.frozen;
    this.freeze.setAttribute("aria-pressed", this.frozen);
    if (!this.frozen) for (const each of this.#held.values()) this.#take(each);
    this.#held.clear();
  }

  #take(message) {
    if (message.problem) {
      this.caption.textContent = message.problem;
      if (!this.past) return;
      this.parts.clear(); // what was shown is another frame
      this.#isDrawn = false;
      this.draw();
      return;
    }
    message.values = new Float32Array(message.data, message.at, message.shape[0] * message.shape[1]);
    this.parts.set(message.source, message);
    this.#fit(message.full);
    this.#paint();
    this.draw();
    this.hover.again();
  }

  #caption() {
    const { part } = this, blocks = part.step > 1 ? `${part.pool} of ${part.step} × ${part.step} pixels` : "every pixel";
    const words = [`${part.full[1]} × ${part.full[0]}`, blocks];
    if (part.frame !== null) words.unshift(`${part.past ? "archived frame" : "frame"} ${part.frame}${part.past && part.status !== "received" ? ` (${part.status})` : ""}`);
    if (this.looks.now.rgb) words.push(...this.sources().map((each, at) => `${PRIMARIES[at]}: ${each}`));
    words.push(...this.point.words());
    this.caption.textContent = words.join(", ");
  }

  #paint() {
    const parts = this.sources().map((each) => this.parts.get(each));
    const same = (one, other) => one.step === other.step && String([one.rows, one.columns]) === String([other.rows, other.columns]);
    if (!parts.every((each) => each?.values && same(each, parts[0]))) return;
    const { now } = this.looks, [rows, columns] = parts[0].shape;
    const limits = (values) => percentiles(values, now.cut, 100 - now.cut);
    let image;
    if (now.rgb) image = paintRgb(parts.map((each) => each.values), rows, columns, parts.map((each) => limits(each.values)), now.scale);
    else {
      const values = this.point.above(parts[0].values);
      if (now.auto) this.looks.limits(...limits(values));
      image = paint(values, rows, columns, now);
    }
    if (this.#drawn.width !== columns || this.#drawn.height !== rows) [this.#drawn.width, this.#drawn.height] = [columns, rows];
    this.#drawn.getContext("2d").putImageData(image, 0, 0);
    this.#isDrawn = true;
    this.#caption();
  }

  #resized() {
    const before = this.canvas.width, ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.clientWidth) this.window.resized(before);
    this.#moved();
  }

  #moved() {
    this.draw();
    clearTimeout(this.#pending);
    this.#pending = setTimeout(() => this.dispatchEvent(new Event("moved")), SETTLE_MS);
  }
}
