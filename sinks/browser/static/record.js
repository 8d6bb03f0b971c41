// What is kept of a scan, and what is made of it: frame numbers without data, the files, the jobs.

import { make } from "./tools.js";

const HEAD = ["resource", "name", "id", "native id", "status", "exit", "command"];
const MOST_WORDS = 4000;

export class Record {
  constructor(ledger, jobs) {
    this.panel = jobs;
    this.holes = make("div", { class: "lines holes" });
    this.files = make("table", { class: "files" });
    this.jobs = make("table", { class: "jobs" });
    ledger.querySelector("table").after(this.holes);
    ledger.append(make("h2", { text: "Files" }), this.files);
    jobs.append(this.jobs);
    this.#files([]);
  }

  take(turn) {
    if ("holes" in turn) this.#holes(turn.holes);
    if ("files" in turn) this.#files(turn.files);
    if ("jobs" in turn) this.#jobs(turn.jobs);
  }

  #holes(found) {
    const by = new Map();
    for (const [status, first, last] of found?.ranges ?? []) by.set(status, [...(by.get(status) ?? []), first === last ? first : `${first}–${last}`]);
    const lines = [...by].map(([status, numbers]) => make("div", { "data-status": status, text: `${status}: ${numbers.join(", ")}`.slice(0, MOST_WORDS) }));
    if (found?.more) lines.push(make("div", { text: `and ${found.more} more ranges: see the ledger in the file` }));
    this.holes.replaceChildren(...lines);
  }

  #files(files) {
    this.files.replaceChildren(...files.map(({ type, path }) => {
      const copy = make("button", { type: "button", text: "copy", title: "copy the path", onclick: () => navigator.clipboard?.writeText(path) });
      return make("tr", {}, make("th", { text: type }), make("td", { text: path.split(/[\\/]/).at(-1), title: path }), make("td", {}, copy));
    }));
    if (!files.length) this.files.replaceChildren(make("tr", {}, make("td", { class: "empty", text: "none" })));
  }

  #jobs(rows) {
    this.panel.hidden = false;
    const cells = (tag, texts) => texts.map((text) => make(tag, { text }));
    const body = rows.map((row) => make("tr", { class: `job ${row[4]}`, "data-job": row[2], title: row[7] }, ...cells("td", row.slice(0, HEAD.length)), ...(row[7] ? [make("td", { text: row[7] })] : [])));
    this.jobs.replaceChildren(make("tr", {}, ...cells("th", HEAD)), ...body);
    if (!rows.length) this.jobs.replaceChildren(make("tr", {}, make("td", { class: "empty", text: "none yet" })));
  }
}
