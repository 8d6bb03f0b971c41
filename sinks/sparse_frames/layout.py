"""What does not change in a sparse file: geometry, recipe, provenance, in the places where pyFAI's readers look.

/entry                    NXentry, pyFAI_sparse_frames; entry_0000, pyFAI's own name, is a soft link to it
  sparse_frames           NXdata: radius, mask, dummy, script, [normalization]; those that grow: see growing.py
  peaks, counts           NXdata: growing
  late                    pixels of late frames until they are moved into their places
  sparsify                NXprocess: configuration/data is JSON {"geometry", "sparsify"}
  <beamline>              NXinstrument: detector, monochromator
  ledger                  see sinks.file.ledger_layout
"""

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from stream.events import Array, ScanStart
from stream.products import Product

ENTRY = "/entry"
FRAMES = f"{ENTRY}/sparse_frames"
PEAKS = f"{ENTRY}/peaks"
COUNTS = f"{ENTRY}/counts"
LATE = f"{ENTRY}/late"
TEXT_BYTES = 40

SCRIPT = """#python
import numpy
frames = []
masked = numpy.logical_not(numpy.isfinite(mask))
for number, background in enumerate(background_avg):
    dense = numpy.interp(mask, radius, background)
    if normalization is not None:
        dense *= normalization
    start, stop = frame_ptr[number:number + 2]
    dense.ravel()[index[start:stop]] = intensity[start:stop]
    if intensity.dtype.kind in "iu":
        dense = numpy.floor(numpy.nan_to_num(dense) + 0.5)
    dense[masked] = dummy
    frames.append(dense.astype(intensity.dtype))
"""
"""How to make frames again, in the file itself. Half counts round up, as fabio does and pyFAI's script does not."""


def text(value: str) -> Any:
    """Fixed-length bytes: readers of a growing file cannot follow variable-length strings."""
    return np.bytes_(value.encode("utf-8", "replace") or b" ")


def now_text() -> str:
    """Local time with its zone, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def version() -> str:
    """Of inbeam as installed."""
    return importlib.metadata.version("inbeam")


def declare_static(
    layout: Any, scan: ScanStart, product: Product, beamline: str, configuration: Mapping[str, Any] | None
) -> None:
    """Groups, attributes and constants; `layout` is the h5py.File being laid out."""
    layout.attrs.update(
        {
            "NX_class": "NXroot",
            "creator": f"pyFAI sparse frames by inbeam {version()}",  # fabio goes by the first word
            "default": ENTRY.strip("/"),
            "file_time": now_text(),
            "HDF5_Version": h5py.version.hdf5_version,
        }
    )
    entry = layout.require_group(ENTRY)
    entry.attrs.update({"NX_class": "NXentry", "default": "sparse_frames", "pyFAI_sparse_frames": FRAMES})
    layout["entry_0000"] = h5py.SoftLink(ENTRY)
    entry["program_name"] = text("inbeam")
    entry["title"] = text(scan.name)
    entry["start_time"] = text(scan.started or time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(scan.received)))
    _frames(layout.require_group(FRAMES), scan, product)
    _process(entry.require_group("sparsify"), product, configuration)
    _instrument(entry.require_group(beamline), product.sparse.instrument if product.sparse else {})


def link_source(layout: Any, source: str, target: str, datasets: list[tuple[str, str]]) -> None:
    """External links data_0001 ... to (file, dataset), relative to the file `target`."""
    group = layout[ENTRY].require_group("data")
    group.attrs["NX_class"] = "NXdata"
    folder = os.path.dirname(os.path.abspath(target))
    for number, (name, dataset) in enumerate(datasets, 1):
        group[f"data_{number:04d}"] = h5py.ExternalLink(os.path.relpath(os.path.abspath(name), folder), dataset)
    layout[f"{ENTRY}/sparsify/source"] = np.array([source.encode("utf-8", "replace")])


def _frames(group: Any, scan: ScanStart, product: Product) -> None:
    group.attrs.update({"NX_class": "NXdata", "signal": "background_avg", "axes": [".", "radius"]})
    unit, long_name = (product.sparse.radius_unit, product.sparse.radius_name) if product.sparse else ("", "")
    radius = group.create_dataset("radius", data=np.asarray(product.constants["radius"], np.float32))
    radius.attrs.update({"interpretation": "spectrum", "unit": unit, "long_name": long_name})
    mask = _image(group, "mask", np.asarray(product.constants["mask"], np.float32))
    mask.attrs.update({"interpretation": "image", "unit": unit})
    if "normalization" in product.constants:
        _image(group, "normalization", product.constants["normalization"]).attrs["interpretation"] = "image"
    group["script"] = text(SCRIPT)
    group["dummy"] = dummy_of(product, intensity_dtype(product))


def intensity_dtype(product: Product) -> np.dtype[Any]:
    """Type of the recorded counts."""
    return next(field.dtype for field in product.fields if field.name == "intensity")


def dummy_of(product: Product, dtype: np.dtype[Any]) -> Any:
    """The value of masked pixels in a restored frame: `dummy` if it fits the type, else 0 or NaN."""
    dummy = product.sparse.recipe.get("dummy") if product.sparse else None
    if dtype.kind == "f":
        return dtype.type(np.nan if dummy is None else dummy)
    info = np.iinfo(dtype)
    if dummy is None or not float(dummy).is_integer() or not info.min <= dummy <= info.max:
        return dtype.type(0)
    return dtype.type(int(dummy))


def _image(group: Any, name: str, image: Array) -> Any:
    return group.create_dataset(name, data=image, chunks=image.shape, **hdf5plugin.Bitshuffle(cname="lz4"))


def _process(group: Any, product: Product, configuration: Mapping[str, Any] | None) -> None:
    group.attrs["NX_class"] = "NXprocess"
    group["program"] = text("inbeam")
    group["sequence_index"] = 1
    group["version"] = text(version())
    group["date"] = text(now_text())
    group["argv"] = np.array([word.encode("utf-8", "replace") or b" " for word in sys.argv])
    group["argv"].attrs["help"] = "Command line arguments"
    group["cwd"] = text(os.getcwd())
    group["cwd"].attrs["help"] = "Working directory"
    note = group.require_group("configuration")
    note.attrs["NX_class"] = "NXnote"
    note["type"] = text("text/json")
    sparse = product.sparse
    told = {"geometry": sparse.geometry if sparse else {}, "sparsify": sparse.recipe if sparse else {}}
    note["data"] = text(json.dumps(told, indent=2, default=str))
    if configuration is not None:
        group["inbeam"] = text(json.dumps(configuration, indent=2, default=str))


def _instrument(group: Any, told: Mapping[str, Any]) -> None:
    group.attrs["NX_class"] = "NXinstrument"
    detector = group.require_group(told.get("detector") or "detector")
    detector.attrs["NX_class"] = "NXdetector"
    units = {"distance": "m", "x_pixel_size": "m", "y_pixel_size": "m"}
    for name, unit in {**units, "beam_center_x": "pixel", "beam_center_y": "pixel"}.items():
        if name in told:
            detector[name] = float(told[name])
            detector[name].attrs["units"] = unit
    if told.get("wavelength") is not None:
        monochromator = group.require_group("monochromator")
        monochromator.attrs["NX_class"] = "NXmonochromator"
        monochromator["wavelength"] = np.float32(told["wavelength"])
        monochromator["wavelength"].attrs["units"] = "Å"
