// Patterns: the latest, kept ones over it, or a waterfall of those that came.

import uPlot from "./uplot.js";
import { paint, percentiles } from "./colours.js";
import { choice, csv, fill, keep, kept, labelled, make, number, save } from "./tools.js";

const MOST_KEPT = 8;
const FALLEN = 200;
const COLOURS = ["#f98e09", "#35b779", "#6ea8fe", "#e377c2", "#bcbd22", "#17becf", "#ff6b6b", "#b39ddb", "#d0d0d0"];
const AXES = { stroke: "#9aa5b4", grid: { stroke: "#343c47" }, ticks: { stroke: "#343c47" } };

export function plot(panel, series, data, x, y, log = false) {
  const width = Math.max(200, panel.clientWidth - 4);
  return new uPlot({ width, height: 230, legend: { live: true }, scales: { x: { time: false }, y: { distr: log ? 3 : 1 } }, axes: [{ ...AXES, label: x, labelSize: 18 }, { ...AXES, label: y, size: 64, values: (_, ticks) => ticks.map((each) => (each === null ? "" : number(each, 4))) }], series: [{ label: x.split(" ")[0] }, ...series] }, data, panel);
}

export const colour = (at) => COLOURS[at % COLOURS.length];

// 2theta, q and d of the values of an axis, as far as the wavelength lets us.
function converted(axis, wavelength, wanted) {
  const values = Float64Array.from(axis.values);
  if (wanted === "as computed") return [values, axis.unit ? `${axis.name} (${axis.unit})` : axis.name];
  const lambda = wavelength;
  const q = { "1/nm": (v) => v, "1/angstrom": (v) => 10 * v }[axis.unit];
  const theta = { degrees: (v) => (v * Math.PI) / 360, rad: (v) => v / 2 }[axis.unit];
  const toQ = q ?? (theta && lambda ? (v) => ((40 * Math.PI) / lambda) * Math.sin(theta(v)) : null);
  if (!toQ || (axis.long_name && /chi|azimuth/i.test(axis.name))) return null;
  if (wanted === "q") return [values.map(toQ), "q (1/nm)"];
  if (wanted === "d") return [values.map((v) => (20 * Math.PI) / toQ(v)), "d (Å)"];
  if (!lambda) return null;
  return [values.map((v) => (360 / Math.PI) * Math.asin(Math.min(1, (toQ(v) * lambda) / (40 * Math.PI)))), "2θ (°)"];
}

export class Curves {
  #plot = null;
  #kept = [];
  #fallen = [];
  #now = null;
  #shape = "";
  frozen = false;

  constructor(panel) {
    this.panel = panel;
    this.look = kept("curves", { mode: "latest", axis: "as computed", log: false });
    const redraw = (change) => { this.look = { ...this.look, ...change }; keep("curves", this.look); this.#shape = ""; this.draw(); };
    this.source = make("select", { onchange: () => { this.#kept = []; this.#fallen = []; this.#shape = ""; this.draw(); } });
    const log = make("input", { type: "checkbox", onchange: () => redraw({ log: log.checked }) });
    log.checked = this.look.log;
    this.freeze = make("button", { type: "button", text: "freeze", "aria-pressed": "false", onclick: () => { this.frozen = !this.frozen; this.freeze.setAttribute("aria-pressed", this.frozen); } });
    panel.append(make("div", { class: "bar" }, this.source, choice(["latest", "waterfall"], this.look.mode, (mode) => redraw({ mode })), choice(["as computed", "q", "2θ", "d"], this.look.axis, (axis) => redraw({ axis })), labelled("log", log),
      make("button", { type: "button", text: "keep", title: "keep this pattern to compare", onclick: () => this.#keep() }),
      make("button", { type: "button", text: "clear", onclick: () => { this.#kept = []; this.#shape = ""; this.draw(); } }), this.freeze,
      make("button", { type: "button", text: "CSV", onclick: () => this.#csv() }),
      make("button", { type: "button", text: "PNG", onclick: () => this.panel.querySelector("canvas")?.toBlob((blob) => save("inbeam_patterns.png", blob)) })));
    this.area = make("div", { class: "plot" });
    this.fall = make("canvas", { class: "fall", hidden: true });
    this.caption = make("div", { class: "under", text: "no pattern yet" });
    panel.append(this.area, this.fall, this.caption);
    new ResizeObserver(() => { this.#plot?.setSize({ width: Math.max(200, this.area.clientWidth - 4), height: 230 }); }).observe(panel);
  }

  begin(scan) {
    this.products = scan.products ?? [];
    this.#kept = [];
    this.#fallen = [];
    this.#now = null;
    this.#shape = "";
    const offered = [];
    for (const product of this.products) for (const field of product.fields) {
      if (field.per === "frame" && field.shape.length === 1 && field.shape[0] > 1 && !/error|variance/i.test(field.name)) offered.push([`${product.name}.${field.name}`, field.name === product.signal ? product.name : `${product.name}.${field.name}`]);
    }
    fill(this.source, offered);
    this.panel.hidden = !offered.length;
    this.draw();
  }

  take(message) {
    if (this.frozen) return;
    let at = message.at;
    for (const [key, length] of message.items) {
      if (key === this.source.value) {
        this.#now = { frame: message.frame, values: new Float32Array(message.data, at, length) };
        this.#fallen.push(this.#now);
        if (this.#fallen.length > FALLEN) this.#fallen.shift();
        this.draw();
      }
      at += 4 * length;
    }
  }

  #axis(length) {
    const [name] = this.source.value.split(".");
    const product = this.products?.find((each) => each.name === name);
    const axis = product?.axes.find((each) => each.values.length === length);
    const found = axis && (converted(axis, product.wavelength_angstrom, this.look.axis) ?? converted(axis, null, "as computed"));
    return found ?? [Float64Array.from({ length }, (_, at) => at), "bin"];
  }

  #unit() {
    const [name, field] = this.source.value.split(".");
    const found = this.products?.find((each) => each.name === name)?.fields.find((each) => each.name === field);
    return found?.unit ? `${field} (${found.unit})` : field ?? "";
  }

  draw() {
    const now = this.#now;
    const fallen = this.look.mode === "waterfall";
    this.area.hidden = fallen;
    this.fall.hidden = !fallen;
    if (!now || !this.source.value) return;
    const [x, label] = this.#axis(now.values.length);
    this.caption.textContent = fallen ? `frames ${this.#fallen[0].frame} to ${now.frame} (those that were shown), top to bottom; ${label} ${number(x[0])} … ${number(x.at(-1))}` : `frame ${now.frame}`;
    if (fallen) return this.#waterfall();
    const traces = [now, ...this.#kept];
    const flip = x.length > 1 && x[0] > x.at(-1);
    const ordered = (values) => (flip ? Array.from(values).reverse() : Array.from(values)).map((each) => (Number.isNaN(each) ? null : each));
    const data = [ordered(x), ...traces.map((each) => ordered(each.values).map((value) => (this.look.log && value !== null && value <= 0 ? null : value)))];
    const shape = `${this.source.value} ${label} ${traces.length} ${this.look.log}`;
    if (shape !== this.#shape) {
      this.#plot?.destroy();
      this.#shape = shape;
      const series = traces.map((each, at) => ({ label: at ? `frame ${each.frame}` : "latest", stroke: colour(at), width: at ? 1 : 1.5, points: { show: false } }));
      this.#plot = plot(this.area, series, data, label, this.#unit(), this.look.log);
    } else this.#plot.setData(data);
  }

  #waterfall() {
    const columns = this.#now.values.length;
    const rows = this.#fallen.filter((each) => each.values.length === columns);
    const all = new Float32Array(rows.length * columns);
    rows.forEach((each, at) => all.set(each.values, at * columns));
    const [low, high] = percentiles(all, 0.5, 99.8);
    [this.fall.width, this.fall.height] = [columns, rows.length];
    this.fall.getContext("2d").putImageData(paint(all, rows.length, columns, { map: "viridis", scale: this.look.log ? "log" : "sqrt", low, high }), 0, 0);
  }

  #keep() {
    if (!this.#now) return;
    this.#kept = [this.#now, ...this.#kept].slice(0, MOST_KEPT);
    this.#shape = "";
    this.draw();
  }

  #csv() {
    if (!this.#now) return;
    const [x, label] = this.#axis(this.#now.values.length);
    const traces = this.look.mode === "waterfall" ? this.#fallen : [this.#now, ...this.#kept];
    save(`inbeam_patterns_${this.#now.frame}.csv`, csv([label, ...traces.map((each) => `frame ${each.frame}`)], [x, ...traces.map((each) => each.values)]), "text/csv");
  }
}
