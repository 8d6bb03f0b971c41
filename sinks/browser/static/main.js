// The page: one connection, a panel for each kind of news; the next turn is asked for when this one is on the screen.

import { Alarms } from "./alarms.js";
import { Bands } from "./bands.js";
import { Counters } from "./counters.js";
import { Curves } from "./curves.js";
import { ImageView } from "./image.js";
import { Link } from "./link.js";
import { Options } from "./options.js";
import { Past } from "./past.js";
import { Record } from "./record.js";
import { RegionFile } from "./regionfile.js";
import { Regions } from "./regions.js";
import { Series } from "./series.js";
import { keep, kept, save } from "./tools.js";

const find = (id) => document.getElementById(id);
const link = new Link(kept("name", ""));
const detector = new ImageView(find("detector"), "detector", link, (source) => source.startsWith("image "));
const pictures = new ImageView(find("pictures"), "pictures", link, (source) => !source.startsWith("image "));
const curves = new Curves(find("curves"));
const series = new Series(find("series"));
const counters = new Counters(find("numbers"), find("ledger"), find("log"));
const options = new Options(find("options"), link);
const alarms = new Alarms(find("alarms"), find("alarm"), series, {
  saturated: () => (detector.past ? undefined : detector.saturated ?? undefined), // of the newest frame
  asks(wanted) {
    if (wanted === (detector.saturated !== null)) return;
    detector.saturated = wanted ? undefined : null;
    watch();
  },
});
new RegionFile(new Regions(detector, options), options);
const record = new Record(find("ledger"), find("jobs"));
const past = new Past(detector);
const bands = new Bands(curves, options, link);
curves.caption.after(bands.element);
curves.addEventListener("drawn", ({ detail }) => bands.draw(detail));
curves.addEventListener("chosen", () => bands.changed());
let role = "viewer";
let configuration = "";
let big = kept("big", false);

function watch() {
  const views = {};
  for (const each of [detector, pictures]) {
    Object.assign(views, each.views());
  }
  link.say({ kind: "watch", views });
}
for (const each of [detector, pictures]) each.addEventListener("moved", watch);

link.addEventListener("state", ({ detail }) => {
  const pill = find("link");
  pill.textContent = detail.open ? "connected" : detail.code === 4401 ? "wrong or missing token: see the address" : "not connected: trying again";
  pill.className = `pill ${detail.open ? "good" : "bad"}`;
  if (!detail.open) return;
  role = detail.role;
  configuration = detail.document;
  find("role").textContent = role;
});
link.addEventListener("scan", ({ detail: { scan } }) => {
  find("scan").textContent = scan.name === undefined ? "no scan yet" : `scan ${scan.name}`;
  document.title = scan.name === undefined ? "inbeam" : `${scan.name} – inbeam`;
  for (const each of [detector, pictures]) each.begin(scan);
  past.begin(scan);
  curves.begin(scan);
  series.begin();
});
link.addEventListener("image", ({ detail }) => "saturated" in detail && !detail.past && (detector.saturated = detail.saturated ?? undefined));
link.addEventListener("rows", ({ detail }) => series.take(detail));
link.addEventListener("curves", ({ detail }) => curves.take(detail));
link.addEventListener("turn", ({ detail }) => {
  if (detail.counters) {
    counters.take(detail.counters, series.numbers());
    alarms.check(detail.counters);
    find("status").textContent = detail.counters.status;
  }
  if (detail.log) counters.log(detail.log);
  if (detail.changes) counters.changed(detail.changes);
  if (detail.options) options.take(detail.options, detail.options_serial, role === "operator");
  for (const each of [detector, pictures]) each.offer(detail.sources);
  past.take(detail);
  record.take(detail);
  document.documentElement.dataset.frame = detail.frame ?? "";
  const shown = () => link.say({ kind: "shown" });
  if (document.hidden) shown();
  else requestAnimationFrame(shown);
});

function sized() {
  document.body.classList.toggle("big", big);
  find("big").setAttribute("aria-pressed", big);
}
find("big").addEventListener("click", () => {
  big = !big;
  keep("big", big);
  sized();
});
sized();
find("configuration").addEventListener("click", () => save("inbeam.yaml", configuration, "application/yaml"));
