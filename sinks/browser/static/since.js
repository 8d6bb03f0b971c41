// From which frame on each region is as it is: what answers say, and what the whole scan knows of its changes.

export class Since {
  #frames = new Map();
  #changes = [];

  // told: called when something new is known. whole: names that a change of all regions is about.
  constructor(link, path, whole, told) {
    this.path = path;
    this.whole = whole;
    link.addEventListener("scan", () => this.#clear());
    link.addEventListener("turn", ({ detail }) => {
      this.#changes = detail.changes ?? this.#changes;
      this.hear();
      if (detail.changes) told();
    });
    link.addEventListener("notice", ({ detail }) => {
      this.put(detail.path, detail.frame);
      told();
    });
  }

  get(name) {
    return this.#frames.get(name);
  }

  put(path, frame) {
    if (!Number.isInteger(frame)) return;
    const names = path === this.path() ? this.whole() : path?.startsWith(`${this.path()}.`) ? [path.slice(this.path().length + 1).split(".")[0]] : [];
    for (const name of names) this.#frames.set(name, Math.max(frame, this.#frames.get(name) ?? 0));
  }

  hear() {
    for (const { path, frame } of this.#changes) this.put(path, frame);
  }

  #clear() {
    this.#frames.clear();
    this.#changes = [];
  }
}
