"""The file of a volume: density, tilts and completeness [x, y, z], as `topotomo` writes them."""

import json
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from processors.moments.positions import Motor
from processors.topotomography.geometry import Grid
from sinks.file import nexus
from sinks.file.storage import BITSHUFFLE
from sinks.file.whole import whole_file
from stream.events import Array


def write(
    path: Path,
    grid: Grid,
    fields: Mapping[str, Array],
    motors: Sequence[Motor],
    about: Mapping[str, Any],
    values: Mapping[str, Any],
) -> None:
    """Into a file beside `path` first. fields: float32 (x, y, z). about, values: how it was made, and the ini file."""
    units = {"density": "counts", "completeness": ""} | {each.direction.name: each.direction.unit for each in motors}
    with whole_file(path) as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "inbeam"})
        entry = nexus.group(file, "entry", "NXentry")
        entry.attrs["default"] = "topotomo_volume"
        nexus.text(entry, "title", path.stem)
        process = nexus.group(entry, "reconstruction", "NXprocess")
        texts = {"program": "inbeam", "version": version("inbeam"), "date": nexus.iso_time(time.time())}
        texts |= {"summary": about["summary"], "configuration": json.dumps(about), "ini": json.dumps(dict(values))}
        for name, text in texts.items():
            nexus.text(process, name, text)
        group = nexus.group(entry, "topotomo_volume", "NXdata")
        for name, array in fields.items():
            dataset = group.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), **BITSHUFFLE)
            dataset.attrs.update({"units": units[name], "long_name": name, "interpretation": "image"})
        for number, name in enumerate("xyz"):
            nexus.array(group, name, grid.axis(number), "um")
            group.attrs[f"{name}_indices"] = number
        group.attrs["signal"], group.attrs["axes"] = "density", list("xyz")
