// Kinds of regions, as the processor `roi` has them: x is a column, y a row, from the outer corner of the first pixel.
// Each has: outline (points of closed or open lines), handles (places to drag), moved and pulled copies of itself.

const radians = (degrees) => (degrees * Math.PI) / 180;
const round = (value) => Math.round(value * 100) / 100;
const both = (point) => point.map(round);

function turned([x, y], [cx, cy], degrees) {
  const [c, s] = [Math.cos(radians(degrees)), Math.sin(radians(degrees))];
  return [cx + c * (x - cx) - s * (y - cy), cy + s * (x - cx) + c * (y - cy)];
}

function circle(centre, radius, from = 0, to = 360) {
  const count = Math.max(8, Math.ceil((to - from) / 4));
  return Array.from({ length: count + 1 }, (_, at) => {
    const angle = radians(from + ((to - from) * at) / count);
    return [centre[0] + radius * Math.cos(angle), centre[1] + radius * Math.sin(angle)];
  });
}

const ordered = (one, other, least) => (one < other ? [round(one), round(Math.max(other, one + least))] : [round(other), round(Math.max(one, other + least))]);

const rectangle = {
  middle: ({ x, y }) => [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2],
  outline(region) {
    const { x, y, angle = 0 } = region, middle = this.middle(region);
    const corners = [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]];
    return [corners.map((each) => turned(each, middle, angle))];
  },
  handles(region) {
    const middle = this.middle(region), [corners] = this.outline(region);
    return [...corners.slice(0, 4), turned([middle[0], region.y[0] - 0.15 * (region.y[1] - region.y[0])], middle, region.angle ?? 0)];
  },
  moved: (region, dx, dy) => ({ ...region, x: region.x.map((v) => round(v + dx)), y: region.y.map((v) => round(v + dy)) }),
  pulled(region, at, point) {
    const middle = this.middle(region), angle = region.angle ?? 0;
    if (at === 4) return { ...region, angle: round((Math.atan2(point[1] - middle[1], point[0] - middle[0]) * 180) / Math.PI + 90) };
    const fixed = this.outline(region)[0][(at + 2) % 4];
    const centre = [(fixed[0] + point[0]) / 2, (fixed[1] + point[1]) / 2];
    const [one, other] = [turned(fixed, centre, -angle), turned(point, centre, -angle)];
    return { ...region, x: ordered(one[0], other[0], 1), y: ordered(one[1], other[1], 1) };
  },
  begun: (from, to) => ({ kind: "rectangle", x: ordered(Math.round(from[0]), Math.round(to[0]), 1), y: ordered(Math.round(from[1]), Math.round(to[1]), 1) }),
};

const ellipse = {
  outline: ({ center, radii, angle = 0 }) => [circle([0, 0], 1).map(([x, y]) => turned([center[0] + radii[0] * x, center[1] + radii[1] * y], center, angle))],
  handles: ({ center, radii, angle = 0 }) => [turned([center[0] + radii[0], center[1]], center, angle), turned([center[0], center[1] + radii[1]], center, angle)],
  moved: (region, dx, dy) => ({ ...region, center: both([region.center[0] + dx, region.center[1] + dy]) }),
  pulled(region, at, point) {
    const away = Math.hypot(point[0] - region.center[0], point[1] - region.center[1]);
    const radii = [...region.radii];
    radii[at] = round(Math.max(0.5, away));
    const angle = at ? region.angle : round((Math.atan2(point[1] - region.center[1], point[0] - region.center[0]) * 180) / Math.PI);
    return { ...region, radii, angle };
  },
  begun: (from, to) => ({ kind: "ellipse", center: both([(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]), radii: [0, 1].map((k) => round(Math.max(0.5, Math.abs(to[k] - from[k]) / 2))) }),
};

const polygon = {
  outline: ({ points }) => [[...points, points[0]]],
  handles: ({ points }) => points,
  moved: (region, dx, dy) => ({ ...region, points: region.points.map(([x, y]) => both([x + dx, y + dy])) }),
  pulled: (region, at, point) => ({ ...region, points: region.points.map((each, k) => (k === at ? both(point) : each)) }),
};

const ring = {
  outline({ center, radius, azimuth }) {
    const [from, to] = azimuth ?? [0, 360];
    const [inner, outer] = radius.map((each) => circle(center, each, from, to));
    return azimuth ? [[...outer, ...inner.reverse(), outer[0]]] : [outer, inner];
  },
  handles({ center, radius, azimuth }) {
    const angle = radians(azimuth ? (azimuth[0] + azimuth[1]) / 2 : 0);
    return radius.map((each) => [center[0] + each * Math.cos(angle), center[1] + each * Math.sin(angle)]);
  },
  moved: (region, dx, dy) => ({ ...region, center: both([region.center[0] + dx, region.center[1] + dy]) }),
  pulled(region, at, point) {
    const away = Math.max(0.5, Math.hypot(point[0] - region.center[0], point[1] - region.center[1]));
    return { ...region, radius: ordered(at ? region.radius[0] : away, at ? away : region.radius[1], 0.5) };
  },
  begun(from, to) {
    const outer = Math.max(2, Math.hypot(to[0] - from[0], to[1] - from[1]));
    return { kind: "ring", center: both(from), radius: [round(0.7 * outer), round(outer)] };
  },
};

const line = {
  outline({ start, end, width = 1 }) {
    const length = Math.hypot(end[0] - start[0], end[1] - start[1]) || 1;
    const across = [(-(end[1] - start[1]) / length) * (width / 2), ((end[0] - start[0]) / length) * (width / 2)];
    const corner = (point, sign) => [point[0] + sign * across[0], point[1] + sign * across[1]];
    return [[corner(start, 1), corner(end, 1), corner(end, -1), corner(start, -1), corner(start, 1)]];
  },
  handles: ({ start, end }) => [start, end],
  moved: (region, dx, dy) => ({ ...region, start: both([region.start[0] + dx, region.start[1] + dy]), end: both([region.end[0] + dx, region.end[1] + dy]) }),
  pulled: (region, at, point) => ({ ...region, [at ? "end" : "start"]: both(point) }),
  begun: (from, to) => ({ kind: "line", start: both(from), end: both(Math.hypot(to[0] - from[0], to[1] - from[1]) < 1 ? [from[0] + 1, from[1]] : to), width: 5 }),
};

const KINDS = { rectangle, ellipse, polygon, ring, sector: ring, line };
export const DRAWN = ["rectangle", "ellipse", "polygon", "ring", "line"];

// Null for what cannot be drawn here: rings around the beam in a unit of pyFAI.
export function kindOf(region) {
  if (!region || (region.kind in { ring: 0, sector: 0 } && (!region.center || (region.unit ?? "px") !== "px"))) return null;
  return KINDS[region.kind] ?? null;
}

export const begun = (kind, from, to) => KINDS[kind].begun(from, to);

export function inside(region, [x, y]) {
  let found = false;
  for (const points of kindOf(region).outline(region)) {
    for (let at = 0, before = points.length - 1; at < points.length; before = at++) {
      const [[x1, y1], [x2, y2]] = [points[at], points[before]];
      if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) found = !found;
    }
  }
  return found;
}
