// The radial axis of a pattern as it was computed, as q, 2θ or d, and the way back.

const radians = (degrees) => (degrees * Math.PI) / 180;
const degrees = (angle) => (angle * 180) / Math.PI;
const same = (value) => value;

// Unit of an axis -> to q in 1/nm and back; angles need the wavelength, in angstrom.
function toQ(unit, lambda) {
  if (unit === "1/nm") return [same, same];
  if (unit === "1/angstrom") return [(v) => 10 * v, (v) => v / 10];
  const angle = { degrees: [radians, degrees], rad: [same, same] }[unit];
  if (!angle || !lambda) return null;
  const scale = (40 * Math.PI) / lambda;
  return [(v) => scale * Math.sin(angle[0](v) / 2), (q) => angle[1](2 * Math.asin(Math.min(1, q / scale)))];
}

// {to, back, label}: values of the axis to what is shown. Where that cannot be had: as computed.
export function shownAs(axis, wavelength, wanted) {
  const plain = { to: same, back: same, label: axis.unit ? `${axis.name} (${axis.unit})` : axis.name };
  if (wanted === "as computed" || /chi|azimuth/i.test(axis.name)) return plain;
  const q = toQ(axis.unit, wavelength);
  if (wanted === "2θ" && axis.unit === "degrees") return { ...plain, label: "2θ (°)" };
  if (wanted === "2θ" && axis.unit === "rad") return { to: degrees, back: radians, label: "2θ (°)" };
  const target = { q: [same, same, "q (1/nm)"], d: [(v) => (20 * Math.PI) / v, (v) => (20 * Math.PI) / v, "d (Å)"] }[wanted];
  const angle = wanted === "2θ" && toQ("degrees", wavelength);
  const [to, back, label] = target ?? (angle ? [angle[1], angle[0], "2θ (°)"] : []);
  if (!q || !to) return plain;
  return { to: (v) => to(q[0](v)), back: (v) => q[1](back(v)), label };
}
