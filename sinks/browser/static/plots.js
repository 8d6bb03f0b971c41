// Lines against an axis, with uPlot: zoomed by dragging, all of it again by a double click.

import uPlot from "./uplot.js";
import { number } from "./tools.js";

const COLOURS = ["#f98e09", "#35b779", "#6ea8fe", "#e377c2", "#bcbd22", "#17becf", "#ff6b6b", "#b39ddb", "#d0d0d0"];
const AXES = { stroke: "#9aa5b4", grid: { stroke: "#343c47" }, ticks: { stroke: "#343c47" } };
const HEIGHT = 230;

export const colour = (at) => COLOURS[at % COLOURS.length];

export class Plot {
  #plot = null;
  #shape = "";

  // drawn: called with the uPlot when it has drawn.
  constructor(area, drawn = () => {}) {
    this.area = area;
    this.drawn = drawn;
    new ResizeObserver(() => this.#plot?.setSize({ width: this.#width(), height: HEIGHT })).observe(area);
  }

  get plot() {
    return this.#plot;
  }

  get canvas() {
    return this.area.querySelector("canvas");
  }

  #width = () => Math.max(200, this.area.clientWidth - 4);

  clear() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#shape = "";
  }

  // series: {label, ...} as uPlot has them. A plot of the same shape keeps what it is zoomed to.
  show(shape, series, data, x, y, log = false) {
    if (shape === this.#shape && this.#plot) return this.#renew(data);
    this.clear();
    this.#shape = shape;
    const options = { width: this.#width(), height: HEIGHT, legend: { live: true }, hooks: { draw: [(plot) => this.drawn(plot)] } };
    options.scales = { x: { time: false }, y: { distr: log ? 3 : 1 } };
    options.axes = [{ ...AXES, label: x, labelSize: 18 }, { ...AXES, label: y, size: 64, values: (_, ticks) => ticks.map((each) => (each === null ? "" : number(each, 4))) }];
    options.series = [{ label: x.split(" ")[0] }, ...series];
    this.#plot = new uPlot(options, data, this.area);
  }

  #renew(data) {
    const { min, max } = this.#plot.scales.x, before = this.#plot.data[0];
    const zoomed = before.length && (min > before[0] || max < before.at(-1));
    this.#plot.setData(data, !zoomed);
    if (zoomed) this.#plot.setScale("x", { min, max }); // finds the range of y again, too
  }
}
