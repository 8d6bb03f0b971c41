// Regions of interest over the image: drawn, dragged, resized, turned, named and removed; each step is a change of an
// option of the run, which answers with the frame number from which on it holds.

import { DRAWN, begun, inside, kindOf } from "./shapes.js";
import { fill, make } from "./tools.js";

const COLOURS = ["#ffcc00", "#4dd2ff", "#7dff8a", "#ff7ac6", "#ff9b52", "#c8a2ff", "#f4f4f4", "#8aa9ff"];
const NEAR = { mouse: 9, pen: 12, touch: 22 };
const NAME = /^[A-Za-z][A-Za-z0-9_]{0,40}$/;

export class Regions {
  path = "";
  known = {}; // name -> region, or null where its place is kept
  chosen = null;
  #hidden = new Set();
  #draft = null; // {name, region}: what is being drawn or dragged, or waits for its answer
  #grip = null;
  #tool = null;
  #corners = null;
  #at = null;

  constructor(view, options) {
    this.view = view;
    this.options = options;
    this.which = make("select", { title: "the processor whose regions these are", onchange: () => this.#know() });
    this.tools = DRAWN.map((kind) => make("button", { type: "button", text: kind, "data-kind": kind, "aria-pressed": "false", title: kind === "polygon" ? "click the corners, double click ends" : "drag it onto the image", onclick: () => this.#take(this.#tool === kind ? null : kind) }));
    this.bar = make("div", { class: "bar regions" }, "Regions", this.which, ...this.tools);
    this.list = make("div", { class: "regionlist" });
    view.canvas.before(this.bar, this.list);
    options.addEventListener("known", () => this.#know());
    view.addEventListener("drawn", ({ detail }) => this.#draw(detail));
    const { canvas } = view;
    const on = (kind, deed) => canvas.addEventListener(kind, (event) => deed(event) && (event.preventDefault(), event.stopImmediatePropagation()), { capture: true });
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#drag(event));
    on("pointerup", (event) => this.#release(event));
    on("dblclick", () => this.#close());
    on("keydown", (event) => this.#key(event));
    this.#know();
  }

  #know() {
    const options = this.options.known.filter((each) => each.path.endsWith(".regions") && each.type === "roi");
    fill(this.which, options.map((each) => [each.path, each.path.split(".")[1]]));
    this.which.hidden = options.length < 2;
    this.bar.hidden = this.list.hidden = !options.length;
    this.path = this.which.value;
    this.known = options.find((each) => each.path === this.path)?.value ?? {};
    for (const tool of this.tools) tool.disabled = !this.options.operator;
    if (this.chosen && !this.known[this.chosen] && this.#draft?.name !== this.chosen) this.chosen = null;
    this.#show();
  }

  #shown() {
    const all = Object.entries(this.known).filter(([name, region]) => region && name !== this.#draft?.name);
    if (this.#draft?.region) all.push([this.#draft.name, this.#draft.region]);
    return all.filter(([name, region]) => !this.#hidden.has(name) && kindOf(region));
  }

  #show() {
    const names = Object.keys(this.known).filter((name) => this.known[name]);
    const operator = this.options.operator;
    if (this.list.contains(document.activeElement) && document.activeElement.tagName === "INPUT") return this.view.draw();
    this.list.replaceChildren(...names.map((name, at) => {
      const label = make("input", { value: name, size: Math.max(4, name.length), title: "name: type another one to rename", disabled: !operator, onfocus: () => { this.chosen = name; this.view.draw(); }, onchange: () => this.#rename(name, label) });
      label.style.borderColor = this.known[name].colour ?? COLOURS[at % COLOURS.length];
      const eye = make("button", { type: "button", text: this.#hidden.has(name) ? "show" : "hide", onclick: () => { this.#hidden[this.#hidden.has(name) ? "delete" : "add"](name); this.#show(); } });
      return make("span", { "data-region": name, class: name === this.chosen ? "chosen" : "" }, label, eye, make("button", { type: "button", text: "×", title: `remove ${name}`, "aria-label": `remove ${name}`, disabled: !operator, onclick: () => this.#set(name, null) }));
    }));
    this.view.draw();
  }

  #take(kind) {
    this.#tool = kind;
    this.#corners = null;
    for (const tool of this.tools) tool.setAttribute("aria-pressed", tool.dataset.kind === kind);
    if (kind) this.view.canvas.focus();
  }

  // Ask for it; until the answer is there it is drawn as wished, dashed.
  async #set(name, region) {
    const seen = this.known[name] ?? null;
    this.#draft = { name, region, waits: true };
    if (!region) this.chosen = null;
    this.view.draw();
    await this.options.change(`${this.path}.${name}`, region, seen);
    this.#draft = null;
    this.#know();
  }

  async #rename(name, label) {
    const wanted = label.value.trim();
    label.blur();
    if (wanted === name) return;
    if (!NAME.test(wanted) || this.known[wanted] !== undefined) {
      label.value = name;
      this.options.say(`${wanted}: a name is a letter, then letters, digits and _; and no other region has it`, false);
      return;
    }
    const renamed = Object.fromEntries(Object.entries(this.known).map(([each, region]) => [each === name ? wanted : each, region]));
    const answer = await this.options.change(this.path, renamed, this.known);
    if (answer.ok) this.chosen = wanted;
    this.#know();
  }

  #add(region) {
    let number = 1;
    while (this.known[`region${number}`] !== undefined) number++;
    const name = `region${number}`;
    this.chosen = name;
    this.#set(name, { ...region, colour: COLOURS[(Object.keys(this.known).length) % COLOURS.length] });
  }

  #point(event) {
    const { row, column } = this.view.pixel(event);
    return [column, row];
  }

  // The handle or the region under the pointer.
  #under(event) {
    const box = this.view.canvas.getBoundingClientRect();
    const scale = this.view.canvas.width / box.width;
    const near = (NEAR[event.pointerType] ?? 9) * scale;
    const here = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const chosen = this.#shown().find(([name]) => name === this.chosen);
    if (chosen) {
      const at = kindOf(chosen[1]).handles(chosen[1]).findIndex(([x, y]) => {
        const place = this.view.place(y, x);
        return Math.hypot(place[0] - here[0], place[1] - here[1]) < near;
      });
      if (at >= 0) return { name: chosen[0], region: chosen[1], handle: at };
    }
    const point = this.#point(event);
    const found = this.#shown().findLast(([, region]) => inside(region, point));
    return found && { name: found[0], region: found[1], handle: null };
  }

  #press(event) {
    if (this.bar.hidden || this.#grip || event.button > 0) return false;
    const point = this.#point(event);
    this.view.canvas.focus();
    if (this.#tool === "polygon") {
      this.#corners = [...(this.#corners ?? []), point.map(Math.round)];
      this.view.draw();
      return true;
    }
    if (this.#draft) return false;
    if (this.#tool) this.#grip = { id: event.pointerId, from: point, tool: this.#tool };
    else {
      const under = this.#under(event);
      this.chosen = under?.name ?? null;
      if (under && this.options.operator) this.#grip = { id: event.pointerId, from: point, ...under };
      this.#show();
    }
    if (this.#grip) this.view.canvas.setPointerCapture(event.pointerId);
    return Boolean(this.#grip);
  }

  #drag(event) {
    this.#at = this.#point(event);
    if (this.#corners) this.view.draw();
    const grip = this.#grip;
    if (grip?.id !== event.pointerId) return false;
    const [dx, dy] = [this.#at[0] - grip.from[0], this.#at[1] - grip.from[1]];
    if (grip.tool) this.#draft = { name: "", region: begun(grip.tool, grip.from, this.#at) };
    else {
      const kind = kindOf(grip.region);
      const region = grip.handle === null ? kind.moved(grip.region, Math.round(dx), Math.round(dy)) : kind.pulled(grip.region, grip.handle, event.shiftKey || grip.region.angle ? this.#at : this.#at.map(Math.round));
      this.#draft = { name: grip.name, region };
    }
    this.view.draw();
    return true;
  }

  #release(event) {
    const grip = this.#grip;
    if (grip?.id !== event.pointerId) return false;
    this.#grip = null;
    const draft = this.#draft;
    this.#draft = null;
    if (draft && grip.tool) {
      this.#take(null);
      this.#add(draft.region);
    } else if (draft && JSON.stringify(draft.region) !== JSON.stringify(grip.region)) this.#set(draft.name, draft.region);
    else this.view.draw();
    return true;
  }

  #close() {
    if (!this.#corners) return false;
    const points = this.#corners.filter((each, at, all) => !at || each[0] !== all[at - 1][0] || each[1] !== all[at - 1][1]);
    this.#take(null);
    if (points.length >= 3) this.#add({ kind: "polygon", points });
    this.view.draw();
    return true;
  }

  #key(event) {
    if (event.key === "Escape" && (this.#tool || this.#corners)) {
      this.#take(null);
      this.view.draw();
      return true;
    }
    if (event.key === "Enter" && this.#corners) return this.#close();
    const region = this.chosen && this.known[this.chosen];
    if (!region || !kindOf(region) || !this.options.operator || this.#draft) return false;
    const step = event.shiftKey ? 10 : 1;
    const by = { ArrowUp: [0, -step], ArrowDown: [0, step], ArrowLeft: [-step, 0], ArrowRight: [step, 0] }[event.key];
    if (by) this.#set(this.chosen, kindOf(region).moved(region, ...by));
    else if (event.key === "Delete" || event.key === "Backspace") this.#set(this.chosen, null);
    else return false;
    return true;
  }

  #draw(context) {
    if (this.bar.hidden) return;
    const ratio = devicePixelRatio || 1;
    context.save();
    context.font = `${12 * ratio}px system-ui`;
    const path = (points) => points.forEach(([x, y], at) => context[at ? "lineTo" : "moveTo"](...this.view.place(y, x)));
    for (const [name, region] of this.#shown()) {
      const colour = region.colour ?? COLOURS[Math.max(0, Object.keys(this.known).indexOf(name)) % COLOURS.length];
      context.setLineDash(this.#draft?.name === name || region.role === "background" ? [5 * ratio, 4 * ratio] : []);
      for (const [width, stroke] of [[3.5, "#000a"], [1.6, colour]]) {
        context.lineWidth = width * ratio * (name === this.chosen ? 1.3 : 1);
        context.strokeStyle = stroke;
        context.beginPath();
        for (const points of kindOf(region).outline(region)) path(points);
        context.stroke();
      }
      const [[x, y]] = kindOf(region).outline(region)[0];
      context.fillStyle = colour;
      context.fillText(name, this.view.place(y, x)[0], this.view.place(y, x)[1] - 4 * ratio);
      if (name === this.chosen && this.options.operator) {
        for (const [hx, hy] of kindOf(region).handles(region)) {
          const [left, top] = this.view.place(hy, hx);
          context.fillRect(left - 4 * ratio, top - 4 * ratio, 8 * ratio, 8 * ratio);
        }
      }
    }
    if (this.#corners) {
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5 * ratio;
      context.beginPath();
      path([...this.#corners, ...(this.#at ? [this.#at] : [])]);
      context.stroke();
    }
    context.restore();
  }
}
