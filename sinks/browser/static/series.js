// Numbers of every frame that was seen: results, readings, regions; against the frame number.

import { Plot, colour } from "./plots.js";
import { csv, keep, kept, make, save } from "./tools.js";

const MOST = 5000;
const MOST_NUMBERS = 6;

export class Series {
  names = [];
  columns = new Map();
  frames = [];

  constructor(panel) {
    this.panel = panel;
    this.shown = new Set(kept("series", []));
    this.choice = make("div", { class: "choice" });
    this.area = make("div", { class: "plot" });
    this.plot = new Plot(this.area);
    panel.append(make("div", { class: "bar" }, make("button", { type: "button", text: "CSV", onclick: () => this.#csv() }), make("button", { type: "button", text: "PNG", onclick: () => this.plot.canvas?.toBlob((blob) => save("inbeam_series.png", blob)) }), make("span", { class: "empty", text: "every frame up to 100 per second, else those that were seen" })), this.choice, this.area);
    panel.hidden = true;
  }

  begin() {
    this.names = [];
    this.frames = [];
    this.times = [];
    this.columns = new Map();
    this.choice.replaceChildren();
    this.draw();
  }

  take(message) {
    if (message.afresh) this.begin();
    const table = new Float64Array(message.data, message.at, (2 + message.names.length) * message.count);
    const column = (at) => table.subarray(at * message.count, (at + 1) * message.count);
    const before = this.frames.length;
    this.frames.push(...column(0));
    this.times.push(...column(1));
    message.names.forEach((name, at) => {
      if (!this.columns.has(name)) this.columns.set(name, new Array(before).fill(NaN));
      this.columns.get(name).push(...column(at + 2));
    });
    for (const values of this.columns.values()) while (values.length < this.frames.length) values.push(NaN);
    const surplus = this.frames.length - MOST;
    if (surplus > 0) for (const values of [this.frames, this.times, ...this.columns.values()]) values.splice(0, surplus);
    if (message.names.join() !== this.names.join()) this.#offer(message.names);
    this.draw();
  }

  // The newest value of a column, for alarms and big numbers.
  latest(name) {
    const values = this.columns.get(name);
    return values?.length ? values.at(-1) : undefined;
  }

  // What is chosen, as it is now: [name, value].
  numbers() {
    return this.names.filter((name) => this.shown.has(name)).slice(0, MOST_NUMBERS).map((name) => [name, this.latest(name)]);
  }

  #offer(names) {
    this.names = names;
    this.panel.hidden = !names.length;
    if (names.length && !names.some((name) => this.shown.has(name))) this.shown.add(names.find((name) => name.endsWith(".sum")) ?? names[0]);
    this.choice.replaceChildren(...names.map((name) => {
      const box = make("input", { type: "checkbox", onchange: () => { this.shown[box.checked ? "add" : "delete"](name); keep("series", [...this.shown]); this.draw(); } });
      box.checked = this.shown.has(name);
      return make("label", {}, box, name);
    }));
  }

  draw() {
    const shown = this.names.filter((name) => this.shown.has(name));
    if (!shown.length || !this.frames.length) {
      this.plot.clear();
      return;
    }
    const order = this.frames.map((_, at) => at).sort((one, other) => this.frames[one] - this.frames[other]);
    const sorted = (values) => order.map((at) => (Number.isNaN(values[at]) ? null : values[at]));
    const data = [sorted(this.frames), ...shown.map((name) => sorted(this.columns.get(name)))];
    const series = shown.map((name, at) => ({ label: name, stroke: colour(at), width: 1.2, points: { show: data[0].length < 60 } }));
    this.plot.show(`${shown.join()} ${data[0].length < 60}`, series, data, "frame", "");
  }

  #csv() {
    save("inbeam_series.csv", csv(["frame", "received_unix_s", ...this.names], [this.frames, this.times, ...this.names.map((name) => this.columns.get(name))]), "text/csv");
  }
}
