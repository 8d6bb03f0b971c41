// Alarms on counters and series; without sound unless this viewer wants it.

import { lost } from "./counters.js";
import { choice, fill, keep, kept, labelled, make, number } from "./tools.js";

const OPERATIONS = { "above": (value, limit) => value > limit, "below": (value, limit) => value < limit };
const SATURATED = "saturated pixels";
const COUNTERS = ["frames/s", "latency, ms", "lost", "corrupt", "queue in", SATURATED];

export class Alarms {
  #values = {};

  // asks: called with whether saturated pixels are to be counted; saturated: gives their number, if it is known.
  constructor(panel, banner, series, { asks, saturated }) {
    this.banner = banner;
    this.series = series;
    this.asks = asks;
    this.saturated = saturated;
    this.rules = kept("alarms", []);
    this.sound = false;
    this.what = make("select", { "aria-label": "what the alarm is on" });
    fill(this.what, COUNTERS);
    const operation = choice(Object.keys(OPERATIONS), "above", () => {});
    const limit = make("input", { type: "number", step: "any", value: 0, "aria-label": "limit" });
    const sound = make("input", { type: "checkbox", onchange: () => { this.sound = sound.checked; if (this.sound) this.#beep(0.02); } });
    this.list = make("div");
    panel.append(make("div", { class: "bar" }, this.what, operation, limit, make("button", { type: "button", text: "add", onclick: () => Number.isFinite(limit.valueAsNumber) && this.#add({ what: this.what.value, operation: operation.value, limit: limit.valueAsNumber }) }), labelled("sound", sound)), this.list);
    this.#draw();
  }

  check(counters) {
    fill(this.what, [...COUNTERS, ...this.series.names]);
    const running = counters.status === "running";
    this.#values = { "frames/s": running ? counters.rate : undefined, "latency, ms": counters.latency_ms, lost: lost(counters), corrupt: counters.corrupt, "queue in": counters.inbox_fill, [SATURATED]: this.saturated() };
    const broken = this.rules.filter(({ what, operation, limit }) => OPERATIONS[operation]?.(this.#value(what), limit));
    this.banner.hidden = !broken.length;
    this.banner.textContent = broken.map(({ what, operation, limit }) => `${what} ${number(this.#value(what))} is ${operation} ${limit}`).join("; ");
    for (const row of this.list.querySelectorAll("[data-what]")) row.textContent = this.#now(row.dataset.what);
    if (broken.length && this.sound) this.#beep(0.2);
  }

  #value = (what) => (COUNTERS.includes(what) ? this.#values[what] : this.series.latest(what));

  // An alarm that cannot be judged must say so.
  #now(what) {
    const value = this.#value(what);
    return typeof value === "number" && !Number.isNaN(value) ? `now ${number(value)}` : "not known now";
  }

  #add(rule) {
    this.rules.push(rule);
    this.#draw();
  }

  #draw() {
    keep("alarms", this.rules);
    this.asks(this.rules.some(({ what }) => what === SATURATED));
    this.list.replaceChildren(...this.rules.map((rule, at) => make("div", { class: "bar" }, `${rule.what} ${rule.operation} ${rule.limit}`, make("small", { class: "since", "data-what": rule.what, text: this.#now(rule.what) }), make("button", { type: "button", text: "remove", onclick: () => { this.rules.splice(at, 1); this.#draw(); } }))));
    if (!this.rules.length) this.list.replaceChildren(make("span", { class: "empty", text: "none" }));
  }

  #beep(seconds) {
    this.audio ??= new AudioContext();
    const tone = this.audio.createOscillator();
    const volume = this.audio.createGain();
    volume.gain.value = 0.1;
    tone.connect(volume).connect(this.audio.destination);
    tone.start();
    tone.stop(this.audio.currentTime + seconds);
  }
}
