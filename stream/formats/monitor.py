"""The incident-beam reading of each frame, taken from where the user says it is."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream.events import MONITOR, Event, Frame, Note, ScanStart

RATE = re.compile(
    r"hz|(?P<what>k?c)ps|(?P<before>.*?)(?:(?:/\s*|\bper\s+)(?:s|sec|seconds?)|\b(?:s|sec|second)\s*\^?\s*\(?-1\)?)",
    re.IGNORECASE,
)


class Monitor:
    """wanted: the name of a reading (a key of an image's header, a motor or counter of its list), a number for all
    frames, or a path in an HDF5 file, which the reader of that file follows; None: as the frames have it.
    on_frames: the reader of the file puts what the user wants on the frames itself.
    per_second: it is a rate, to be multiplied by the exposure of each frame, s; so is one whose unit says so.
    """

    def __init__(self, wanted: str | float | None, *, per_second: bool = False, on_frames: bool = False) -> None:
        number = number_of(wanted)
        self.path = wanted if isinstance(wanted, str) and number is None and is_path(wanted) else None
        """The path in an HDF5 file, if it is one."""
        self._number = number
        self._name = wanted if isinstance(wanted, str) and number is None and self.path is None else None
        self._wanted = on_frames or wanted is not None
        self._per_second = self._rate = per_second
        self._told: set[str] = set()

    def applied(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events with the reading `monitor` on each frame; a counted note, once a scan, where it has none."""
        for event in events:
            if isinstance(event, ScanStart):
                self._told.clear()
                yield self._declared(event)
            elif isinstance(event, Frame) and event.status.has_data:
                yield from self._of(event)
            else:
                yield event

    def _declared(self, scan: ScanStart) -> ScanStart:
        readings = scan.readings or {}
        unit = readings.get(MONITOR if self._name is None else self._name, "") if self._number is None else ""
        self._rate = self._per_second or (self._wanted and is_rate(unit))
        if scan.readings is None or not self._wanted:
            return scan
        return replace(scan, readings={**readings, MONITOR: total(unit) if self._rate else unit})

    def _of(self, frame: Frame) -> Iterator[Event]:
        value = frame.monitor
        if self._number is not None:
            value = self._number
        elif self._name is not None:
            value = frame.readings.get(self._name, math.nan)
            if self._name not in frame.readings:
                near = difflib.get_close_matches(self._name, frame.readings, 3, 0.4)
                hint = f"do you mean {' or '.join(near)}?" if near else "correct `monitor`"
                yield from self._tell(frame, f"has no reading {self._name!r} for its monitor: {hint}")
        if self._rate and not math.isnan(value):
            value *= frame.exposure_s
            if math.isnan(value):
                yield from self._tell(frame, "has no exposure time, by which its monitor is to be multiplied")
        yield frame if math.isnan(value) and MONITOR not in frame.readings else _with(frame, value)

    def _tell(self, frame: Frame, text: str) -> Iterator[Note]:
        if text not in self._told:
            self._told.add(text)
            yield Note(f"frame {frame.index} {text}", frame.scan)


def is_rate(unit: str) -> bool:
    """True for counts (photons, ...) per second, and for what only a rate is measured in."""
    return RATE.fullmatch(unit.strip()) is not None


def total(unit: str) -> str:
    """The unit of such a rate times an exposure in seconds."""
    found = RATE.fullmatch(unit.strip())
    what = (found.group("what") or found.group("before") or "").strip(" ./*") if found else ""
    return {"c": "counts", "kc": "kcounts", "1": "counts", "": "counts"}.get(what.lower(), what)


def is_path(wanted: str) -> bool:
    """True for what can only be a path in an HDF5 file."""
    return wanted.startswith("/") or "::" in wanted


def number_of(wanted: str | float | None) -> float | None:
    """The number that stands for all frames, if it is one."""
    try:
        return None if wanted is None else float(wanted)
    except ValueError:
        return None


def _with(frame: Frame, value: float) -> Frame:
    return replace(frame, readings={**frame.readings, MONITOR: value})
