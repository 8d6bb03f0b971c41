// Where the beam is on the detector, and radii and azimuths: around a centre in pixels, or around the beam on the plane of a flat detector, as pyFAI has them.
// Each has `place` ([radius, azimuth] to [x, y], or null where it does not meet the detector's plane), `of` (the way
// back), and `round` for radii. Azimuths are degrees.

import { fill, make } from "./tools.js";

const degrees = (radians) => (radians * 180) / Math.PI;
const radians = (angle) => (angle * Math.PI) / 180;
const hundredth = (value) => Math.round(value * 100) / 100;

// Name of pyFAI -> what people read.
const UNITS = { px: "px", "q_nm^-1": "q, 1/nm", "q_A^-1": "q, 1/Å", "2th_deg": "2θ, °" };

function around(centre) {
  return {
    place: ([radius, azimuth]) => [centre[0] + radius * Math.cos(radians(azimuth)), centre[1] + radius * Math.sin(radians(azimuth))],
    of: ([x, y]) => [Math.hypot(x - centre[0], y - centre[1]), degrees(Math.atan2(y - centre[1], x - centre[0]))],
    round: hundredth,
  };
}

// From the scattering angle (radians) to the unit, and back; null for a unit that is not drawn.
function scale(unit, wavelength) {
  const lambda = { "q_nm^-1": wavelength / 10, "q_A^-1": wavelength }[unit];
  if (unit === "2th_deg") return { to: degrees, back: radians };
  if (!wavelength || !lambda) return null;
  return { to: (angle) => ((4 * Math.PI) / lambda) * Math.sin(angle / 2), back: (q) => 2 * Math.asin((q * lambda) / (4 * Math.PI)) };
}

const det = (a, b, c) => a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1]) + c[0] * (a[1] * b[2] - a[2] * b[1]);

function onPlane(plane, unit) {
  const angle = scale(unit, plane.wavelength_angstrom);
  if (!angle) return null;
  const { origin, column, row } = plane;
  const start = origin.map((value) => -value);
  return {
    // The ray with these angles, times s, is the place on the plane: origin + x column + y row = s ray.
    place([radius, azimuth]) {
      const [theta, chi] = [angle.back(radius), radians(azimuth)];
      const back = [-Math.sin(theta) * Math.cos(chi), -Math.sin(theta) * Math.sin(chi), -Math.cos(theta)];
      const whole = det(column, row, back);
      if (!(det(column, row, start) / whole > 0)) return null;
      return [det(start, row, back) / whole, det(column, start, back) / whole];
    },
    of([px, py]) {
      const [x, y, z] = [0, 1, 2].map((k) => origin[k] + px * column[k] + py * row[k]);
      return [angle.to(Math.atan2(Math.hypot(x, y), z)), degrees(Math.atan2(y, x))];
    },
    round: (value) => Number(value.toPrecision(6)),
  };
}

// where: {centre: [x, y] of the beam or null, plane: of the detector or null}. Null where this ring cannot be drawn.
export function polar({ unit = "px", center = null }, where) {
  if (unit !== "px") return where.plane && onPlane(where.plane, unit);
  const centre = center ?? where.centre;
  return centre && around(centre);
}

// Units in which rings can be drawn here.
const drawable = (where) => Object.keys(UNITS).filter((unit) => unit === "px" || (where.plane && onPlane(where.plane, unit)));

// What the scan says of it: the header's centre, the plane of the geometry that a product is measured with.
export class Beam {
  now = { centre: null, plane: null };
  #scan = {};
  #product = "";

  // told: called when something else is known.
  constructor(link, told) {
    this.link = link;
    this.told = told;
    this.unit = make("select", { title: "what rings and sectors are measured in" });
    link.addEventListener("scan", ({ detail }) => {
      this.#scan = detail.scan;
      this.survey(this.#product);
    });
    link.addEventListener("plane", ({ detail }) => detail.scan === this.#scan.uid && detail.product === this.#product && this.#lies({ ...this.now, plane: detail.plane }));
  }

  // Of this product from now on.
  survey(product) {
    this.#product = product;
    const { detector, products = [] } = this.#scan, centre = [detector?.beam_center_x_px, detector?.beam_center_y_px];
    this.#lies({ centre: centre.every(Number.isFinite) ? centre : null, plane: null });
    if (products.find((each) => each.name === product)?.geometry) this.link.say({ kind: "plane", product });
  }

  #lies(now) {
    this.now = now;
    fill(this.unit, drawable(now).map((unit) => [unit, UNITS[unit]]));
    this.told();
  }
}
