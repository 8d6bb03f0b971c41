// How an image is looked at: colours, scale, limits, how it is turned. Kept by this browser for each detector.

import { MAPS, ramp } from "./colours.js";
import { choice, keep, kept, labelled, make, number } from "./tools.js";

const LOOKS = {
  detector: { map: "inferno", scale: "log" },
  pictures: { map: "viridis", scale: "linear" },
};
const COMMON = { pool: "mean", auto: true, low: 0, high: 1, cut: 0.1, transpose: false, flipX: false, flipY: false, rgb: null, source: null };
const TURNS = { transpose: "transpose", flipX: "flip ↔", flipY: "flip ↕" };

export class Looks {
  #key = "";

  // changed: called with what is different.
  constructor(name, changed) {
    this.name = name;
    this.changed = changed;
    this.now = { ...COMMON, ...LOOKS[name] };
    const select = (key, options) => choice(options, this.now[key], (value) => this.set({ [key]: value }));
    this.selects = { scale: select("scale", ["linear", "sqrt", "log"]), map: select("map", MAPS), pool: select("pool", ["mean", "max"]) };
    const limit = (side) => make("input", { type: "number", step: "any", title: `${side}er limit`, "data-limit": side, onchange: () => Number.isFinite(this[side].valueAsNumber) && this.set({ auto: false, [side]: this[side].valueAsNumber }) });
    this.selects.map.dataset.map = "";
    this.low = limit("low");
    this.high = limit("high");
    this.cut = make("input", { type: "number", min: 0, max: 20, step: 0.1, title: "percent left out at either end", onchange: () => this.set({ cut: Math.min(20, Math.max(0, Number(this.cut.value))), auto: true }) });
    this.auto = make("button", { type: "button", text: "auto", title: "limits from percentiles", onclick: () => this.set({ auto: true }) });
    this.turns = Object.entries(TURNS).map(([key, text]) => make("button", { type: "button", text, "data-turn": key, onclick: () => this.set({ [key]: !this.now[key] }) }));
    this.ramp = make("canvas", { class: "ramp" });
    this.range = make("span", { class: "bar" }, this.selects.map, labelled("from", this.low), this.ramp, labelled("to", this.high));
    this.elements = [this.selects.scale, this.range, this.auto, labelled("cut %", this.cut), labelled("blocks", this.selects.pool), ...this.turns];
    this.of("");
  }

  // The looks of this detector, or whatever else they are kept by.
  of(whose) {
    const key = `look ${this.name}${whose ? ` ${whose}` : ""}`;
    if (key === this.#key) return;
    this.#key = key;
    this.#apply({ ...COMMON, ...LOOKS[this.name], ...kept(key, {}) });
  }

  set(change) {
    this.#apply({ ...this.now, ...change });
    keep(this.#key, this.now);
  }

  // What the percentiles are now: shown, and where one goes on by hand.
  limits(low, high) {
    [this.now.low, this.now.high] = [low, high];
    this.#fields();
  }

  #fields() {
    for (const side of ["low", "high"]) if (document.activeElement !== this[side]) this[side].value = number(this.now[side], 4);
  }

  #apply(wanted) {
    const change = Object.fromEntries(Object.entries(wanted).filter(([key, value]) => this.now[key] !== value));
    this.now = wanted;
    for (const [key, select] of Object.entries(this.selects)) select.value = wanted[key];
    for (const button of this.turns) button.setAttribute("aria-pressed", wanted[button.dataset.turn]);
    this.auto.setAttribute("aria-pressed", wanted.auto);
    this.range.hidden = Boolean(wanted.rgb);
    this.cut.value = wanted.cut;
    this.#fields();
    ramp(this.ramp, wanted.map);
    this.changed(change);
  }
}
