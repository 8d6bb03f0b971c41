// Back in time: an archived frame of the scan that is shown instead of the newest one, by its number; and live again.

import { make } from "./tools.js";

export class Past {
  #scan = null; // the number of the scan in this run
  #newest = 0;

  constructor(view) {
    this.view = view;
    const step = (by, text, title) => make("button", { type: "button", text, title, onclick: () => this.#go((view.past?.frame ?? this.#newest) + by) });
    this.slider = make("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "archived frame", oninput: () => this.#go(Number(this.slider.value)) });
    this.number = make("input", { type: "number", min: 0, value: 0, title: "frame number", "aria-label": "frame number", onchange: () => this.#go(Number(this.number.value)) });
    this.live = make("button", { type: "button", text: "live", title: "the newest frame again", "aria-pressed": "true", onclick: () => this.#go(null) });
    this.bar = make("div", { class: "bar past", hidden: true }, "Frame", this.slider, step(-1, "‹", "one frame back"), this.number, step(1, "›", "one frame on"), this.live);
    view.canvas.after(this.bar);
  }

  begin(scan) {
    if (this.#scan !== scan.number) this.#go(null);
    this.#scan = scan.number ?? null;
    this.#newest = 0;
  }

  take(turn) {
    if (turn.files) this.bar.hidden = !turn.files.some((each) => each.type === "archive");
    this.#newest = Math.max(this.#newest, turn.frame ?? 0);
    this.slider.max = Math.max(this.#newest, this.view.past?.frame ?? 0);
    if (!this.view.past) this.slider.value = this.number.value = this.#newest;
  }

  #go(frame) {
    if (frame !== null && (!Number.isFinite(frame) || this.#scan === null)) return;
    const wanted = frame === null ? null : Math.min(2 ** 40, Math.max(0, Math.round(frame)));
    this.live.setAttribute("aria-pressed", wanted === null);
    if (wanted !== null) {
      this.slider.max = Math.max(this.#newest, wanted);
      this.slider.value = this.number.value = wanted;
    }
    this.view.go(wanted === null ? null : { scan: this.#scan, frame: wanted });
  }
}
