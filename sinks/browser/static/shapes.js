// Kinds of regions, as the processor `roi` has them: x is a column, y a row, from the outer corner of the first pixel.
// Each has: outline (points of lines, null where a line is broken), handles (places to drag), copies of itself that are
// moved, pulled at a handle, stepped and resized by keys, and the numbers that it is made of: [label, where, step].
// where: {centre, plane} of the beam (see beam.js) and reach, the pixels that a finger's width is.

import { polar } from "./beam.js";
import { ring, sector } from "./rings.js";

const radians = (degrees) => (degrees * Math.PI) / 180;
const round = (value) => Math.round(value * 100) / 100;
const both = (point) => point.map(round);
const half = (one, other) => both([(one[0] + other[0]) / 2, (one[1] + other[1]) / 2]);
const away = (one, other) => Math.hypot(other[0] - one[0], other[1] - one[1]);
const shift = (from, to) => [Math.round(to[0] - from[0]), Math.round(to[1] - from[1])];
const direction = (from, to) => round((Math.atan2(to[1] - from[1], to[0] - from[0]) * 180) / Math.PI);

function turned([x, y], [cx, cy], degrees) {
  const [c, s] = [Math.cos(radians(degrees)), Math.sin(radians(degrees))];
  return [cx + c * (x - cx) - s * (y - cy), cy + s * (x - cx) + c * (y - cy)];
}

const ordered = (one, other, least) => (one < other ? [round(one), round(Math.max(other, one + least))] : [round(other), round(Math.max(one, other + least))]);
const longer = ([first, behind], by) => [first, Math.max(round(behind + by), round(first + 1))];

const rectangle = {
  middle: ({ x, y }) => [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2],
  outline(region) {
    const { x, y, angle = 0 } = region, middle = this.middle(region);
    const corners = [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]];
    return [corners.map((each) => turned(each, middle, angle))];
  },
  // Four corners, the one that turns, four sides where there is room for them.
  handles(region, { reach }) {
    const { x, y, angle = 0 } = region, middle = this.middle(region), [corners] = this.outline(region);
    const sides = [0, 1, 2, 3].map((at) => {
      const long = at % 2 ? y[1] - y[0] : x[1] - x[0];
      return long > 2 * reach ? half(corners[at], corners[at + 1]) : null;
    });
    return [...corners.slice(0, 4), turned([middle[0], y[0] - reach], middle, angle), ...sides];
  },
  moved(region, from, to) {
    const [dx, dy] = shift(from, to);
    return this.stepped(region, dx, dy);
  },
  stepped: (region, dx, dy) => ({ ...region, x: region.x.map((v) => round(v + dx)), y: region.y.map((v) => round(v + dy)) }),
  resized: (region, dx, dy) => ({ ...region, x: longer(region.x, dx), y: longer(region.y, dy) }),
  pulled(region, at, point) {
    const middle = this.middle(region), angle = region.angle ?? 0, [corners] = this.outline(region);
    if (at === 4) return { ...region, angle: round(((direction(middle, point) + 90 + 540) % 360) - 180) };
    let fixed = corners[(at + 2) % 4], end = point;
    if (at > 4) { // a side: the end keeps its place along it
      const side = at - 5, own = turned(point, middle, -angle), corner = turned(corners[(side + 1) % 4], middle, -angle);
      fixed = corners[(side + 3) % 4];
      end = turned(side % 2 ? [own[0], corner[1]] : [corner[0], own[1]], middle, angle);
    }
    const centre = [(fixed[0] + end[0]) / 2, (fixed[1] + end[1]) / 2];
    const [one, other] = [turned(fixed, centre, -angle), turned(end, centre, -angle)];
    return { ...region, x: ordered(one[0], other[0], 1), y: ordered(one[1], other[1], 1) };
  },
  numbers: () => [["x", ["x", 0], 1], ["to", ["x", 1], 1], ["y", ["y", 0], 1], ["to", ["y", 1], 1], ["angle", ["angle"], 1]],
  begun: (from, to) => ({ kind: "rectangle", x: ordered(Math.round(from[0]), Math.round(to[0]), 1), y: ordered(Math.round(from[1]), Math.round(to[1]), 1) }),
};

const ellipse = {
  outline: ({ center, radii, angle = 0 }) => [Array.from({ length: 73 }, (_, at) => {
    const way = radians(5 * at);
    return turned([center[0] + radii[0] * Math.cos(way), center[1] + radii[1] * Math.sin(way)], center, angle);
  })],
  handles: ({ center, radii, angle = 0 }) => [turned([center[0] + radii[0], center[1]], center, angle), turned([center[0], center[1] + radii[1]], center, angle)],
  moved(region, from, to) {
    return this.stepped(region, ...shift(from, to));
  },
  stepped: (region, dx, dy) => ({ ...region, center: both([region.center[0] + dx, region.center[1] + dy]) }),
  resized: (region, dx, dy) => ({ ...region, radii: [Math.max(0.5, region.radii[0] + dx), Math.max(0.5, region.radii[1] + dy)] }),
  pulled(region, at, point) {
    const radii = [...region.radii];
    radii[at] = round(Math.max(0.5, away(region.center, point)));
    return { ...region, radii, angle: at ? region.angle ?? 0 : direction(region.center, point) };
  },
  numbers: () => [["centre x", ["center", 0], 1], ["y", ["center", 1], 1], ["half axes", ["radii", 0], 1], ["and", ["radii", 1], 1], ["angle", ["angle"], 1]],
  begun: (from, to) => ({ kind: "ellipse", center: half(from, to), radii: [0, 1].map((k) => round(Math.max(0.5, Math.abs(to[k] - from[k]) / 2))) }),
};

const MOST_FIELDS = 8;
const polygon = {
  outline: ({ points }) => [[...points, points[0]]],
  handles: ({ points }) => points,
  moved(region, from, to) {
    return this.stepped(region, ...shift(from, to));
  },
  stepped: (region, dx, dy) => ({ ...region, points: region.points.map(([x, y]) => both([x + dx, y + dy])) }),
  // So that the box around it gets wider and higher by so much, its first corner staying.
  resized(region, dx, dy) {
    const scaled = [dx, dy].map((by, k) => {
      const values = region.points.map((each) => each[k]), low = Math.min(...values), size = Math.max(...values) - low || 1;
      return (value) => round(low + ((value - low) * Math.max(1, size + by)) / size);
    });
    return { ...region, points: region.points.map((each) => each.map((value, k) => scaled[k](value))) };
  },
  pulled: (region, at, point) => ({ ...region, points: region.points.map((each, k) => (k === at ? both(point) : each)) }),
  numbers: ({ points }) => points.slice(0, MOST_FIELDS).flatMap((_, at) => [[`${at + 1}: x`, ["points", at, 0], 1], ["y", ["points", at, 1], 1]]),
};

const line = {
  across({ start, end, width = 1 }) {
    const length = away(start, end) || 1;
    return [(-(end[1] - start[1]) / length) * (width / 2), ((end[0] - start[0]) / length) * (width / 2)];
  },
  outline(region) {
    const { start, end } = region, across = this.across(region);
    const corner = (point, sign) => [point[0] + sign * across[0], point[1] + sign * across[1]];
    return [[corner(start, 1), corner(end, 1), corner(end, -1), corner(start, -1), corner(start, 1)]];
  },
  // Both ends, and the one for the width.
  handles(region) {
    const middle = half(region.start, region.end), across = this.across(region);
    return [region.start, region.end, [middle[0] + across[0], middle[1] + across[1]]];
  },
  moved(region, from, to) {
    return this.stepped(region, ...shift(from, to));
  },
  stepped: (region, dx, dy) => ({ ...region, start: both([region.start[0] + dx, region.start[1] + dy]), end: both([region.end[0] + dx, region.end[1] + dy]) }),
  resized: (region, dx, dy) => ({ ...region, end: both([region.end[0] + dx, region.end[1] + dy]) }),
  pulled(region, at, point) {
    if (at < 2) return { ...region, [at ? "end" : "start"]: both(point) };
    const { start, end } = region, length = away(start, end) || 1;
    const beside = ((point[1] - start[1]) * (end[0] - start[0]) - (point[0] - start[0]) * (end[1] - start[1])) / length;
    return { ...region, width: round(Math.max(1, 2 * Math.abs(beside))) };
  },
  numbers: () => [["from x", ["start", 0], 1], ["y", ["start", 1], 1], ["to x", ["end", 0], 1], ["y", ["end", 1], 1], ["width", ["width"], 1]],
  begun: (from, to) => ({ kind: "line", start: both(from), end: both(away(from, to) < 1 ? [from[0] + 1, from[1]] : to), width: 5 }),
};

const KINDS = { rectangle, ellipse, polygon, ring, sector, line };
export const DRAWN = Object.keys(KINDS);

// What can be done with a region here; null for one that cannot be drawn, such as a ring in q where no geometry is known.
export function shapeOf(region, where) {
  const kind = region && KINDS[region.kind];
  if (!kind || (kind.has && !polar(region, where))) return null;
  return {
    outline: () => kind.outline(region, where),
    handles: () => kind.handles(region, where),
    numbers: () => kind.numbers(region),
    moved: (from, to) => kind.moved(region, from, to, where),
    pulled: (at, point) => kind.pulled(region, at, point, where),
    stepped: (dx, dy) => kind.stepped(region, dx, dy, where),
    resized: (dx, dy) => kind.resized(region, dx, dy, where),
    onPixels: !region.angle && !kind.has,
    has(point) {
      const outline = kind.outline(region, where);
      return kind.has ? kind.has(region, point, where) : inside(outline[0], point);
    },
    // A ring is pulled wherever its edge is taken: the handle of that edge, or null.
    edge(point, reach) {
      if (!kind.has || region.azimuth) return null;
      const found = kind.outline(region, where).findIndex((points) => close(points, point, reach));
      return found < 0 ? null : 1 - found;
    },
    near: (point, reach) => kind.outline(region, where).some((points) => close(points, point, reach)),
  };
}

export const begun = (kind, from, to, where, unit) => KINDS[kind].begun(from, to, where, unit);

function inside(points, [x, y]) {
  let found = false;
  for (let at = 0, before = points.length - 1; at < points.length; before = at++) {
    const [[x1, y1], [x2, y2]] = [points[at], points[before]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) found = !found;
  }
  return found;
}

const close = (points, point, reach) => points.some((each, at) => at && each && points[at - 1] && beside(point, points[at - 1], each) < reach);

function beside([x, y], [x1, y1], [x2, y2]) {
  const long = (x2 - x1) ** 2 + (y2 - y1) ** 2 || 1;
  const at = Math.min(1, Math.max(0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / long));
  return Math.hypot(x - x1 - at * (x2 - x1), y - y1 - at * (y2 - y1));
}
