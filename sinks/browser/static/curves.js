// Patterns: the latest with those that were kept, or a waterfall of those that came; with or without a background.

import { shownAs } from "./axes.js";
import { Plot, colour } from "./plots.js";
import { choice, csv, fill, keep, kept, labelled, make, number, save } from "./tools.js";
import { Waterfall } from "./waterfall.js";

const MOST_KEPT = 8;
const FALLEN = 200;

export class Curves extends EventTarget {
  #kept = [];
  #fallen = [];
  #now = null;
  #below = null; // the pattern that is subtracted
  frozen = false;

  constructor(panel) {
    super();
    this.panel = panel;
    this.look = kept("curves", { mode: "latest", axis: "as computed", log: false });
    const redraw = (change) => { this.look = { ...this.look, ...change }; keep("curves", this.look); this.draw(); };
    const button = (text, title, deed) => make("button", { type: "button", text, title, onclick: deed });
    this.source = make("select", { title: "what is shown", onchange: () => this.#forget() });
    const log = make("input", { type: "checkbox", onchange: () => redraw({ log: log.checked }) });
    log.checked = this.look.log;
    this.freeze = make("button", { type: "button", text: "freeze", "aria-pressed": "false", onclick: () => { this.frozen = !this.frozen; this.freeze.setAttribute("aria-pressed", this.frozen); } });
    this.below = make("button", { type: "button", text: "background", "aria-pressed": "false", title: "subtract this pattern from all", onclick: () => this.#subtract() });
    this.which = make("input", { type: "number", min: 0, step: 1, placeholder: "frame", "aria-label": "frame to keep", list: "fallen", onchange: () => this.#keepFrame(this.which.valueAsNumber) });
    this.frames = make("datalist", { id: "fallen" });
    panel.append(make("div", { class: "bar" }, this.source, choice(["latest", "waterfall"], this.look.mode, (mode) => redraw({ mode })), choice(["as computed", "q", "2θ", "d"], this.look.axis, (axis) => redraw({ axis })), labelled("log", log),
      button("keep", "keep this pattern to compare", () => this.#keep(this.#now)), labelled("keep frame", this.which), this.frames, button("clear", "show none of the kept ones", () => { this.#kept = []; this.draw(); }), this.below, this.freeze,
      button("CSV", "what is shown, as a table", () => this.#csv()),
      button("PNG", "what is shown, as a picture", () => (this.look.mode === "waterfall" ? this.fall.element : this.plot.canvas)?.toBlob((blob) => save("inbeam_patterns.png", blob)))));
    this.area = make("div", { class: "plot" });
    this.fall = new Waterfall();
    this.caption = make("div", { class: "under", text: "no pattern yet" });
    this.plot = new Plot(this.area, (plot) => this.dispatchEvent(new CustomEvent("drawn", { detail: plot })));
    panel.append(this.area, this.fall.element, this.caption, this.fall.under);
  }

  begin(scan) {
    this.products = scan.products ?? [];
    const offered = [];
    for (const product of this.products) for (const field of product.fields) {
      if (field.per === "frame" && field.shape.length === 1 && field.shape[0] > 1 && !/error|variance/i.test(field.name) && !product.places) offered.push([`${product.name}.${field.name}`, field.name === product.signal ? product.name : `${product.name}.${field.name}`]);
    }
    fill(this.source, offered);
    this.panel.hidden = !offered.length;
    this.#forget();
  }

  take(message) {
    let at = message.at;
    for (const [key, length] of message.items) {
      if (key === this.source.value && !this.frozen) {
        this.#now = { frame: message.frame, values: new Float32Array(message.data, at, length) };
        if (this.#below && this.#below.values.length !== length) this.#subtract();
        this.#fallen.push(this.#now);
        if (this.#fallen.length > FALLEN) this.#fallen.shift();
        this.draw();
      }
      at += 4 * length;
    }
  }

  // Name of the product whose signal is shown, or "".
  product() {
    const [name, field] = this.source.value.split(".");
    return this.products?.find((each) => each.name === name)?.signal === field ? name : "";
  }

  // How the axis of what is shown is shown: {to, back, label}, and where it ends, as it was computed.
  axis() {
    const axis = this.#axis(this.#now?.values.length);
    const { wavelength_angstrom: wavelength } = this.#product() ?? {};
    const ends = [axis?.values[0] ?? 0, axis?.values.at(-1) ?? this.#now?.values.length].sort((one, other) => one - other);
    return { ...(axis ? shownAs(axis, wavelength, this.look.axis) : { to: (v) => v, back: (v) => v, label: "bin" }), ends, bins: axis?.values.length ?? 1 };
  }

  #product() {
    return this.products?.find((each) => each.name === this.source.value.split(".")[0]);
  }

  #axis = (length) => this.#product()?.axes.find((each) => each.values.length === length);

  #forget() {
    [this.#kept, this.#fallen, this.#now] = [[], [], null];
    if (this.#below) this.#subtract();
    this.plot.clear();
    this.caption.textContent = "no pattern yet";
    this.draw();
    this.dispatchEvent(new Event("chosen"));
  }

  #subtract() {
    this.#below = this.#below ? null : this.#now;
    this.below.setAttribute("aria-pressed", Boolean(this.#below));
    this.draw();
  }

  #above = ({ frame, values }) => ({ frame, values: this.#below ? values.map((each, at) => each - this.#below.values[at]) : values });

  #unit() {
    const [name, field] = this.source.value.split(".");
    const found = this.products?.find((each) => each.name === name)?.fields.find((each) => each.name === field);
    const unit = found?.unit ? `${field} (${found.unit})` : field ?? "";
    return this.#below ? `${unit} − frame ${this.#below.frame}` : unit;
  }

  // [what is shown of each bin, its name]
  #x(length) {
    const { to, label } = this.axis(), axis = this.#axis(length);
    return [Float64Array.from({ length }, (_, at) => (axis ? to(axis.values[at]) : at)), label];
  }

  draw() {
    const now = this.#now, fallen = this.look.mode === "waterfall";
    this.area.hidden = fallen;
    this.fall.element.hidden = this.fall.under.hidden = !fallen;
    if (!now || !this.source.value) return;
    const [x, label] = this.#x(now.values.length);
    const background = this.#below ? `, less frame ${this.#below.frame}` : "";
    this.frames.replaceChildren(...this.#fallen.slice(-50).map(({ frame }) => make("option", { value: frame })));
    this.caption.textContent = `frame ${now.frame}${background}`;
    if (fallen) {
      const rows = this.#fallen.filter((each) => each.values.length === now.values.length);
      this.caption.textContent = `frames ${rows[0].frame} to ${now.frame} (those that were shown)${background}, top to bottom; ${label} ${number(Math.min(...x))} … ${number(Math.max(...x))}`;
      return this.fall.show(rows.map(this.#above), x, label, this.look.log ? "log" : "sqrt");
    }
    const traces = [now, ...this.#kept].map(this.#above);
    const flip = x.length > 1 && x[0] > x.at(-1);
    const ordered = (values) => (flip ? Array.from(values).reverse() : Array.from(values)).map((each) => (Number.isFinite(each) ? each : null));
    const data = [ordered(x), ...traces.map((each) => ordered(each.values).map((value) => (this.look.log && value !== null && value <= 0 ? null : value)))];
    const there = data[0].map((value, at) => at).filter((at) => data[0][at] !== null); // d of q = 0 is nowhere
    const series = traces.map((each, at) => ({ label: at ? `frame ${each.frame}` : "latest", stroke: colour(at), width: at ? 1 : 1.5, points: { show: false } }));
    this.plot.show(JSON.stringify([this.source.value, label, this.#unit(), this.look.log, series.map((each) => each.label)]), series, data.map((column) => there.map((at) => column[at])), label, this.#unit(), this.look.log);
  }

  #keep(pattern) {
    if (!pattern || this.#kept.includes(pattern)) return;
    this.#kept = [pattern, ...this.#kept].slice(0, MOST_KEPT);
    this.draw();
  }

  // One of those that were shown; without it what is nearest is not taken for it.
  #keepFrame(frame) {
    const found = this.#fallen.find((each) => each.frame === frame);
    if (found) this.#keep(found);
    else if (this.#fallen.length) this.caption.textContent = `frame ${frame} is not among the ${this.#fallen.length} that were shown last (${this.#fallen[0].frame} to ${this.#fallen.at(-1).frame})`;
    this.which.value = "";
  }

  #csv() {
    if (!this.#now) return;
    const [x, label] = this.#x(this.#now.values.length);
    const traces = (this.look.mode === "waterfall" ? this.#fallen : [this.#now, ...this.#kept]).filter((each) => each.values.length === x.length).map(this.#above);
    const less = this.#below ? ` - frame ${this.#below.frame}` : "";
    save(`inbeam_patterns_${this.#now.frame}.csv`, csv([label, ...traces.map((each) => `frame ${each.frame}${less}`)], [x, ...traces.map((each) => each.values)]), "text/csv");
  }
}
