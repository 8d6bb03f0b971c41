"""What pyFAI-diffmap-view looks for, beside a map of patterns: links to it, and its integration as pyFAI describes one.

    /entry_0000                       soft link to /entry
    /entry/pyFAI/result               soft link to the map's NXdata, in which `map_ptr` is `frame_index`
    /entry/pyFAI/configuration/data   JSON, application "worker", version 5
    /entry/pyFAI/offset               0: frame numbers are the frames' own
    /entry/measurement/images_0001    soft link to the frames, where they are linked

As pyFAI/gui/pilx/MainWindow.py (`initData`) reads it; it knows no cakes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import h5py

from sinks.file import nexus
from stream.products import Product

NUMBERS = {"Distance": "dist", "Poni1": "poni1", "Poni2": "poni2", "Rot1": "rot1", "Rot2": "rot2", "Rot3": "rot3"}
POINTERS = "frame_index"
NAMES = ("pyFAI", "measurement")


def declare(
    file: Any, entry: Any, product: Product, group: str, others: Sequence[Product], shape: Sequence[int]
) -> None:
    """For a product that is a map of the patterns of one of the others. group: its name in the entry; shape: of the
    frames, (rows, columns). Nothing is made where the file has something else of these names, or one of these maps."""
    source = next((other for other in others if other.name == product.of), None)
    reduction = source.reduction if source is not None else None
    if source is None or reduction is None or not (reduction.poni and reduction.radial_unit) or len(source.axes) != 1:
        return
    if "entry_0000" in file or any(name in entry for name in NAMES):
        return
    data = entry[group]
    if data.attrs["NX_class"] != "NXdata":
        data = data[data.attrs["default"]]
    if POINTERS not in data or "map_ptr" in data:
        return
    data["map_ptr"] = data[POINTERS]
    made = nexus.group(entry, "pyFAI", "NXcollection")
    made["result"] = h5py.SoftLink(data.name)
    made["offset"] = 0
    note = nexus.group(made, "configuration", "NXnote")
    nexus.text(note, "type", "text/json")
    nexus.text(
        note, "data", json.dumps(worker(reduction.poni, reduction.radial_unit, len(source.axes[0].values), shape))
    )
    images = nexus.group(entry, "measurement", "NXcollection")
    if "instrument/detector/data" in entry:
        images["images_0001"] = h5py.SoftLink("/entry/instrument/detector/data")
    file["entry_0000"] = h5py.SoftLink("/entry")


def worker(poni: str, unit: str, bins: int, shape: Sequence[int]) -> Mapping[str, Any]:
    """The configuration of pyFAI's Worker, JSON-like. poni: text of a .poni file."""
    lines = [line.partition(":") for line in poni.splitlines() if ":" in line and not line.startswith("#")]
    told = {key.strip(): value.strip() for key, _, value in lines}
    geometry: dict[str, Any] = {name: float(told.get(key, 0.0)) for key, name in NUMBERS.items()}
    geometry |= {"poni_version": 2.1, "detector": told.get("Detector", "Detector")}
    geometry["detector_config"] = json.loads(told.get("Detector_config", "{}"))
    if told.get("Wavelength") not in (None, "None"):
        geometry["wavelength"] = float(told["Wavelength"])
    return {
        "application": "worker",
        "version": 5,
        "poni": geometry,
        "nbpt_rad": bins,
        "nbpt_azim": 1,
        "unit": unit,
        "shape": [int(size) for size in shape],
    }
