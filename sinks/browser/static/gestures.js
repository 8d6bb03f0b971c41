// Wheel, fingers, mouse and keys that move and zoom what is seen.

const STEP = 1.25;

export class Gestures {
  #fingers = new Map();

  // moved: called when the window has changed; canvas events that somebody else has used do not come here.
  constructor(canvas, viewport, moved) {
    this.canvas = canvas;
    this.window = viewport;
    this.moved = moved;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { row, column } = viewport.pixel(event);
      viewport.zoom(event.deltaY > 0 ? STEP : 1 / STEP, row, column);
      moved();
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.#whole());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.hold(event);
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.#fingers.delete(event.pointerId));
    canvas.addEventListener("pointermove", (event) => this.#pointer(event));
    canvas.addEventListener("keydown", (event) => !event.defaultPrevented && this.#key(event));
  }

  // A finger that was held by somebody else is ours now.
  hold(event) {
    this.#fingers.set(event.pointerId, { pointerId: event.pointerId, clientX: event.clientX, clientY: event.clientY });
  }

  #whole() {
    this.window.whole();
    this.moved();
  }

  #pointer(event) {
    const before = this.#fingers.get(event.pointerId);
    if (!before) return;
    const others = [...this.#fingers.values()].filter((each) => each.pointerId !== event.pointerId);
    const box = this.canvas.getBoundingClientRect(), { where } = this.window;
    if (others.length === 1) {
      const apart = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY) || 1;
      const half = (one) => ({ clientX: (one.clientX + others[0].clientX) / 2, clientY: (one.clientY + others[0].clientY) / 2 });
      this.#shift(half(before), half(event), box, where);
      const centre = this.window.pixel(half(event));
      this.window.zoom(apart(before) / apart(event), centre.row, centre.column);
    } else if (!others.length) this.#shift(before, event, box, where);
    this.hold(event);
    this.moved();
  }

  #shift(from, to, box, where) {
    this.window.move(((from.clientY - to.clientY) / box.height) * where.rows, ((from.clientX - to.clientX) / box.width) * where.columns);
  }

  #key(event) {
    const { rows, columns } = this.window.where, box = this.canvas.getBoundingClientRect();
    const zoom = (factor) => {
      const { row, column } = this.window.pixel({ clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 });
      this.window.zoom(factor, row, column);
    };
    const deeds = { "+": () => zoom(1 / STEP), "=": () => zoom(1 / STEP), "-": () => zoom(STEP), 0: () => this.window.whole(), ArrowUp: () => this.window.move(-rows / 10, 0), ArrowDown: () => this.window.move(rows / 10, 0), ArrowLeft: () => this.window.move(0, -columns / 10), ArrowRight: () => this.window.move(0, columns / 10) };
    if (!deeds[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    deeds[event.key]();
    this.moved();
  }
}
