// Regions of interest over the image: drawn, dragged, resized, turned and removed, with mouse, touch or keys. Each step is
// a change of an option of the run, which answers with the frame number from which on it holds.

import { Beam } from "./beam.js";
import { drawRegions } from "./regiondrawing.js";
import { RegionList, colourOf, nextColour } from "./regionlist.js";
import { Sender } from "./sender.js";
import { Since } from "./since.js";
import { DRAWN, begun, shapeOf } from "./shapes.js";
import { fill, keep, kept, labelled, make } from "./tools.js";

const NEAR = { mouse: 9, pen: 12, touch: 22 };
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export class Regions {
  path = "";
  known = {}; // name -> region, or null where its place is kept
  chosen = null;
  #wished = new Map(); // name -> region, or null, as long as the answer has not come
  #new = null; // what is being drawn
  #grip = null;
  #tool = null;
  #adding = ""; // the name of the one that was drawn last
  #corners = null;
  #at = null;

  constructor(view, options) {
    this.view = view;
    this.options = options;
    this.sender = new Sender(options, (path, answer) => this.#answered(path, answer));
    this.which = make("select", { title: "the processor whose regions these are", onchange: () => this.#know() });
    this.tools = DRAWN.map((kind) => make("button", { type: "button", text: kind, "data-kind": kind, "aria-pressed": "false", title: kind === "polygon" ? "click the corners, double click or Enter ends" : "drag it onto the image", onclick: () => this.#take(this.#tool === kind ? null : kind) }));
    this.beam = new Beam(view.link, () => this.show());
    this.since = new Since(view.link, () => this.path, () => Object.keys(this.known), () => this.show());
    this.live = make("input", { type: "checkbox", onchange: () => keep("live", this.live.checked) });
    this.live.checked = kept("live", true);
    this.bar = make("div", { class: "bar regions" }, "Regions", this.which, ...this.tools, labelled("in", this.beam.unit), labelled("while dragging", this.live));
    this.list = new RegionList(this);
    view.canvas.before(this.bar);
    view.canvas.after(this.list.element, this.list.fields); // below it: what grows there must not move what is dragged
    options.addEventListener("known", () => this.#know());
    view.addEventListener("drawn", ({ detail }) => this.#draw(detail));
    const on = (kind, deed) => view.canvas.addEventListener(kind, (event) => deed(event) && (event.preventDefault(), event.stopImmediatePropagation()), { capture: true });
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#drag(event));
    on("pointerup", (event) => this.#release(event));
    on("pointercancel", (event) => this.#release(event));
    on("dblclick", () => this.#close());
    on("keydown", (event) => this.#key(event));
    this.#know();
  }

  // Where the beam is, and how many pixels of the detector a finger covers.
  where() {
    return { ...this.beam.now, reach: 22 * this.view.window.perPoint() };
  }

  shape = (region) => shapeOf(region, this.where());
  shown = (name) => (this.#wished.has(name) ? this.#wished.get(name) : this.known[name]);
  waits = () => this.#wished.size > 0; // also for the answer to a removal
  names = () => [...new Set([...Object.keys(this.known), ...this.#wished.keys()])].filter(this.shown);

  choose(name) {
    this.chosen = name;
    this.show();
  }

  show() {
    this.beam.unit.parentElement.hidden = this.beam.unit.options.length < 2;
    this.list.show();
    this.view.draw();
  }

  // Ask for it; until the answer is there it is drawn as wished, dashed.
  wish(name, region) {
    this.#wished.set(name, region);
    this.sender.wish(`${this.path}.${name}`, region);
    if (!region && this.chosen === name) this.chosen = null;
    this.show();
  }

  #answered(path, answer) {
    const name = path.slice(path.lastIndexOf(".") + 1);
    const taken = !answer.ok && answer.value && this.#adding === name && this.#wished.get(name);
    if (taken) return this.#add(taken, name); // somebody else has drawn one of that name
    if (answer.ok) this.since.put(path, answer.frame);
    if (!answer.ok && this.#grip?.name === name) this.#grip = null; // somebody else has it, or it cannot be
    if (!this.sender.waits(path) && this.#grip?.name !== name) this.#wished.delete(name);
    this.#know();
  }

  #know() {
    const options = this.options.known.filter((each) => each.path.endsWith(".regions") && each.type === "roi");
    const before = this.path;
    fill(this.which, options.map((each) => [each.path, each.path.split(".")[1]]));
    this.which.hidden = options.length < 2;
    this.bar.hidden = this.list.element.hidden = !options.length;
    this.path = this.which.value;
    this.known = options.find((each) => each.path === this.path)?.value ?? {};
    for (const tool of this.tools) tool.disabled = !this.options.operator;
    if (this.chosen && !this.shown(this.chosen)) this.chosen = null;
    this.since.hear();
    if (this.path !== before) this.beam.survey(this.path.split(".")[1]);
    this.show();
  }

  #take(kind) {
    this.#tool = kind;
    this.#corners = null;
    for (const tool of this.tools) tool.setAttribute("aria-pressed", tool.dataset.kind === kind);
    if (kind) this.view.canvas.focus();
  }

  // gone: the name that it was not to have.
  #add(region, gone = "") {
    this.#wished.delete(gone);
    let number = 1;
    while (this.known[`region${number}`] !== undefined || this.#wished.has(`region${number}`)) number++;
    this.chosen = this.#adding = `region${number}`;
    this.wish(this.chosen, { ...region, colour: nextColour(Object.keys(this.known).length) });
  }

  // Those that can be drawn: [name, region, shape].
  #drawn = () => this.names().filter((name) => this.list.visible(name)).map((name) => [name, this.shown(name), this.shape(this.shown(name))]).filter(([, , shape]) => shape);

  #point = (event) => {
    const { row, column } = this.view.window.pixel(event);
    return [column, row];
  };

  // The handle or the region under the pointer.
  #under(event) {
    const point = this.#point(event), drawn = this.#drawn();
    const reach = (NEAR[event.pointerType] ?? 9) * this.view.window.perPoint();
    const chosen = drawn.find(([name]) => name === this.chosen);
    if (chosen) {
      const [name, region, shape] = chosen;
      const distances = shape.handles().map((each) => (each ? Math.hypot(each[0] - point[0], each[1] - point[1]) : Infinity));
      const nearest = Math.min(...distances);
      const handle = nearest < reach ? distances.indexOf(nearest) : shape.edge(point, reach / 2);
      if (handle !== null) return { name, region, handle };
    }
    const found = drawn.findLast(([, , shape]) => shape.has(point)) ?? drawn.findLast(([, , shape]) => shape.near(point, reach / 2));
    return found && { name: found[0], region: found[1], handle: null };
  }

  #press(event) {
    if (this.bar.hidden || event.button > 0) return false;
    if (this.#grip) return this.#second();
    const point = this.#point(event);
    this.view.canvas.focus();
    if (this.#tool === "polygon") {
      this.#corners = [...(this.#corners ?? []), point.map(Math.round)];
      this.view.draw();
      return true;
    }
    if (this.#tool) this.#grip = { from: point, tool: this.#tool };
    else {
      const under = this.#under(event);
      if (under && this.options.operator) this.#grip = { from: point, ...under };
      this.choose(under?.name ?? null);
    }
    if (!this.#grip) return false;
    Object.assign(this.#grip, { id: event.pointerId, event });
    this.view.canvas.setPointerCapture(event.pointerId);
    return true;
  }

  // A second finger: both zoom, and what the first one did is undone.
  #second() {
    const grip = this.#grip;
    this.#grip = this.#new = null;
    if (this.#wished.has(grip.name)) this.wish(grip.name, grip.region);
    this.view.gestures.hold(grip.event);
    return false;
  }

  #drag(event) {
    this.#at = this.#point(event);
    if (this.#corners) this.view.draw();
    const grip = this.#grip;
    if (grip?.id !== event.pointerId) return false;
    grip.event = event;
    if (grip.tool) this.#new = begun(grip.tool, grip.from, this.#at, this.where(), this.beam.unit.value);
    else {
      const shape = this.shape(grip.region), snaps = shape.onPixels && !event.shiftKey;
      const region = grip.handle === null ? shape.moved(grip.from, this.#at) : shape.pulled(grip.handle, snaps ? this.#at.map(Math.round) : this.#at);
      if (JSON.stringify(region) === JSON.stringify(this.shown(grip.name))) return true;
      if (this.live.checked) this.wish(grip.name, region);
      else this.#wished.set(grip.name, region);
    }
    this.show();
    return true;
  }

  #release(event) {
    const grip = this.#grip;
    if (grip?.id !== event.pointerId) return false;
    this.#grip = null;
    const drawn = this.#new;
    this.#new = null;
    if (grip.tool) this.#take(null);
    if (drawn) this.#add(drawn);
    else if (!grip.tool && !this.sender.waits(`${this.path}.${grip.name}`)) {
      if (JSON.stringify(this.shown(grip.name)) === JSON.stringify(this.known[grip.name])) this.#wished.delete(grip.name);
      else this.wish(grip.name, this.shown(grip.name));
    }
    this.show();
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
    if (this.bar.hidden) return false;
    if (event.key === "Escape" && (this.#tool || this.chosen)) {
      this.#take(null);
      this.choose(null);
      return true;
    }
    if (event.key === "Enter" && this.#corners) return this.#close();
    if (event.key === "Tab") {
      const names = this.#drawn().map(([name]) => name);
      const next = names[names.indexOf(this.chosen) + (event.shiftKey ? (this.chosen ? -1 : names.length) : 1)] ?? null;
      this.choose(next);
      return next !== null; // behind the last one the focus goes on
    }
    const shape = this.chosen && this.shape(this.shown(this.chosen));
    if (!shape || !this.options.operator || this.#grip) return false;
    const step = event.ctrlKey || event.altKey ? 10 : 1;
    const by = ARROWS[event.key]?.map((each) => each * step);
    if (by && event.shiftKey) this.wish(this.chosen, shape.resized(...by));
    else if (by) this.wish(this.chosen, shape.stepped(...this.view.window.along(...by)));
    else if (event.key === "Delete" || event.key === "Backspace") this.wish(this.chosen, null);
    else return false;
    return true;
  }

  #draw(context) {
    if (this.bar.hidden) return;
    const drawn = this.#drawn();
    if (this.#new) drawn.push(["", this.#new, this.shape(this.#new)]);
    const items = drawn.map(([name, region, shape]) => {
      const chosen = name === this.chosen, frame = chosen ? this.since.get(name) : undefined;
      return { text: frame === undefined ? name : `${name}, from frame ${frame} on`, shape, colour: colourOf(this, name), chosen, dashed: this.#wished.has(name) || region.role === "background", handles: chosen && this.options.operator };
    });
    drawRegions(context, this.view, items, this.#corners && [...this.#corners, ...(this.#at ? [this.#at] : [])]);
  }
}
