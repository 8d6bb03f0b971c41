// The regions by name, and the chosen one as numbers: what cannot be hit with a finger can be typed.

import { choice, keep, kept, labelled, make } from "./tools.js";

const NAME = /^[A-Za-z][A-Za-z0-9_]{0,40}$/;
const COLOURS = ["#ffcc00", "#4dd2ff", "#7dff8a", "#ff7ac6", "#ff9b52", "#c8a2ff", "#f4f4f4", "#8aa9ff"];

export const colourOf = (regions, name) => regions.shown(name)?.colour ?? COLOURS[Math.max(0, Object.keys(regions.known).indexOf(name)) % COLOURS.length];
export const nextColour = (count) => COLOURS[count % COLOURS.length];

// A copy with another value somewhere inside: put({x: [1, 2]}, ["x", 0], 5).
export function put(node, [first, ...rest], value) {
  if (first === undefined) return value;
  const copy = Array.isArray(node) ? [...node] : { ...node };
  copy[first] = put(copy[first] ?? (typeof rest[0] === "number" ? [] : {}), rest, value);
  return copy;
}

const at = (node, path) => path.reduce((found, part) => found?.[part], node);

export class RegionList {
  #hidden = new Set();
  #fieldsOf = "";
  #inputs = [];

  constructor(regions) {
    this.regions = regions;
    this.element = make("div", { class: "regionlist" });
    this.fields = make("div", { class: "bar regionfields", hidden: true });
  }

  visible(name) {
    return !this.#hidden.has(name);
  }

  // Names that are there: those of the option, in its order, and those that were asked for.
  show() {
    const { regions } = this, operator = regions.options.operator;
    this.#hidden = new Set(kept(`hidden ${regions.path}`, []));
    const names = regions.names();
    this.element.toggleAttribute("data-waits", regions.waits());
    if (!(this.element.contains(document.activeElement) && document.activeElement.tagName === "INPUT")) {
      this.element.replaceChildren(...names.map((name) => {
        const label = make("input", { value: name, size: Math.max(4, name.length), title: "name: type another one to rename", "aria-label": `name of ${name}`, disabled: !operator, onfocus: () => regions.choose(name), onchange: () => this.#rename(name, label) });
        label.style.borderColor = colourOf(regions, name);
        const eye = make("button", { type: "button", text: this.visible(name) ? "hide" : "show", "aria-pressed": String(this.visible(name)), "aria-label": `show ${name}`, onclick: () => this.#toggle(name) });
        const since = regions.since.get(name);
        return make("span", { "data-region": name, class: name === regions.chosen ? "chosen" : "" }, label, eye,
          make("button", { type: "button", text: "×", title: `remove ${name}`, "aria-label": `remove ${name}`, disabled: !operator, onclick: () => regions.wish(name, null) }),
          ...(since === undefined ? [] : [make("small", { class: "since", text: `from frame ${since} on` })]));
      }));
    }
    this.#showFields();
  }

  #toggle(name) {
    this.#hidden[this.visible(name) ? "add" : "delete"](name);
    keep(`hidden ${this.regions.path}`, [...this.#hidden]);
    this.regions.show();
  }

  #showFields() {
    const { regions } = this, name = regions.chosen, region = name && regions.shown(name), shape = region && regions.shape(region);
    this.fields.hidden = !region || !regions.options.operator;
    if (this.fields.hidden) {
      this.#fieldsOf = "";
      return;
    }
    const numbers = shape?.numbers() ?? [];
    const others = regions.names().filter((each) => each !== name);
    const of = `${regions.path} ${name} ${region.kind} ${region.unit} ${numbers.length} ${others}`;
    if (of !== this.#fieldsOf) this.#makeFields(name, region, numbers, others);
    this.#fieldsOf = of;
    for (const { input, path } of this.#inputs) {
      const value = at(region, path);
      if (document.activeElement !== input || input.type !== "number") input.value = typeof value === "number" || typeof value === "string" ? value : this.#otherwise(path, value);
    }
  }

  #otherwise([first], value) {
    if (first === "background") return value ? "several" : "";
    return { angle: 0, role: "signal", colour: colourOf(this.regions, this.regions.chosen), center: "", width: 1 }[first] ?? "";
  }

  #makeFields(name, region, numbers, others) {
    const { regions } = this;
    const change = (path, value) => regions.wish(name, put(regions.shown(name), path, value));
    const changed = (path, input) => input.value !== "" && Number.isFinite(input.valueAsNumber) && change(path.length === 2 && path[0] === "center" && !regions.shown(name).center ? ["center"] : path, path[0] === "center" && !regions.shown(name).center ? put(regions.where().centre, [path[1]], input.valueAsNumber) : input.valueAsNumber);
    this.#inputs = numbers.map(([label, path, step]) => {
      const input = make("input", { type: "number", step, "data-number": path.join("."), "aria-label": `${name}: ${label}`, oninput: () => changed(path, input) });
      return { input, path, label };
    });
    const role = choice(["signal", "background"], "signal", (value) => change(["role"], value));
    const background = choice([["", "none"], ["all", "all with that role"], ...others, ...(Array.isArray(region.background) ? [["several", region.background.join(", ")]] : [])], "", (value) => value !== "several" && change(["background"], value || null));
    const colour = make("input", { type: "color", onchange: () => change(["colour"], colour.value) });
    const rest = [{ input: role, path: ["role"], label: "role" }, { input: background, path: ["background"], label: "less the background" }, { input: colour, path: ["colour"], label: "colour" }];
    this.#inputs.push(...rest);
    this.fields.replaceChildren(make("b", { text: name }), ...this.#inputs.map(({ input, label }) => labelled(label, input)));
  }

  async #rename(name, label) {
    const { regions } = this, wanted = label.value.trim();
    label.blur();
    if (wanted === name) return;
    if (!NAME.test(wanted) || regions.known[wanted] !== undefined) {
      label.value = name;
      regions.options.say(`${wanted}: a name is a letter, then letters, digits and _; and no other region has it`, false);
      return;
    }
    const renamed = Object.fromEntries(Object.entries(regions.known).map(([each, region]) => [each === name ? wanted : each, region]));
    const answer = await regions.options.change(regions.path, renamed, regions.known);
    if (answer.ok) regions.choose(wanted);
  }
}
