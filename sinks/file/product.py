"""How a product is laid out in a NeXus file: NXdata with signal, axes and errors, NXprocess with its parameters."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import xxhash

from sinks.file import nexus, provenance
from sinks.file.columns import Rows
from sinks.file.swmr import SwmrFile
from stream.events import Detector
from stream.products import Axis, Product
from stream.versions import version

OURS = ("instrument", "sample", "ledger", "provenance", "monitor", "readings", "changes", "frames", "data")
STANDARD = (
    *("title", "experiment_identifier", "experiment_description", "experiment_documentation", "collection_identifier"),
    *("collection_description", "entry_identifier", "entry_identifier_uuid", "features", "definition"),
    *("definition_local", "start_time", "end_time", "duration", "collection_time", "run_cycle", "program_name"),
    *("revision", "pre_sample_flightpath", "notes", "thumbnail"),
)
"""Names with a meaning of their own in NXentry."""
FLAGS = ("solid_angle_applied", "polarization_applied", "normalization_applied", "monitor_applied")
TAKEN = frozenset((*OURS, *STANDARD, *FLAGS))
"""Names in /entry that no product's group can have."""
NXAZINT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "I": {"long_name": "intensity", "units": "arbitrary units"},
        "I_errors": {"long_name": "estimated intensity error", "units": "arbitrary units"},
        "norm": {
            "long_name": "effective number of pixels contributing to the corresponding bin",
            "units": "arbitrary units",
        },
        "azimuthal_axis": {"long_name": "azimuthal bin center"},
        "azimuthal_axis_edges": {"long_name": "azimuthal bin edges"},
    }
)
"""Attributes with the only values that NXazint1d.nxdl.xml and NXazint2d.nxdl.xml allow."""
REDUCTION = ("definition", "poni", "radial_unit")
"""Of a product's `Reduction`, what its parameters say too, or its definition."""
REFERENCE = "G. Ashiotis et al., J. Appl. Cryst. 48 (2015) 510-519, doi:10.1107/S1600576715004306"


def stored_fields(product: Product) -> tuple[str, ...]:
    """The fields of one row per frame that have the same shape for every frame."""
    return tuple(field.name for field in product.fields if field.per == "frame" and not field.ragged)


def group_names(products: Sequence[Product]) -> dict[str, str]:
    """Product name -> name of its group in /entry: the product's own, with "_" where that has a meaning already."""
    names: dict[str, str] = {}
    for position, product in enumerate(products):
        name = nexus.safe_name(product.name)
        if name.startswith("reduction"):  # NXprocess groups are reduction, reduction_NAME ...
            name = f"_{name}"
        while name in names.values() or (name in TAKEN and (name, position) != ("data", 0)):
            name += "_"
        names[product.name] = name
    return names


def main_first(products: Sequence[Product], detector: Detector) -> list[Product]:
    """The product that the entry is about (its definition, its default plot) before all others: the first that fits an
    application definition, else the first that has something to plot, else the first."""
    return sorted(products, key=lambda product: (not definition_of(product, detector), not product.signal))


def definition_of(product: Product, detector: Detector) -> str:
    """The application definition that the product fits, or "". NXazint knows no radius but q and 2theta, and asks for
    the wavelength, which only q needs."""
    if product.reduction is None:
        return ""
    wavelength = product.reduction.wavelength_angstrom or detector.wavelength_angstrom
    if product.axes[-1].long_name not in ("q", "2theta") or not (wavelength or detector.energy_ev):
        return ""
    return product.reduction.definition


def identity(product: Product) -> Any:
    """JSON-like: fields, axes and parameters; two runs that agree in it compute the same."""
    return [
        product.name,
        [[field.name, field.per, field.shape, field.dtype.str, field.unit] for field in product.fields],
        [[axis.name, axis.unit, xxhash.xxh3_64_hexdigest(axis.values.tobytes())] for axis in product.axes],
        None if product.reduction is None else provenance.plain(asdict(product.reduction)),
        product.recipe or provenance.plain(product.parameters),
    ]


def declare(file: SwmrFile, product: Product, name: str) -> dict[tuple[str, str], Rows]:
    """Make the NXdata and NXprocess of a product. Returns (product, field) -> rows."""
    root = file.layout
    made = nexus.group(root["entry"], name, "NXdata")
    kept = stored_fields(product)
    per_scan = {field.name for field in product.fields if field.per == "scan"}
    signal = product.signal if product.signal in (*kept, *per_scan) else [*kept, *per_scan][0]
    rows: dict[tuple[str, str], Rows] = {}
    for field in product.fields:
        if field.name not in kept:
            continue
        shape = tuple(length for length in field.shape if length is not None)
        attributes = {"units": field.unit, "long_name": field.long_name or field.name}
        attributes["interpretation"] = field.interpretation or {0: "scalar", 1: "spectrum"}.get(len(shape), "image")
        path = f"/entry/{name}/{field.name}"
        rows[product.name, field.name] = file.rows(
            path, shape, field.dtype, attributes={key: text for key, text in attributes.items() if text}
        )
    plotted = next(field for field in product.fields if field.name == signal)
    axes = product.axes if len(product.axes) == len(plotted.shape) else ()
    made.attrs["signal"] = signal
    frames = () if signal in per_scan else (".",)
    made.attrs["axes"] = [*frames, *(axis.name for axis in axes)] if axes else [*frames, *("." * len(plotted.shape))]
    for position, axis in enumerate(axes):
        made.attrs[f"{axis.name}_indices"] = position + len(frames)
        if axis.name not in per_scan:
            _axis(made, axis)
    for constant, values in product.constants.items():
        if constant not in made:
            nexus.array(made, constant, values)
    if product.places:
        made.attrs["places"] = product.places
    if product.reduction is not None:
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
    reduction = products[0].reduction if products else None
    wavelength = reduction.wavelength_angstrom if reduction is not None else None
    if not wavelength or wavelength == detector.wavelength_angstrom:
        return detector
    return replace(detector, wavelength_angstrom=float(wavelength), energy_ev=None)


def describe_entry(entry: Any, product: Product, definition: str) -> None:
    """What the application definition wants in the entry (or subentry) itself."""
    if definition:
        nexus.text(entry, "definition", definition)
    if product.reduction is not None:
        for flag in FLAGS:
            entry.create_dataset(flag, data=bool(asdict(product.reduction)[flag]))


def link_archive(entry: Any, archived: Path, here: Path, datasets: Collection[str]) -> None:
    """Link the archive's `datasets`: all in /entry/frames, the first as /entry/instrument/detector/data too.

    /entry/frames is a collection: a second NXdata in an entry would have to fit the entry's definition.
    """
    target = os.path.relpath(archived, here.parent)
    frames = nexus.group(entry, "frames", "NXcollection")
    for dataset in datasets:
        frames[dataset.rsplit("/", 1)[1]] = h5py.ExternalLink(target, dataset)
    entry["instrument/detector/data"] = h5py.ExternalLink(target, next(iter(datasets)))


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
    if product.reduction is not None:
        nexus.text(made, "reference", REFERENCE)
    given = {**product.parameters, **({"device": product.device} if product.device else {})}
    if product.reduction is not None:
        given |= {name: value for name, value in asdict(product.reduction).items() if name not in REDUCTION}
    if product.sparse is not None:
        given["recipe"] = product.sparse.recipe
    _parameters(nexus.group(made, "input", "NXparameters"), provenance.plain(given))


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
