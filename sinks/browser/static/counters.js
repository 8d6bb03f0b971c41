// Counters, the frames by what became of them, the log, and what was changed.

import { make, number } from "./tools.js";

const LOST = ["missing", "corrupt", "failed", "dropped"];
export const lost = (counters) => LOST.reduce((sum, name) => sum + (counters.counts?.[name] || counters[name] || 0), 0);

export function values(counters) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  return {
    frames: `${counters.finished}${counters.expected === null ? "" : ` / ${counters.expected}`}`,
    "frames/s": number(counters.rate, 4),
    "latency, ms": number(counters.latency_ms, 3),
    lost: String(lost(counters)),
    "queue in": percent(counters.inbox_fill),
    "queue out": percent(counters.sink_fill),
  };
}

export class Counters {
  constructor(numbers, ledger, log) {
    this.numbers = numbers;
    this.table = make("table");
    this.lines = make("div", { class: "lines" });
    this.changes = make("div", { class: "lines" });
    ledger.append(this.table, make("h2", { text: "Changes" }), this.changes);
    log.append(this.lines);
  }

  // more: further numbers that are to be read from afar, [name, value].
  take(counters, more) {
    this.numbers.replaceChildren(...[...Object.entries(values(counters)), ...more.map(([name, value]) => [name, number(value, 4)])].map(([name, text]) => make("div", { class: name === "lost" && text !== "0" ? "bad" : "", "data-name": name }, make("b", { text }), make("span", { text: name }))));
    this.numbers.style.setProperty("--count", this.numbers.children.length);
    const rows = ["received", "finished", "missing", "duplicate", "late", "corrupt", "failed", "dropped", "bad_messages"].map((name) => [name.replace("_", " "), counters.counts?.[name] || counters[name] || 0]);
    if (counters.files) rows.push(["file", `${counters.file} of ${counters.files}`]);
    if (counters.connection) rows.push(["connection", counters.connection]);
    this.table.replaceChildren(...rows.map(([name, value]) => make("tr", {}, make("th", { text: name }), make("td", { class: "number", text: String(value) }))));
  }

  log(lines) {
    const low = this.lines.scrollTop + this.lines.clientHeight >= this.lines.scrollHeight - 4;
    this.lines.replaceChildren(...lines.map(([, made, level, text]) => make("div", { class: level, text: `${new Date(1000 * made).toLocaleTimeString()}  ${text}` })));
    if (low) this.lines.scrollTop = this.lines.scrollHeight;
  }

  changed(changes) {
    this.changes.replaceChildren(...changes.toReversed().map((each) => make("div", { text: `from frame ${each.frame} on (revision ${each.revision}), ${each.who}: ${each.path} = ${JSON.stringify(each.value)}` })));
    if (!changes.length) this.changes.textContent = "none in this scan";
  }
}
