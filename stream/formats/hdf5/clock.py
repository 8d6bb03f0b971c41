"""When each frame was taken: the times that an HDF5 file has beside its frames.

Unix times are known where the file counts from an epoch: BLISS's `epoch`, our own ledger, areaDetector's time stamps
(seconds since 1990, EPICS), and NeXus times with a `start` whose zone is told.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import h5py

from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import peek, text
from stream.formats.hdf5.readings import Column
from stream.formats.hdf5.safe import may_read
from stream.formats.hdf5.table import Table
from stream.formats.hdf5.units import factor
from stream.formats.hdf5.values import detector_group

NAMES = ("timestamp", "timestamps", "time_stamp", "frame_time_stamp", "frame_start_time", "start_time", "epoch", "time")
EPICS_NAME, EPICS_EPOCH = "NDArrayTimeStamp", 631152000
"""Unix time at which EPICS begins to count: 1 January 1990."""
PLAUSIBLE = (1e8, 1e11)
"""Unix times in seconds between 1973 and the year 5138; anything less is a time since the start of something."""
OURS = {"detector_time": "detector_time", "stop_time": "stop_time", "absolute_time": "absolute_time"}
OURS |= {"exposure": "exposure_s"}
"""Column of a ledger of ours -> field of `Frame`."""


@dataclass(frozen=True, slots=True)
class Time:
    """One column of times: seconds = value * factor + offset."""

    column: Column
    factor: float = 1.0
    offset: float = 0.0


class Clock:
    """The times of a scan's frames."""

    def __init__(self, path: str, times: Mapping[str, Time], exposure_s: float | None) -> None:
        self.table = Table(path, {name: time.column for name, time in times.items()})
        self._times = times
        self._exposure_s = exposure_s

    def fields(self, found: Mapping[str, float]) -> dict[str, float]:
        """The fields of `Frame` that follow from the values of one frame."""
        fields = {} if self._exposure_s is None else {"exposure_s": self._exposure_s}
        for name, value in found.items():
            fields[name] = value * self._times[name].factor + self._times[name].offset
        return fields


def moment(file: h5py.File, located: Located, name: str) -> str:
    """`start_time` or `end_time` of the entry, as the file has it (ISO 8601); "" where it has none."""
    found = peek(file, f"{located.entry.rstrip('/')}/{name}")
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return ""
    told = text(found[()]).strip()
    try:
        datetime.fromisoformat(told)
    except ValueError:
        return ""
    return told


def clock(file: h5py.File, located: Located, exposure_s: float | None, *, growing: bool = False) -> Clock:
    """What a file says of its frames' times. exposure_s: of every frame, where the detector has one for all."""
    return Clock(located.file, dict(_times(file, located, growing)), exposure_s)


def _times(file: h5py.File, located: Located, growing: bool) -> Iterator[tuple[str, Time]]:
    ledger = f"{located.entry.rstrip('/')}/ledger"
    if text(file.attrs.get("creator")) == "inbeam" and isinstance(peek(file, ledger), h5py.Group):
        for name, field in OURS.items():
            if isinstance(peek(file, f"{ledger}/{name}"), h5py.Dataset):
                yield field, Time(Column(f"{ledger}/{name}", "s"))
        return
    for path, by_point in _places(file, located):
        found = peek(file, path)
        if not may_read(found) or found.ndim != 1 or found.dtype.kind not in "iuf":
            continue
        grows = growing and found.maxshape[0] is None
        if not (grows or len(found) == located.declared or (by_point and len(found) > 1)):
            continue
        scale = factor(text(found.attrs.get("units", "")), "s")
        if scale is None:
            continue
        column = Column(path, "s", by_point=by_point, growing=grows)
        yield "detector_time", Time(column, scale)
        offset = _offset(found, scale)
        if offset is not None:
            yield "absolute_time", Time(column, scale, offset)
        return


def _places(file: h5py.File, located: Located) -> Iterator[tuple[str, bool]]:
    entry = located.entry.rstrip("/")
    group = detector_group(file, located)
    groups = [] if group is None else [group.name]
    for place in (*groups, posixpath.dirname(located.path)):
        yield from ((f"{place.rstrip('/')}/{name}", False) for name in NAMES)
    for place in ("measurement", "instrument/NDAttributes", "data"):
        by_point = place == "measurement"
        yield from ((f"{entry}/{place}/{name}", by_point) for name in (*NAMES, EPICS_NAME))


def _offset(dataset: h5py.Dataset, scale: float) -> float | None:
    """What makes Unix time of these times, None where that is not known."""
    if posixpath.basename(dataset.name) == EPICS_NAME:
        return float(EPICS_EPOCH)
    start = text(dataset.attrs.get("start", "")).strip()
    if start:
        try:
            moment = datetime.fromisoformat(start)
        except ValueError:
            return None
        return moment.timestamp() if moment.tzinfo is not None else None
    first = dataset[:1]
    counted = len(first) and PLAUSIBLE[0] < float(first[0]) * scale < PLAUSIBLE[1]
    by_name = not len(first) and posixpath.basename(dataset.name) == "epoch"
    return 0.0 if counted or by_name else None
