"""Results read back from a file of ours: the patterns or cakes of one product, their axes, where they came from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filters)
import numpy as np

from sinks.file import ledger_layout
from sinks.file.advice import absent, foreign
from sinks.file.ledger_reader import read
from sinks.file.product import FLAGS
from stream.errors import InbeamError
from stream.events import Array, Change, FrameStatus
from stream.formats.hdf5.opening import open_hdf5
from stream.pipeline.recorded import changes_in

UNITS: Mapping[tuple[str, str], str] = {
    ("q", "1/nm"): "q_nm^-1",
    ("q", "1/angstrom"): "q_A^-1",
    ("2theta", "degrees"): "2th_deg",
    ("2theta", "rad"): "2th_rad",
    ("r", "mm"): "r_mm",
    ("r", "m"): "r_m",
}
"""Name and unit of an axis in the file -> pyFAI's name of both."""


@dataclass(frozen=True, slots=True)
class Results:
    """One product of one open file.

    signal, errors: datasets (frames, [azimuthal,] radial) or None. radial (n,) in `unit`, pyFAI's name where it has
    one; azimuthal (m,) in degrees, None for patterns. states: uint8 (frames,), what became of each frame number.
    wavelength_angstrom: NaN where the file does not say. told: what the header of an exported file says. parameters: of
    the processor, JSON-like; changes: of options while the scan ran, revisions: (frames,), the last of them in force.
    """

    path: Path
    scan: str
    product: str
    signal: Any
    errors: Any
    radial: Array
    unit: str
    azimuthal: Array | None
    states: Array
    wavelength_angstrom: float
    received: Any
    monitor: Any
    parameters: Mapping[str, Any]
    told: Mapping[str, str]
    poni: str
    changes: tuple[Change, ...]
    revisions: Any

    def __len__(self) -> int:
        """Number of frame numbers, holes included."""
        return int(self.signal.shape[0])

    def has(self, index: int) -> bool:
        """True if this frame came, and nothing failed on it."""
        return 0 <= index < min(len(self), len(self.states)) and bool(ledger_layout.HAS_DATA[self.states[index]])

    def status(self, index: int) -> str:
        """What became of a frame number, as a word."""
        state = self.states[index] if index < len(self.states) else FrameStatus.MISSING
        return FrameStatus(int(state)).name.lower()

    def option(self, name: str, index: int) -> Any:
        """An option of the processor as it was for this frame: as configured, or as it was changed before it."""
        value = self.parameters["configuration"][name]
        revision = int(self.revisions[index])
        for change in self.changes:
            if change.path == f"processors.{self.product}.{name}" and change.revision <= revision:
                value = change.value
        return value

    def rows(self, indices: Sequence[int]) -> Iterator[tuple[int, Array, Array | None]]:
        """(index, signal, errors) of these frame numbers, ascending; rows that share a chunk are read together."""
        step = max(1, (self.signal.chunks or (1,))[0])
        block, first = None, -1
        for index in indices:
            if block is None or index // step != first:
                first = index // step
                inside = slice(first * step, (first + 1) * step)
                block = self.signal[inside], None if self.errors is None else self.errors[inside]
            values, errors = block
            row = index - first * step
            yield index, values[row], None if errors is None else errors[row]


@contextmanager
def opened(path: Path, product: str | None = None) -> Iterator[Results]:
    """Open a results file, also one that grows, and one of its products (default: what its entry is about).

    Raises InbeamError that names the file and says what to do.
    """
    with open_results(path) as file:
        try:
            yield _results(file, path, product)
        except (KeyError, OSError, RuntimeError) as error:
            raise InbeamError(foreign(path, "a results file of inbeam", error)) from error


@contextmanager
def open_results(path: Path) -> Iterator[Any]:
    if problem := absent(path):
        raise InbeamError(problem)
    with open_hdf5(str(path)) as file:  # also where it grows, or its writer was killed
        yield file


def _results(file: Any, path: Path, wanted: str | None) -> Results:
    entry = file["entry"]
    record = read(file)
    groups = dict(plots(entry))
    if wanted is not None and wanted not in groups:
        raise InbeamError(f"{path} has no product {wanted!r}: it has {', '.join(groups) or 'none'}")
    if not groups:
        raise InbeamError(f"{path} has no results, only frames: process it first")
    default = entry.get(_text(entry.attrs.get("default", "")))
    name = wanted or next((name for name, group in groups.items() if group == default), next(iter(groups)))
    group = groups[name]
    signal_name = _text(group.attrs["signal"])
    signal, axes = group[signal_name], [_text(axis) for axis in group.attrs["axes"]]
    if axes[:1] != ["."] or any(axis == "." for axis in axes[1:]) or len(axes) not in (2, 3):
        shape = " × ".join(map(str, signal.shape))
        raise InbeamError(
            f"{path}: {name}/{signal_name} ({shape}) is neither a pattern nor a cake per frame, so there are no "
            f"columns to write; choose another --product ({', '.join(groups)}), or read it with h5py"
        )
    radial = group[axes[-1]]
    unit = _text(radial.attrs.get("units", radial.attrs.get("unit", "")))
    long_name = _text(radial.attrs.get("long_name", axes[-1]))
    errors = next((group[each] for each in (f"{signal_name}_errors", "errors") if each in group), None)
    parameters = parameters_of(entry, name)
    flags = entry if group == default else entry[name]
    return Results(
        path=path,
        scan=_string(entry["title"]),
        product=name,
        signal=signal,
        errors=errors,
        radial=radial[()],
        unit=_unit(parameters, long_name, unit),
        azimuthal=group[axes[1]][()] if len(axes) == 3 else None,
        states=record.states,
        wavelength_angstrom=_wavelength(entry, parameters),
        received=entry["ledger/received_time"],
        monitor=entry.get("monitor/data"),
        parameters=parameters,
        told={key: _string(flags[key]) for key in FLAGS if key in flags}
        | {key: str(parameters[key]) for key in TOLD if key in parameters},
        poni=str(parameters.get("poni") or ""),
        changes=changes_in(file) if "changes" in entry else (),
        revisions=entry["ledger/revision"],
    )


TOLD = ("dark_applied", "flat_applied", "masked_pixels", "channel", "pyFAI_version")
"""Parameters of an integration that the header of an exported file repeats."""


def parameters_of(entry: Any, name: str) -> Mapping[str, Any]:
    """As the processor gave them."""
    path = f"provenance/parameters_{name}"
    found = json.loads(_string(entry[path])) if path in entry else {}
    return found if isinstance(found, dict) else {}


def plots(entry: Any) -> Iterator[tuple[str, Any]]:
    """Product -> its NXdata, each once, under the product's own name rather than as `data`."""
    seen: list[Any] = []
    for name in sorted(entry, key=lambda name: (name == "data", name)):
        if not isinstance(entry.get(name, getlink=True), h5py.HardLink) or not isinstance(entry[name], h5py.Group):
            continue
        group = entry[name]
        if "default" in group.attrs:
            group = group[_text(group.attrs["default"])]
        images = "encoding" in group.get(_text(group.attrs.get("signal", "")) or "/", group).attrs
        if "signal" in group.attrs and not images and not any(group == other for other in seen):
            seen.append(group)
            yield name, group


def _unit(parameters: Mapping[str, Any], long_name: str, unit: str) -> str:
    """pyFAI's name, which an integration was configured with, or one made of what the axis says."""
    configuration = parameters.get("configuration")
    given = configuration.get("unit") if isinstance(configuration, dict) else None
    if "_" in unit:  # as in files of sparse frames
        return unit
    return given or UNITS.get((long_name, unit), f"{long_name}_{unit}".replace(" ", "_").rstrip("_"))


def _wavelength(entry: Any, parameters: Mapping[str, Any]) -> float:
    stored = entry.get("instrument/monochromator/wavelength")
    used = parameters.get("wavelength_angstrom") or (None if stored is None else stored[()])
    return float("nan") if used is None else float(used)


def _string(dataset: Any) -> str:
    value = dataset[()]
    return _text(value) if isinstance(value, bytes | str) else str(value.tolist() if np.ndim(value) else value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
