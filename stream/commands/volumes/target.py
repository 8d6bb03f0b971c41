"""The file of a volume: NeXus, (y, x, radial), written a block of radial bins at a time."""

import json
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from processors.mapping.layout import RADIAL_CHUNK
from processors.tomography.volume import Block
from sinks.file import nexus
from sinks.file.storage import BITSHUFFLE
from sinks.file.whole import whole_file
from stream.commands.volumes.source import Turned
from stream.events import Array

CHUNK_BYTES = 1 << 20


def write(
    path: Path,
    turned: Turned,
    blocks: Iterable[Block],
    size: int,
    *,
    rows: Mapping[str, Array],
    sinogram: Array,
    marks: Array,
    about: Mapping[str, Any],
    summary: str,
) -> None:
    """Everything into a file beside `path` first: a volume that was broken off never looks like one.

    rows: by projection (`angle`, `weight`, degrees). sinogram, marks: of the sum of all bins. about: JSON-like, how it
    was made; `source` is the file of the map.
    """
    with whole_file(path) as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "inbeam"})
        entry = nexus.group(file, "entry", "NXentry")
        entry.attrs["default"] = "volume"
        nexus.text(entry, "title", turned.title)
        _process(entry, about, summary)
        total = _volume(nexus.group(entry, "volume", "NXdata"), turned, blocks, size)
        _slice(nexus.group(entry, "slice", "NXdata"), turned, total, size)
        _sinogram(nexus.group(entry, "sinogram", "NXdata"), rows, sinogram, marks)


def _process(entry: Any, about: Mapping[str, Any], summary: str) -> None:
    process = nexus.group(entry, "reconstruction", "NXprocess")
    texts = {"program": "inbeam", "version": version("inbeam"), "date": nexus.iso_time(time.time())}
    for name, text in {**texts, "configuration": json.dumps(about), "summary": summary}.items():
        nexus.text(process, name, text)


def _volume(group: Any, turned: Turned, blocks: Iterable[Block], size: int) -> Array:
    """Returns the sum of all bins."""
    bins = len(turned.radial.values)
    radial = min(RADIAL_CHUNK, bins)
    chunk = (1, min(size, max(1, CHUNK_BYTES // (4 * radial))), radial)
    shape = (size, size, bins)
    volume = group.create_dataset("I", shape, "f4", chunks=chunk, fillvalue=np.nan, **BITSHUFFLE)
    volume.attrs.update({"interpretation": "spectrum", "long_name": "reconstructed", "units": turned.signal_unit})
    replaced = group.create_dataset("replaced", (bins,), "i4")
    replaced.attrs["long_name"] = "outliers replaced in the sinogram of each bin"
    total, any_bin = np.zeros((size, size)), np.zeros((size, size), bool)
    for block in blocks:
        end = block.first + len(block.replaced)
        volume[:, :, block.first : end] = block.pictures
        replaced[block.first : end] = block.replaced
        there = np.isfinite(block.pictures)
        total += np.where(there, block.pictures, 0.0).sum(axis=2)
        any_bin |= there.any(axis=2)
    _axes(group, turned, size, "I", ("y", "x", turned.radial.name))
    radial_axis = turned.radial
    nexus.array(group, radial_axis.name, radial_axis.values, radial_axis.unit, long_name=radial_axis.long_name)
    if turned.radial.edges is not None:
        nexus.array(group, f"{turned.radial.name}_edges", turned.radial.edges, turned.radial.unit)
    return np.where(any_bin, total, np.nan)


def _slice(group: Any, turned: Turned, total: Array, size: int) -> None:
    dataset = nexus.array(group, "total", total, turned.signal_unit, long_name="sum of all bins")
    dataset.attrs["interpretation"] = "image"
    _axes(group, turned, size, "total", ("y", "x"))


def _axes(group: Any, turned: Turned, size: int, signal: str, names: tuple[str, ...]) -> None:
    place = (np.arange(size) - (size - 1) / 2) * turned.step
    for name in ("y", "x"):
        nexus.array(group, name, place, turned.unit)
    group.attrs["signal"], group.attrs["axes"] = signal, list(names)
    for number, name in enumerate(names):
        group.attrs[f"{name}_indices"] = number


def _sinogram(group: Any, rows: Mapping[str, Array], sinogram: Array, marks: Array) -> None:
    dataset = nexus.array(group, "total", sinogram, long_name="sum of all bins")
    dataset.attrs["interpretation"] = "image"
    nexus.array(group, "marks", marks, long_name="0 measured, 1 interpolated, 2 outlier, 3 left out")
    for name, values in rows.items():
        nexus.array(group, name, values, "deg")
    nexus.array(group, "column", np.arange(sinogram.shape[1]))
    group.attrs["signal"], group.attrs["axes"] = "total", ["angle", "column"]
