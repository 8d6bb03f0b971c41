// Options that may change while inbeam runs: everybody sees them, operators change them.

import { make } from "./tools.js";

const text = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value, null, 1) : JSON.stringify(value));

export class Options extends EventTarget {
  known = [];
  operator = false;
  #least = 0; // what was told before the latest answer is older than that answer

  constructor(panel, link) {
    super();
    this.link = link;
    this.list = make("div");
    this.answer = make("div", { class: "answer", role: "status" });
    panel.append(this.answer, this.list);
    this.panel = panel;
    panel.hidden = true;
    link.addEventListener("state", () => (this.#least = 0));
    link.addEventListener("notice", ({ detail }) => this.say(`${detail.who}: ${detail.text}`, true));
  }

  say(words, good) {
    this.answer.textContent = words;
    this.answer.className = `answer ${good ? "good" : "bad"}`;
  }

  // Of an option or of a part of it: null for a part that is not there, undefined where there is no such option.
  value(path) {
    const option = this.known.find((each) => path === each.path || path.startsWith(`${each.path}.`));
    if (!option) return undefined;
    return path.slice(option.path.length + 1).split(".").filter(Boolean).reduce((node, part) => node?.[part] ?? null, option.value);
  }

  // Ask for a change; what is said of it is shown. Returns the answer.
  async change(path, value, seen = this.value(path)) {
    const answer = await this.link.set(path, value, seen);
    this.say(answer.text, answer.ok);
    this.#least = Math.max(this.#least, answer.serial ?? 0);
    if ("value" in answer) this.#learn(path, answer.value);
    return answer;
  }

  // What an answer says of an option, or of a part of it, is newer than what the last turn said.
  #learn(path, value) {
    const put = (node, [first, ...rest]) => (first === undefined ? value : { ...node, [first]: put(node?.[first], rest) });
    this.known = this.known.map((each) => {
      if (path !== each.path && !path.startsWith(`${each.path}.`)) return each;
      return { ...each, value: put(each.value, path.slice(each.path.length + 1).split(".").filter(Boolean)) };
    });
    this.dispatchEvent(new Event("known"));
  }

  take(options, serial, operator) {
    this.operator = operator;
    if (serial < this.#least) return;
    const before = new Map([...this.list.children].map((row) => [row.dataset.path, row]));
    this.known = options;
    this.panel.hidden = !options.length;
    this.list.replaceChildren(...options.map((option) => {
      const row = before.get(option.path);
      return row?.contains(document.activeElement) ? row : this.#row(option);
    }));
    this.dispatchEvent(new Event("known"));
  }

  #row(option) {
    const seen = option.value;
    const long = typeof seen === "object" && seen !== null;
    const input = option.schema.enum ? make("select") : make(long ? "textarea" : "input", { spellcheck: "false", "aria-label": option.path });
    for (const each of option.schema.enum ?? []) input.append(make("option", { value: JSON.stringify(each), text: String(each) }));
    input.value = text(seen);
    input.disabled = !this.operator;
    const set = () => {
      let value;
      try {
        value = JSON.parse(input.value);
      } catch {
        value = input.value;
      }
      input.blur();
      this.change(option.path, value, seen);
    };
    const button = make("button", { type: "button", text: "set", disabled: !this.operator, onclick: set });
    if (!long) input.addEventListener("keydown", (event) => event.key === "Enter" && set());
    const when = option.when === "scan" ? " (from the next scan on)" : "";
    return make("div", { class: "option", "data-path": option.path }, make("div", { class: "bar" }, make("b", { text: option.path }), ...(long ? [] : [input]), button), ...(long ? [input] : []), make("p", { text: option.description + when }));
  }
}
