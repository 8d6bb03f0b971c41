// Rings and sectors, as shapes.js has the other kinds.

import { polar } from "./beam.js";

const both = (point) => point.map((value) => Math.round(value * 100) / 100);
const SHORTEST = 1; // degrees
const STEPS = 90;

// Signed, so that a sector may lie across the end of the scale.
const turn = (from, to) => ((((to - from + 180) % 360) + 360) % 360) - 180;
const limits = ([one, other], { round }, least) => {
  const low = Math.min(one, other);
  return [round(Math.max(0, low)), round(Math.max(one, other, low + least))];
};
const azimuths = (from, to) => {
  const span = Math.min(360, Math.max(SHORTEST, to - from));
  const shift = 360 * Math.round((from + span / 2) / 360);
  return both([from - shift, from + span - shift]);
};
const middle = ({ azimuth }) => (azimuth ? (azimuth[0] + azimuth[1]) / 2 : 0);

// The change of radius that a step of so many pixels makes there.
function perPixel(region, axes) {
  const outer = axes.place([region.radius[1], middle(region)]);
  if (!outer) return region.radius[1] / 1000;
  const [right, left] = [1, -1].map((step) => axes.of([outer[0] + step, outer[1]])[0]);
  const [down, up] = [1, -1].map((step) => axes.of([outer[0], outer[1] + step])[0]);
  return Math.hypot(right - left, down - up) / 2 || region.radius[1] / 1000;
}

function arc(radius, region, axes) {
  const [from, to] = region.azimuth ?? [0, 360];
  const count = Math.max(12, Math.ceil((STEPS * (to - from)) / 360));
  return Array.from({ length: count + 1 }, (_, at) => axes.place([radius, from + ((to - from) * at) / count]));
}

const pixels = (region) => (region.unit ?? "px") === "px";

export const ring = {
  outline(region, where) {
    const axes = polar(region, where);
    const [inner, outer] = region.radius.map((each) => arc(each, region, axes));
    return region.azimuth && region.azimuth[1] - region.azimuth[0] < 360 ? [[...outer, ...inner.reverse(), outer[0]]] : [outer, inner];
  },
  has(region, point, where) {
    const [radius, azimuth] = polar(region, where).of(point);
    const [from, to] = region.azimuth ?? [0, 360];
    return radius >= region.radius[0] && radius < region.radius[1] && (((azimuth - from) % 360) + 360) % 360 < to - from;
  },
  handles(region, where) {
    const axes = polar(region, where), half = (region.radius[0] + region.radius[1]) / 2;
    const found = region.radius.map((each) => axes.place([each, middle(region)]));
    return region.azimuth ? [...found, ...region.azimuth.map((each) => axes.place([half, each]))] : found;
  },
  moved(region, from, to, where) {
    if (pixels(region)) {
      const centre = region.center ?? where.centre;
      return { ...region, center: both([0, 1].map((k) => centre[k] + Math.round(to[k] - from[k]))) };
    }
    const axes = polar(region, where);
    const [[r0, a0], [r1, a1]] = [axes.of(from), axes.of(to)];
    const by = Math.max(r1 - r0, -region.radius[0]);
    const radius = region.radius.map((each) => axes.round(each + by));
    if (!region.azimuth) return { ...region, radius };
    const [first, last] = region.azimuth;
    return { ...region, radius, azimuth: azimuths(first + turn(a0, a1), last + turn(a0, a1)) };
  },
  pulled(region, at, point, where) {
    const axes = polar(region, where), [radius, azimuth] = axes.of(point);
    const least = perPixel(region, axes);
    if (at < 2) return { ...region, radius: limits([region.radius[1 - at], at ? Math.max(radius, region.radius[0] + least) : Math.min(radius, region.radius[1] - least)], axes, least) };
    const [first, last] = region.azimuth;
    const moved = (at === 2 ? first : last) + turn(at === 2 ? first : last, azimuth);
    return { ...region, azimuth: at === 2 ? azimuths(Math.max(Math.min(moved, last - SHORTEST), last - 360), last) : azimuths(first, Math.min(Math.max(moved, first + SHORTEST), first + 360)) };
  },
  stepped(region, dx, dy, where) {
    if (pixels(region)) return this.moved(region, [0, 0], [dx, dy], where);
    const axes = polar(region, where), step = perPixel(region, axes);
    const by = Math.max((region.azimuth ? dx : dx - dy) * step, -region.radius[0]);
    const radius = region.radius.map((each) => axes.round(each + by));
    return { ...region, radius, ...(region.azimuth && { azimuth: azimuths(...region.azimuth.map((each) => each + dy)) }) };
  },
  resized(region, dx, dy, where) {
    const axes = polar(region, where), step = perPixel(region, axes);
    const outer = Math.max(region.radius[1] + (region.azimuth ? dx : dx + dy) * step, region.radius[0] + step);
    const azimuth = region.azimuth && azimuths(region.azimuth[0] - dy / 2, region.azimuth[1] + dy / 2);
    return { ...region, radius: [region.radius[0], axes.round(outer)], ...(azimuth && { azimuth }) };
  },
  numbers(region) {
    const step = pixels(region) ? 1 : "any";
    const centre = pixels(region) ? [["centre x", ["center", 0], 1], ["y", ["center", 1], 1]] : [];
    const round = region.azimuth ? [["azimuth", ["azimuth", 0], 1], ["to", ["azimuth", 1], 1]] : [];
    return [...centre, ["radius", ["radius", 0], step], ["to", ["radius", 1], step], ...round];
  },
  begun(from, to, where, unit) {
    const region = unit === "px" ? { kind: "ring", center: both(from) } : { kind: "ring", unit };
    const axes = polar(region, where);
    const ends = unit === "px" ? [0.7, 1].map((share) => share * axes.of(to)[0]) : [from, to].map((each) => axes.of(each)[0]);
    return { ...region, radius: limits(ends, axes, perPixel({ radius: ends }, axes)) };
  },
};

export const sector = {
  ...ring,
  // Corner to corner around the beam; where that is not known, from the tip to the middle of the outer arc.
  begun(from, to, where, unit) {
    const known = unit !== "px" || where.centre;
    const region = { kind: "sector", ...(unit === "px" ? { center: both(where.centre ?? from) } : { unit }) };
    const axes = polar(region, where), [[r0, a0], [r1, a1]] = [axes.of(from), axes.of(to)];
    const radius = limits(known ? [r0, r1] : [0.5 * r1, r1], axes, perPixel({ radius: [r0, r1] }, axes));
    const by = turn(a0, a1);
    return { ...region, radius, azimuth: known ? azimuths(Math.min(a0, a0 + by), Math.max(a0, a0 + by)) : azimuths(a1 - 15, a1 + 15) };
  },
};
