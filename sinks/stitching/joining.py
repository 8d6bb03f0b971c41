"""Several series as one, in the order of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sinks.export.series import Series
from stream.errors import InbeamError
from stream.events import Array

NUMBERS = "fiub"
OF_THE_LEDGER = ("frame", "status", "time", "detector_time", "revision")


@dataclass(frozen=True, slots=True)
class Joined:
    """labels: of the scans. scan: int (n,), which one each row is of; frame: its number there. time: Unix, s,
    ascending, ties spread; recorded: as the files have it. columns: numbers by name (n,), NaN where a scan has none;
    units: of them. left_out: rows without data or time. moved: bool (n,), True where the regions are others than in
    the row before."""

    labels: tuple[str, ...]
    scan: Array
    frame: Array
    time: Array
    recorded: Array
    columns: dict[str, Array]
    units: dict[str, str]
    left_out: int
    moved: Array

    def __len__(self) -> int:
        return len(self.time)

    def name(self, row: int) -> str:
        """How a person, and the file of corrections, names a row."""
        return f"{self.labels[int(self.scan[row])]}/{int(self.frame[row])}"

    def row(self, name: str) -> int:
        """The other way round. Raises InbeamError."""
        label, _, number = str(name).rpartition("/")
        if label in self.labels and number.isdigit():
            found = np.flatnonzero((self.scan == self.labels.index(label)) & (self.frame == int(number)))
            if len(found):
                return int(found[0])
        raise InbeamError(f"there is no frame {name!r}: write SCAN/NUMBER, of {', '.join(self.labels)}")

    def intensities(self) -> list[str]:
        """The columns that the attenuator changes, without their errors."""
        return [name for name, unit in self.units.items() if unit == "counts" and not name.endswith("_errors")]


def joined(series: Sequence[tuple[str, Series]]) -> Joined:
    """(label, series) of every scan -> all rows that have data.

    Raises InbeamError where there is nothing to join, or one scan is there twice.
    """
    kept = [(label, each, _with_data(each)) for label, each in series]
    kept = [(label, each, rows) for label, each, rows in kept if len(rows)]
    if not kept:
        raise InbeamError("no frame has data and a time: there is nothing to stitch")
    kept.sort(key=lambda each: float(each[1].columns["time"][each[2]].min()))
    began: dict[tuple[str, float], str] = {}
    for label, each, rows in kept:
        key = each.scan, float(each.columns["time"][rows[0]])
        if key in began:
            raise InbeamError(f"{began[key]} and {label} are the same scan: name the files that are to be stitched")
        began[key] = label
    names: dict[str, None] = {}
    for _, each, _ in kept:
        names |= dict.fromkeys(
            name for name, values in each.columns.items() if values.dtype.kind in NUMBERS and name not in OF_THE_LEDGER
        )
    columns = {name: np.concatenate([_column(each, rows, name) for _, each, rows in kept]) for name in names}
    units: dict[str, str] = {}
    for _, each, _ in kept:
        units |= {name: unit for name, unit in each.units.items() if name in names}
    recorded = np.concatenate([each.columns["time"][rows] for _, each, rows in kept])
    time = np.concatenate([untied(each.columns["time"][rows]) for _, each, rows in kept])
    order = np.argsort(time, kind="stable")
    settings = np.concatenate([_settings(each, rows) for _, each, rows in kept])[order]
    return Joined(
        labels=tuple(label for label, _, _ in kept),
        scan=np.concatenate([np.full(len(rows), number) for number, (_, _, rows) in enumerate(kept)])[order],
        frame=np.concatenate([each.columns["frame"][rows] for _, each, rows in kept])[order],
        time=time[order],
        recorded=recorded[order],
        columns={name: values[order] for name, values in columns.items()},
        units=units,
        left_out=sum(len(each) - len(rows) for _, each, rows in kept),
        moved=np.concatenate([[False], settings[1:] != settings[:-1]]),
    )


def untied(times: Array) -> Array:
    """Times that are the same (clocks of whole seconds) are spread evenly up to the next one; the last ones by the
    middle step. Others are left as they are."""
    times = np.asarray(times, np.float64)
    values, counts = np.unique(times, return_counts=True)
    if len(values) == len(times) or len(values) < 2:
        return times
    steps = np.diff(values)
    steps = np.append(steps, np.median(steps))
    found = times.copy()
    for value, count, step in zip(values, counts, steps, strict=True):
        if count > 1:
            found[np.flatnonzero(times == value)] = value + np.arange(count) * step / count
    return found


def _with_data(series: Series) -> Array:
    has = np.isin(series.columns["status"], ("received", "duplicate", "late"))
    return np.flatnonzero(has & np.isfinite(series.columns["time"]))


def _settings(series: Series, rows: Array) -> Array:
    """Of each row the regions that it was measured with, as text."""
    revisions = series.columns["revision"][rows]
    texts = np.full(len(rows), "", object)
    for revision, text in series.settings:
        texts[revisions >= revision] = text
    return texts


def _column(series: Series, rows: Array, name: str) -> Any:
    values = series.columns.get(name)
    return np.full(len(rows), np.nan) if values is None else values[rows].astype(np.float64)
