// Sets of regions as files: the same JSON that `inbeam.dump_roi` writes and `inbeam.load_roi` and `regions_file` read.

import { make, save } from "./tools.js";

const MOST_BYTES = 16000; // of one change

export class RegionFile {
  constructor(regions, options) {
    this.regions = regions;
    this.options = options;
    this.input = make("input", { type: "file", accept: ".json,application/json", hidden: true, onchange: () => this.#load() });
    this.open = make("button", { type: "button", text: "load JSON", title: "take the regions of a file, in place of all of these", onclick: () => this.input.click() });
    regions.bar.append(make("button", { type: "button", text: "JSON", title: "save the regions: inbeam.load_roi and regions_file read them", onclick: () => this.#save() }), this.open, this.input);
    options.addEventListener("known", () => (this.open.disabled = !options.operator));
  }

  #save() {
    const regions = Object.fromEntries(Object.entries(this.regions.known).filter(([, region]) => region));
    save("regions.json", `${JSON.stringify({ inbeam_regions: 1, regions }, null, 1)}\n`, "application/json");
  }

  async #load() {
    const file = this.input.files[0];
    this.input.value = "";
    if (!file) return;
    try {
      const found = JSON.parse(await file.text());
      if (found.inbeam_regions !== 1 || typeof found.regions !== "object" || !found.regions) throw new Error('it must be {"inbeam_regions": 1, "regions": {...}}');
      if (JSON.stringify(found.regions).length > MOST_BYTES) throw new Error(`more than ${MOST_BYTES} characters at once: name it as regions_file`);
      await this.options.change(this.regions.path, found.regions);
    } catch (error) {
      this.options.say(`${file.name} holds no regions: ${error.message}`, false);
    }
  }
}
