"""The readings of the frames in a scan's file: a column of float64 each, NaN where a frame has none.

/entry/readings holds them by name; the reading `monitor` is also /entry/monitor/data, where NeXus looks for it.
"""

import logging
from collections.abc import Mapping, Sequence

from sinks.file import nexus
from sinks.file.columns import Rows
from sinks.file.swmr import SwmrFile
from stream.events import MONITOR, Frame, ScanStart

log = logging.getLogger("inbeam")
GROUP = "/entry/readings"
MONITOR_DATA = "/entry/monitor/data"


class Readings:
    """The columns of one file. They must be known before it is SWMR: from the configuration, from the source's own
    list, or from the first frame; a name that turns up later is counted and told."""

    def __init__(self, scan: ScanStart, wanted: Sequence[str] | None) -> None:
        self._scan, self._wanted = scan, wanted
        self._rows: dict[str, Rows] = {}
        self._unknown: dict[str, list[int]] = {}
        self._known = False
        self._any = False

    @property
    def known_at_start(self) -> bool:
        """True if no frame is needed to declare them."""
        return self._wanted is not None or self._scan.readings is not None

    def declare(self, file: SwmrFile, frame: Frame | None) -> None:
        """Lay the columns out, by the first frame where nobody has said before what they are."""
        units: Mapping[str, str] = self._scan.readings or {}
        names = list(self._wanted if self._wanted is not None else units or (frame.readings if frame else ()))
        root = file.layout
        nexus.group(nexus.group(root, "entry", "NXentry"), "monitor", "NXmonitor")
        monitor = file.rows(MONITOR_DATA, (), "f8", attributes=_units(units.get(MONITOR, "")))
        self._rows[MONITOR] = monitor
        group = nexus.group(root["entry"], "readings", "NXcollection")
        for name in names:
            inside = nexus.safe_name(name)
            if inside in group:
                continue
            if name == MONITOR:
                group[inside] = monitor.dataset
            else:
                attributes = {"long_name": name, **_units(units.get(name, ""))}
                self._rows[name] = file.rows(f"{GROUP}/{inside}", (), "f8", attributes=attributes)
        group.attrs["names"] = list(names) or [""]
        self._known = True

    def reopen(self, file: SwmrFile) -> None:
        """Take up the columns of a file that is gone on with."""
        root = file.layout
        self._rows[MONITOR] = Rows(root[MONITOR_DATA])
        for name in map(str, root[GROUP].attrs["names"]):
            if name and name != MONITOR:
                self._rows[name] = Rows(root[f"{GROUP}/{nexus.safe_name(name)}"])
        self._known = True

    def put(self, frame: Frame) -> None:
        """The readings of one frame into its row."""
        for name, value in frame.readings.items():
            rows = self._rows.get(name)
            if rows is not None:
                rows.put(frame.index, value)
            elif name in self._unknown:
                self._unknown[name][1] += 1
            else:
                self._unknown[name] = [frame.index, 1]
                log.warning("the reading %r came first with frame %d: the file has no column for it", name, frame.index)

    def row(self, index: int) -> dict[str, float]:
        """The readings of a frame that is read back."""
        found = {name: float(rows.dataset[index]) for name, rows in self._rows.items() if index < rows.length}
        return {name: value for name, value in found.items() if value == value}

    @property
    def length(self) -> int:
        """Frame numbers that have a row."""
        return max((rows.length for rows in self._rows.values()), default=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be kept, one line each."""
        return tuple(
            f"the reading {name!r} of {count} frames, first of frame {first}, has no column: name it in `readings`"
            for name, (first, count) in self._unknown.items()
        )

    def flush(self) -> None:
        """Make every row visible."""
        for rows in self._rows.values():
            rows.flush()

    def extend(self, expected: int) -> None:
        """A row for every frame number; flushed by the next `flush`."""
        for rows in self._rows.values():
            rows.extend(expected)


def _units(unit: str) -> dict[str, str]:
    return {"units": unit} if unit else {}
