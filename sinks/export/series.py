"""What a results file has of every frame, as columns: one row per frame number, holes included.

A column per scalar of a product is PRODUCT_FIELD; one per place of a field, where the places have names, is NAME_FIELD:
of each frame the value in the place that the name had in the frame's own revision. With several such products it is
PRODUCT_NAME_FIELD.
"""

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.export.results import open_results, parameters_of, plots
from sinks.file import ledger_layout
from sinks.file.advice import foreign
from sinks.file.ledger_reader import Record, read
from stream.errors import InbeamError
from stream.events import Array, Change, FrameStatus
from stream.pipeline.recorded import changes_in

TIMES = ("absolute_time", "received_time")
"""Unix times that a row may have: when the exposure began, else when the frame arrived."""


@dataclass(frozen=True, slots=True)
class Series:
    """columns: name -> (frames,). units: of those that have one. scan: its name. notes: what the user should know.

    time_from: which of the ledger's columns `time` is. settings: (revision, the options that name places, as JSON) from
    0 on: between two that differ, a column may be of something else.
    """

    scan: str
    columns: Mapping[str, Array]
    units: Mapping[str, str]
    time_from: str
    notes: tuple[str, ...]
    settings: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.columns["frame"])


def series(path: Path) -> Series:
    """Everything that a file of inbeam, also one that grows, has of each frame as a number.

    Raises InbeamError that names the file and says what to do.
    """
    with open_results(path) as file:
        try:
            return _series(file)
        except InbeamError:
            raise
        except Exception as error:  # a file that is damaged, or somebody else's, may raise anything
            raise InbeamError(foreign(path, "a results file of inbeam", error)) from error


def values_of(configured: Mapping[str, Any], changes: Iterable[Change], path: str) -> list[tuple[int, dict[str, Any]]]:
    """(revision, value of the option at `path` from it on), ascending, from 0; configured: the value at the start."""
    value: Any = copy.deepcopy(dict(configured))
    found = [(0, copy.deepcopy(value))]
    for change in sorted(changes, key=lambda change: change.revision):
        if change.path == path:
            value = copy.deepcopy(change.value)
        elif change.path.startswith(f"{path}."):
            *way, last = change.path.removeprefix(f"{path}.").split(".")
            node = value
            for part in way:
                node = node[int(part)] if isinstance(node, list) else node[part]
            node[int(last) if isinstance(node, list) else last] = copy.deepcopy(change.value)
        else:
            continue
        found.append((change.revision, copy.deepcopy(value)))
    return found


def _names(value: Mapping[str, Any]) -> list[str]:
    """Of the places, in their order; "" for one without a name."""
    return [name if each is not None else "" for name, each in value.items()]


def _series(file: Any) -> Series:
    entry = file["entry"]
    record = read(file)
    changes = changes_in(file) if "changes" in entry else ()
    products = [(name, group) for name, group in plots(entry) if _text(group.attrs["axes"][0]) == "."]
    length = max([len(record.all_states), record.expected, *(_rows(group) for _, group in products)])
    revisions = _padded(entry["ledger/revision"][()], length)
    columns, units, time_from = _of_the_ledger(entry, record, length)
    for name in map(_text, entry["readings"].attrs["names"] if "readings" in entry else ()):
        if name:
            dataset = entry["readings"].get(name)
            if dataset is not None:
                columns[f"reading_{name}"] = _padded(dataset[()], length)
                units[f"reading_{name}"] = _text(dataset.attrs.get("units", ""))
    settings: list[tuple[int, str]] = []
    several = sum("places" in group.attrs for _, group in products) > 1
    for product, group in products:
        table = None
        by_region: dict[str, dict[str, tuple[Array, str]]] = {}
        if "places" in group.attrs:
            option = _text(group.attrs["places"])
            configuration = parameters_of(entry, product).get("configuration", {})
            told = f"processors.{configuration.get('name', product)}.{option}"
            sets = values_of(configuration.get(option) or {}, changes, told)
            table = [(revision, _names(value)) for revision, value in sets]
            settings += [(revision, json.dumps([product, value], sort_keys=True)) for revision, value in sets]
        for field, dataset in group.items():
            if not _grows(dataset) or dataset.dtype.kind not in "biuf":
                continue
            unit = _text(dataset.attrs.get("units", ""))
            if dataset.ndim == 1:
                made = {f"{product}_{field}": _padded(dataset[()], length)}
            elif dataset.ndim == 2 and table is not None:
                for name, values in _by_name(_padded(dataset[()], length), revisions, table).items():
                    by_region.setdefault(name, {})[field] = values, unit
                continue
            else:
                continue
            columns |= made
            units |= dict.fromkeys(made, unit)
        for name, fields in by_region.items():
            for field, (values, unit) in fields.items():
                taken = several or f"{name}_{field}" in columns
                column = f"{product}_{name}_{field}" if taken else f"{name}_{field}"
                columns[column], units[column] = values, unit
    return Series(_text(entry["title"][()]), columns, units, time_from, tuple(_notes(record)), tuple(sorted(settings)))


def _of_the_ledger(entry: Any, record: Record, length: int) -> tuple[dict[str, Array], dict[str, str], str]:
    states = _padded(record.states, length)
    words = np.array([status.name.lower() for status in FrameStatus])
    status = words[states]
    has = ledger_layout.HAS_DATA[states]
    if record.elsewhere is not None:
        elsewhere = np.zeros(length, bool)
        elsewhere[record.elsewhere.held] = True
        status = np.where(elsewhere & ~has, "elsewhere", status)
    rows = {name: _padded(entry[f"ledger/{name}"][()], length) for name in (*TIMES, "detector_time", "revision")}
    time_from = TIMES[0] if has.any() and np.isfinite(rows[TIMES[0]][has]).all() else TIMES[1]
    columns: dict[str, Array] = {
        "frame": np.arange(length),
        "status": status,
        "time": np.where(rows[time_from] > 0, rows[time_from], np.nan),
        "detector_time": rows["detector_time"],
        "revision": rows["revision"],
    }
    return columns, {"time": "s", "detector_time": "s"}, time_from


def _by_name(values: Array, revisions: Array, table: list[tuple[int, list[str]]]) -> dict[str, Array]:
    """Of each frame the value in the place that the name had for it; NaN, or 0 of an integer, where it had none."""
    numbers = np.array([number for number, _ in table])
    set_of = np.searchsorted(numbers, revisions, side="right") - 1
    found: dict[str, Array] = {}
    for position, (_, names) in enumerate(table):
        frames = set_of == position
        for place, name in enumerate(names):
            if name and place < values.shape[1]:
                if name not in found:
                    found[name] = np.full(len(values), np.nan if values.dtype.kind == "f" else 0, values.dtype)
                found[name][frames] = values[frames, place]
    return found


def _notes(record: Record) -> Iterable[str]:
    if record.elsewhere is not None:
        yield record.elsewhere.line()
    if not record.finished:
        yield "the scan is not over, or its writer was killed: these are the frames so far"


def _rows(group: Any) -> int:
    return max((dataset.shape[0] for dataset in group.values() if _grows(dataset)), default=0)


def _grows(dataset: Any) -> bool:
    """True for a dataset with a row per frame."""
    return isinstance(dataset, h5py.Dataset) and dataset.maxshape[:1] == (None,)


def _padded(values: Array, length: int) -> Array:
    """As long as the table, with NaN or 0 behind the end."""
    if len(values) >= length:
        return values[:length]
    fill = np.nan if values.dtype.kind == "f" else 0
    return np.concatenate([values, np.full((length - len(values), *values.shape[1:]), fill, values.dtype)])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
