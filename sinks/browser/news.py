"""What the page has to know, kept by the sink: what is new goes to the child, all of it to one that just started."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sinks.browser.channel import pack
from sinks.browser.places import Columns
from sinks.browser.scan import described, picture_fields
from stream.events import MONITOR, Array, Buffer, Change, Frame, FrameStatus, ScanEnd, ScanStart, Update
from stream.products import Product
from stream.roles import Counters

MOST_ROWS = 5000
"""Of the series, in memory here and in the child."""
MOST_COLUMNS = 256
MOST_LINES = 200
MOST_PATTERN = 65_536
"""Values of one result per frame that is shown as a curve."""
MOST_PICTURE_BYTES = 1 << 26


class News:
    """Written by the sink's thread, read by it too."""

    def __init__(self) -> None:
        self._scan: Mapping[str, Any] | None = None
        self._products: Sequence[Product] = ()
        self._columns = Columns((), {})
        self._frame: Frame | None = None
        self._rows: deque[tuple[int, float, dict[str, float]]] = deque(maxlen=MOST_ROWS)
        self._rows_made = 0
        self._pictures: dict[str, Array] = {}
        self._drawn: dict[str, int] = {}
        self._lines: deque[tuple[int, float, str, str]] = deque(maxlen=MOST_LINES)
        self._lines_made = 0
        self._changes: list[Mapping[str, Any]] = []
        self._options: Sequence[Mapping[str, Any]] = ()
        self._files: Sequence[Mapping[str, str]] = ()
        self._status = ""
        self._counts: Mapping[str, int] = {}
        self._versions = dict.fromkeys(("scan", "frame", "options", "changes", "files"), 0)
        self._told: dict[str, int] = {}

    def start(self, scan: ScanStart, products: Sequence[Product], named: Mapping[str, Any]) -> None:
        """A scan begins. named: see `Columns`."""
        self._scan, self._products = described(scan, products, self._versions["scan"] + 1), products
        self._columns = Columns(products, named)
        self._frame = None
        self._rows.clear()
        self._pictures = {
            key: np.full(shape, np.nan, dtype)
            for key, shape, dtype in picture_fields(products)
            if np.prod(shape) * dtype.itemsize <= MOST_PICTURE_BYTES
        }
        self._drawn = dict.fromkeys(self._pictures, 0)
        self._changes, self._counts = [], {}
        self._status = "running"
        for name in ("scan", "frame", "changes"):
            self._versions[name] += 1

    def frame(self, frame: Frame) -> None:
        """What is newest, and a row of the series."""
        if frame.status is not FrameStatus.LATE and frame.payloads:
            self._frame = frame
            self._versions["frame"] += 1
        if row := self._columns.row(frame, MOST_COLUMNS):
            self._rows.append((frame.index, frame.received, row))
            self._rows_made += 1

    def update(self, update: Update) -> None:
        """A piece of a product that belongs to the scan."""
        if update.afresh:
            for key in self._pictures:
                if key.startswith(f"{update.product}."):
                    self._pictures[key][...] = np.nan
                    self._drawn[key] += 1
        for name, piece in update.pieces.items():
            key = f"{update.product}.{name}"
            picture = self._pictures.get(key)
            if picture is None:
                continue
            place = tuple(
                slice(first, first + length) for first, length in zip(piece.start, piece.values.shape, strict=True)
            )
            if len(place) == 2 and place[0].stop > len(picture):
                picture = self._pictures[key] = _grown(picture, place[0].stop)
            if picture[place].shape == piece.values.shape:
                picture[place] = piece.values
                self._drawn[key] += 1

    def change(self, change: Change) -> None:
        """An option was changed."""
        self._changes.append(asdict(change))
        self._columns.change(change)
        self._versions["changes"] += 1

    def options(self, options: Sequence[Mapping[str, Any]]) -> None:
        """Those that may be changed, with their values."""
        if options != self._options:
            self._options = options
            self._versions["options"] += 1

    def files(self, files: Sequence[Mapping[str, str]]) -> None:
        """Those that the scan is written to."""
        if files != self._files:
            self._files = files
            self._versions["files"] += 1

    def line(self, made: float, level: str, text: str) -> None:
        """One of the log."""
        self._lines.append((self._lines_made, made, level, text[:500]))
        self._lines_made += 1

    def end(self, end: ScanEnd) -> None:
        """The scan is over."""
        self._status = end.status.value
        self._counts = {status.name.lower(): int(end.counts.get(status, 0)) for status in FrameStatus}

    def forget(self) -> None:
        """The child is a new one: it knows nothing."""
        self._told = {}

    def counters(self, counters: Counters) -> Mapping[str, Any]:
        """Those of the pipeline, how the scan is or ended, and, then, the frame numbers by status."""
        return {**asdict(counters), "status": self._status, "counts": self._counts}

    @property
    def options_serial(self) -> int:
        """Rises whenever the values of the options are others."""
        return self._versions["options"]

    def fresh(self, pixels: bool, channels: Sequence[str]) -> bool:
        """True if something is new that should not wait for the next look at the counters."""
        told = self._told
        frame = pixels and self._frame is not None and told.get("frame") != self._versions["frame"]
        rest = any(told.get(name) != version for name, version in self._versions.items() if name != "frame")
        return frame or rest

    def parts(self, counters: Counters, *, pixels: bool, channels: Sequence[str]) -> list[Buffer]:
        """What is new: its description, then the encoded bytes of each channel. pixels: somebody looks at them.

        channels: those that are looked at; none: the first.
        """
        told, versions = self._told, self._versions
        found: dict[str, Any] = {"counters": self.counters(counters)}
        parts: list[Buffer] = []
        if told.get("scan") != versions["scan"]:
            found["scan"] = self._scan
            told |= {"rows": self._rows_made - len(self._rows), "frame": -1}
            told |= dict.fromkeys((f"picture {key}" for key in self._pictures), 0)
        lists = (("options", self._options), ("changes", self._changes), ("files", self._files))
        found |= {name: value for name, value in lists if told.get(name) != versions[name]}
        found["options_serial"] = versions["options"]
        rows = min(self._rows_made - told.get("rows", 0), len(self._rows))
        if rows:
            found["rows"] = [self._rows[place] for place in range(len(self._rows) - rows, len(self._rows))]
        lines = min(self._lines_made - told.get("lines", 0), len(self._lines))
        if lines:
            found["log"] = [self._lines[place] for place in range(len(self._lines) - lines, len(self._lines))]
        told |= {"rows": self._rows_made, "lines": self._lines_made}
        if pixels:
            parts = self._shown(found, channels)
            told["frame"] = versions["frame"]
        told |= {name: version for name, version in versions.items() if name != "frame"}
        return [pack(found), *parts]

    def _shown(self, found: dict[str, Any], channels: Sequence[str]) -> list[Buffer]:
        """The newest frame with its results, and what has grown."""
        told, frame = self._told, self._frame
        for key, picture in self._pictures.items():
            if told.get(f"picture {key}") != self._drawn[key]:
                found.setdefault("pictures", {})[key] = picture
                told[f"picture {key}"] = self._drawn[key]
        if frame is None or told.get("frame") == self._versions["frame"]:
            return []
        wanted = [channel for channel in channels if channel in frame.payloads] or list(frame.payloads)[:1]
        payloads = [frame.payloads[channel] for channel in wanted]
        found["frame"] = {
            "index": frame.index,
            "received": frame.received,
            "monitor": frame.readings.get(MONITOR),
            "channels": [
                [channel, payload.encoding.value, payload.shape, payload.dtype.str]
                for channel, payload in zip(wanted, payloads, strict=True)
            ],
            "results": {
                f"{product}.{name}": value
                for product, fields in frame.results.items()
                for name, value in fields.items()
                if _is_shown(value)
            },
        }
        return [payload.data for payload in payloads]


def _grown(picture: Array, rows: int) -> Array:
    """With more rows, as far as the bound goes."""
    most = MOST_PICTURE_BYTES // max(picture.shape[1] * picture.dtype.itemsize, 1)
    if rows > most:
        return picture
    found = np.full((rows, picture.shape[1]), np.nan, picture.dtype)
    found[: len(picture)] = picture
    return found


def _is_shown(value: Any) -> bool:
    """Curves, and images of each frame."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        return False
    return 1 < value.size <= MOST_PATTERN if value.ndim == 1 else value.ndim == 2 and value.size <= MOST_PATTERN * 64
