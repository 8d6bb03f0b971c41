// Colour maps and the way from values to colours.

const ANCHORS = {
  viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
  inferno: "0000040b0724210c4a3d096557106e71196e8a226aa32c61bc3754d24644e45a31f1731df98e09fcac11f9cb35f2ea69fcffa4",
  gray: "000000101010202020303030404040505050606060707070808080909090a0a0a0b0b0b0c0c0c0d0d0d0e0e0e0f0f0f0ffffff",
  "gray, dark on light": null,
  coolwarm: "3b4cc04e68d86282ea779af78db0fea3c2feb9d0f9ccd9eddddcdcecd3c5f5c4acf7b093f4987aeb7d62dd5f4bca3b37b40426",
};
export const MAPS = Object.keys(ANCHORS);
const LEVELS = 1024;
const MASKED = [0xff56483e, 0xff7e6e62]; // alpha, blue, green, red
const masked = (at, columns) => MASKED[((at % columns) + Math.floor(at / columns)) & 1];
const tables = new Map();

function table(name) {
  if (!tables.has(name)) {
    const invert = ANCHORS[name] === null;
    const text = ANCHORS[name] ?? ANCHORS.gray;
    const anchors = text.match(/../g).map((each) => parseInt(each, 16));
    const last = anchors.length / 3 - 1;
    const made = new Uint32Array(LEVELS);
    for (let level = 0; level < LEVELS; level++) {
      const place = (last * (invert ? LEVELS - 1 - level : level)) / (LEVELS - 1);
      const first = Math.min(Math.floor(place), last - 1);
      const [r, g, b] = [0, 1, 2].map((k) => anchors[3 * first + k] * (first + 1 - place) + anchors[3 * first + 3 + k] * (place - first));
      made[level] = (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r);
    }
    tables.set(name, made);
  }
  return tables.get(name);
}

// Limits that leave out the lowest and the highest `percent` of the values; from at most 40 000 of them.
export function percentiles(values, low, high) {
  const step = Math.max(1, Math.floor(values.length / 40000));
  const sample = [];
  for (let at = 0; at < values.length; at += step) if (Number.isFinite(values[at])) sample.push(values[at]);
  if (!sample.length) return [0, 1];
  const sorted = Float64Array.from(sample).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.max(0, Math.round((share / 100) * (sorted.length - 1))))];
  return [at(low), at(high)];
}

// value -> 0 ... 1. Below a logarithm's lower limit everything is the darkest colour.
export function scaling(kind, low, high) {
  if (kind === "log") {
    const from = low > 0 ? low : Math.min(1, high > 0 ? high / 1e4 : 1);
    const span = Math.log(Math.max(high, from * 1.0001) / from);
    return (value) => (value > from ? Math.log(value / from) / span : 0);
  }
  const span = high - low || 1;
  if (kind === "sqrt") return (value) => (value > low ? Math.sqrt((value - low) / span) : 0);
  return (value) => (value - low) / span;
}

// An ImageData of rows x columns; what is not a number is chequered, which no colour map is.
export function paint(values, rows, columns, { map, scale, low, high }) {
  const image = new ImageData(columns, rows);
  const out = new Uint32Array(image.data.buffer);
  const colours = table(map);
  const to = scaling(scale, low, high);
  for (let at = 0; at < out.length; at++) {
    const value = values[at];
    if (value !== value) out[at] = masked(at, columns);
    else out[at] = colours[Math.min(LEVELS - 1, Math.max(0, Math.round(to(value) * (LEVELS - 1))))];
  }
  return image;
}

// Three images as red, green and blue, each between its own limits; chequered where one of them has no number.
export function paintRgb(images, rows, columns, limits, scale) {
  const image = new ImageData(columns, rows);
  const out = new Uint32Array(image.data.buffer);
  const to = limits.map(([low, high]) => scaling(scale, low, high));
  for (let at = 0; at < out.length; at++) {
    const [r, g, b] = images.map((values, k) => Math.round(255 * Math.min(1, Math.max(0, to[k](values[at])))));
    out[at] = images.some((values) => Number.isNaN(values[at])) ? masked(at, columns) : ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
  return image;
}

export function ramp(canvas, map) {
  canvas.width = 256;
  canvas.height = 1;
  canvas.getContext("2d").putImageData(paint(Float32Array.from({ length: 256 }, (_, at) => at), 1, 256, { map, scale: "linear", low: 0, high: 255 }), 0, 0);
}
