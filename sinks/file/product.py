"""How a product is laid out in a NeXus file: NXdata with signal, axes and errors, NXprocess with its parameters."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import xxhash

from sinks.file import naming, nexus, provenance
from sinks.file.columns import Rows
from sinks.file.swmr import SwmrFile
from sinks.file.target import look
from stream.events import Detector, ScanStart
from stream.products import Axis, Product

TAKEN = ("instrument", "sample", "ledger", "provenance", "monitor", "reduction", "definition", "frames")
VOLATILE = ("device",)
"""Parameters that may change between two runs without changing what is computed."""
FLAGS = ("solid_angle_applied", "polarization_applied", "normalization_applied")
NXAZINT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "I": {"long_name": "intensity", "units": "arbitrary units"},
        "I_errors": {"long_name": "estimated intensity error", "units": "arbitrary units"},
        "norm": {
            "long_name": "number of pixels contributing to the corresponding bin",
            "units": "arbitrary units",
        },
        "azimuthal_axis": {"long_name": "azimuthal bin center"},
        "azimuthal_axis_edges": {"long_name": "azimuthal bin edges"},
    }
)
"""Attributes with the only values that NXazint1d.nxdl.xml and NXazint2d.nxdl.xml allow."""
REFERENCE = "G. Ashiotis et al., J. Appl. Cryst. 48 (2015) 510-519, doi:10.1107/S1600576715004306"


def stored_fields(product: Product) -> tuple[str, ...]:
    """The fields that have the same shape for every frame."""
    return tuple(field.name for field in product.fields if not field.ragged)


def group_names(products: Sequence[Product]) -> dict[str, str]:
    """Product name -> name of its group in /entry."""
    names: dict[str, str] = {}
    for product in products:
        name = nexus.safe_name(product.name)
        while name in TAKEN or name in names.values():
            name += "_"
        names[product.name] = name
    return names


def identity(product: Product) -> Any:
    """JSON-like: fields, axes and parameters; two runs that agree in it compute the same."""
    parameters = {name: value for name, value in product.parameters.items() if name not in VOLATILE}
    return [
        product.name,
        [[field.name, field.shape, field.dtype.str, field.unit] for field in product.fields],
        [[axis.name, axis.unit, xxhash.xxh3_64_hexdigest(axis.values.tobytes())] for axis in product.axes],
        provenance.plain(parameters),
    ]


def declare(file: SwmrFile, product: Product, name: str) -> dict[tuple[str, str], Rows]:
    """Make the NXdata and NXprocess of a product. Returns (product, field) -> rows."""
    root = file.layout
    made = nexus.group(root["entry"], name, "NXdata")
    kept = stored_fields(product)
    signal = product.signal if product.signal in kept else kept[0]
    rows: dict[tuple[str, str], Rows] = {}
    for field in product.fields:
        if field.name not in kept:
            continue
        shape = tuple(length for length in field.shape if length is not None)
        attributes = {"units": field.unit, "long_name": field.long_name or field.name}
        attributes["interpretation"] = {0: "scalar", 1: "spectrum"}.get(len(shape), "image")
        path = f"/entry/{name}/{field.name}"
        rows[product.name, field.name] = file.rows(
            path, shape, field.dtype, attributes={key: text for key, text in attributes.items() if text}
        )
    plotted = next(field for field in product.fields if field.name == signal)
    axes = product.axes if len(product.axes) == len(plotted.shape) else ()
    made.attrs["signal"] = signal
    made.attrs["axes"] = [".", *(axis.name for axis in axes)] if axes else ["."] * (len(plotted.shape) + 1)
    for position, axis in enumerate(axes):
        made.attrs[f"{axis.name}_indices"] = position + 1
        _axis(made, axis)
    for constant, values in product.constants.items():
        if constant not in made:
            nexus.array(made, constant, values)
    if product.definition.startswith("NXazint"):
        made.attrs["interpretation"] = "image" if len(plotted.shape) == 2 else "spectrum"
        for known, words in NXAZINT.items():
            if known in made:
                made[known].attrs.update(words)
    left_out = [field.name for field in product.fields if field.ragged]
    if left_out:
        made.attrs["not_stored"] = left_out
    _process(root["entry"], product, "reduction" if "reduction" not in root["entry"] else f"reduction_{name}")
    return rows


def as_used(detector: Detector, products: Sequence[Product]) -> Detector:
    """The detector with the wavelength that the results were computed with, which may not be the header's."""
    wavelength = products[0].parameters.get("wavelength_angstrom") if products else None
    if not wavelength or wavelength == detector.wavelength_angstrom:
        return detector
    return replace(detector, wavelength_angstrom=float(wavelength), energy_ev=None)


def describe_entry(entry: Any, product: Product) -> None:
    """What the application definition wants in the entry itself."""
    if product.definition:
        nexus.text(entry, "definition", product.definition)
    for flag in FLAGS:
        if flag in product.parameters:
            entry.create_dataset(flag, data=bool(product.parameters[flag]))


def link_archive(
    entry: Any, pattern: str, scan: ScanStart, here: Path, configuration: Mapping[str, Any] | None
) -> None:
    """Link the frames of the archive: /entry/frames, and /entry/instrument/detector/data for the first channel.

    Its file is the one that has this scan already, or the one that it will make: an archive begins with the first
    frame, after all sinks have started, and numbers its files.
    """
    path, found = look(pattern, scan)
    sinks = (configuration or {}).get("sinks") or ()
    if found is None and any(sink.get("path") == pattern and sink.get("if_exists") == "overwrite" for sink in sinks):
        path = naming.file_name(pattern, scan)
    target = os.path.relpath(path, here.parent)
    entry["frames"] = h5py.ExternalLink(target, "/entry/data")
    entry["instrument/detector/data"] = h5py.ExternalLink(target, "/entry/data/data")


def _axis(made: Any, axis: Axis) -> None:
    nexus.array(made, axis.name, axis.values, axis.unit, long_name=axis.long_name)
    if axis.edges is not None:
        edges = f"{axis.long_name or axis.name} bin edges"
        nexus.array(made, f"{axis.name}_edges", axis.edges, axis.unit, long_name=edges)


def _process(entry: Any, product: Product, name: str) -> None:
    made = nexus.group(entry, name, "NXprocess")
    nexus.text(made, "program", "inbeam")
    nexus.text(made, "version", version("inbeam"))
    nexus.text(made, "date", provenance.now())
    if product.definition.startswith("NXazint"):
        nexus.text(made, "reference", REFERENCE)
    _parameters(nexus.group(made, "input", "NXparameters"), provenance.plain(product.parameters))


def _parameters(group: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        name = nexus.safe_name(key)
        if name in group:
            continue
        if isinstance(value, Mapping):
            _parameters(nexus.group(group, name, "NXcollection"), value)
        elif isinstance(value, bool | int | float) or _numbers(value):
            group.create_dataset(name, data=value)
        else:
            nexus.text(group, name, "" if value is None else str(value))


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) in (int, float) for item in value)
