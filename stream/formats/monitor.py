"""The incident-beam reading of each frame, taken from where the user says it is."""

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream.events import MONITOR, Event, Frame, Note, ScanStart


class Monitor:
    """wanted: the name of a reading (a key of an image's header, a motor or counter of its list), a number for all
    frames, or a path in an HDF5 file, which the reader of that file follows; None: as the frames have it.
    per_second: it is a rate, to be multiplied by the exposure of each frame, s.
    """

    def __init__(self, wanted: str | float | None, *, per_second: bool = False) -> None:
        number = number_of(wanted)
        self.path = wanted if isinstance(wanted, str) and number is None and is_path(wanted) else None
        """The path in an HDF5 file, if it is one."""
        self._number = number
        self._name = wanted if isinstance(wanted, str) and number is None and self.path is None else None
        self._per_second = per_second
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
        wanted = self._number is not None or self._name is not None or self.path is not None
        if scan.readings is None or not wanted:
            return scan
        unit = scan.readings.get(self._name, "") if self._name is not None and not self._per_second else ""
        return replace(scan, readings={**scan.readings, MONITOR: unit})

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
        if self._per_second and not math.isnan(value):
            value *= frame.exposure_s
            if math.isnan(value):
                yield from self._tell(frame, "has no exposure time, by which its monitor is to be multiplied")
        yield frame if math.isnan(value) and MONITOR not in frame.readings else _with(frame, value)

    def _tell(self, frame: Frame, text: str) -> Iterator[Note]:
        if text not in self._told:
            self._told.add(text)
            yield Note(f"frame {frame.index} {text}", frame.scan)


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
