// The window through which an image is seen: which part of it, and how it is turned.
// An image has rows and columns; across and down are the same on the screen, after flip and transpose.

const LEAST = 4; // pixels that are seen at the least

export class Viewport {
  full = null; // [rows, columns] of the image
  turned = { transpose: false, flipX: false, flipY: false };
  where = { top: 0, left: 0, rows: 1, columns: 1 }; // of the window, on the turned image
  isWhole = true;

  constructor(canvas) {
    this.canvas = canvas;
  }

  get size() {
    const [rows, columns] = this.full ?? [1, 1];
    return this.turned.transpose ? [columns, rows] : [rows, columns];
  }

  #turn(row, column) {
    const { transpose, flipX, flipY } = this.turned, [height, width] = this.size;
    const [down, across] = transpose ? [column, row] : [row, column];
    return [flipY ? height - down : down, flipX ? width - across : across];
  }

  #back(down, across) {
    const { transpose, flipX, flipY } = this.turned, [height, width] = this.size;
    const [v, u] = [flipY ? height - down : down, flipX ? width - across : across];
    return transpose ? [u, v] : [v, u];
  }

  // From the window to pixels of the image, and from them to the canvas.
  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const across = this.where.left + ((event.clientX - box.left) / box.width) * this.where.columns;
    const down = this.where.top + ((event.clientY - box.top) / box.height) * this.where.rows;
    const [row, column] = this.#back(down, across);
    return { row, column };
  }

  place(row, column) {
    const [down, across] = this.#turn(row, column);
    return [((across - this.where.left) / this.where.columns) * this.canvas.width, ((down - this.where.top) / this.where.rows) * this.canvas.height];
  }

  // For a canvas that is to be drawn on in columns and rows of the image.
  matrix() {
    const [[x, y], [right, below], [left, under]] = [this.place(0, 0), this.place(0, 1), this.place(1, 0)];
    return [right - x, below - y, left - x, under - y, x, y];
  }

  // A step on the screen, right and down, as [columns, rows] of the image.
  along(right, down) {
    const [here, there] = [this.#back(0, 0), this.#back(down, right)];
    return [there[1] - here[1], there[0] - here[0]];
  }

  // Pixels of the image in a point of the screen.
  perPoint() {
    return this.where.columns / Math.max(1, this.canvas.clientWidth);
  }

  // Rows and columns [first, last) that are seen; null where all are.
  part() {
    const { top, left, rows, columns } = this.where, [height, width] = this.size;
    if (!this.full || (rows >= height && columns >= width)) return null;
    const corners = [this.#back(top, left), this.#back(top + rows, left + columns)];
    return [0, 1].map((k) => {
      const [low, high] = [corners[0][k], corners[1][k]].sort((one, other) => one - other);
      const first = Math.min(this.full[k] - 1, Math.max(0, Math.floor(low)));
      return [first, Math.max(first + 1, Math.min(this.full[k], Math.ceil(high)))];
    });
  }

  whole() {
    const [rows, columns] = this.size, ratio = this.canvas.width / Math.max(1, this.canvas.height);
    const shown = ratio > columns / rows ? { rows, columns: rows * ratio } : { rows: columns / ratio, columns };
    this.where = { top: (rows - shown.rows) / 2, left: (columns - shown.columns) / 2, ...shown };
    this.isWhole = true;
  }

  zoom(factor, row, column) {
    const { where } = this, [down, across] = this.#turn(row, column);
    const limit = this.full ? 4 * Math.max(...this.full) : 1e6;
    const by = Math.min(limit / where.columns, Math.max(LEAST / Math.min(where.rows, where.columns), factor));
    this.where = { top: down - (down - where.top) * by, left: across - (across - where.left) * by, rows: where.rows * by, columns: where.columns * by };
    this.isWhole = false;
  }

  // On the screen, in pixels of the image.
  move(down, across) {
    this.where = { ...this.where, top: this.where.top + down, left: this.where.left + across };
    this.isWhole = false;
  }

  // The same pixel stays in the middle, at the same scale.
  turn(turned) {
    const { top, left, rows, columns } = this.where;
    const middle = this.#back(top + rows / 2, left + columns / 2);
    this.turned = turned;
    if (this.isWhole) return this.whole();
    const [down, across] = this.#turn(...middle);
    this.where = { ...this.where, top: down - rows / 2, left: across - columns / 2 };
  }

  // The canvas has another size: its middle and its scale stay, unless all is shown.
  resized(before) {
    if (this.isWhole || !before) return this.whole();
    const { top, left, rows, columns } = this.where, scale = columns / before;
    const shown = { rows: scale * this.canvas.height, columns: scale * this.canvas.width };
    this.where = { top: top + (rows - shown.rows) / 2, left: left + (columns - shown.columns) / 2, ...shown };
  }
}
