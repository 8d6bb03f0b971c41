// Alarms on counters and series; without sound unless this viewer wants it.

import { lost } from "./counters.js";
import { choice, fill, keep, kept, labelled, make, number } from "./tools.js";

const OPERATIONS = { "above": (value, limit) => value > limit, "below": (value, limit) => value < limit };
const COUNTERS = ["frames/s", "latency, ms", "lost", "corrupt", "queue in"];

export class Alarms {
  constructor(panel, banner, series) {
    this.banner = banner;
    this.series = series;
    this.rules = kept("alarms", []);
    this.sound = false;
    this.what = make("select");
    fill(this.what, COUNTERS);
    const operation = choice(Object.keys(OPERATIONS), "above", () => {});
    const limit = make("input", { type: "number", step: "any", value: 0 });
    const sound = make("input", { type: "checkbox", onchange: () => { this.sound = sound.checked; if (this.sound) this.#beep(0.02); } });
    this.list = make("div");
    panel.append(make("div", { class: "bar" }, this.what, operation, limit, make("button", { type: "button", text: "add", onclick: () => this.#add({ what: this.what.value, operation: operation.value, limit: Number(limit.value) }) }), labelled("sound", sound)), this.list);
    this.#draw();
  }

  check(counters) {
    fill(this.what, [...COUNTERS, ...this.series.names]);
    const now = { "frames/s": counters.rate, "latency, ms": counters.latency_ms, lost: lost(counters), corrupt: counters.corrupt, "queue in": counters.inbox_fill };
    const running = counters.status === "running";
    const broken = this.rules.filter(({ what, operation, limit }) => {
      const value = now[what] ?? this.series.latest(what);
      return value !== undefined && (running || what !== "frames/s") && OPERATIONS[operation]?.(value, limit);
    });
    this.banner.hidden = !broken.length;
    this.banner.textContent = broken.map(({ what, operation, limit }) => `${what} ${number(now[what] ?? this.series.latest(what))} is ${operation} ${limit}`).join("; ");
    if (broken.length && this.sound) this.#beep(0.2);
  }

  #add(rule) {
    this.rules.push(rule);
    this.#draw();
  }

  #draw() {
    keep("alarms", this.rules);
    this.list.replaceChildren(...this.rules.map((rule, at) => make("div", { class: "bar" }, `${rule.what} ${rule.operation} ${rule.limit}`, make("button", { type: "button", text: "remove", onclick: () => { this.rules.splice(at, 1); this.#draw(); } }))));
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
