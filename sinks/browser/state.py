"""All that the serving process knows of the run: what the sink told, in the form that viewers ask for it."""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from sinks.browser.picture import IMAGE, Source, framed, payload_of
from stream.events import Array

T = TypeVar("T")
MOST_ROWS = 5000
MOST_LINES = 200


class State:
    """`apply` takes an update; every kind of news has a version that rises."""

    def __init__(self) -> None:
        self.versions = dict.fromkeys(
            ("scan", "counters", "options", "changes", "log", "files", "holes", "jobs", "rows", "frame", "pictures"), 0
        )
        self.scan: Mapping[str, Any] = {}
        self.counters: Mapping[str, Any] = {}
        self.options: Sequence[Any] = ()
        self.options_serial = 0
        """Of `options`: an answer to a change names the serial that knows of it."""
        self.changes: Sequence[Any] = ()
        self.files: Sequence[Mapping[str, str]] = ()
        """`type` and `path` of each file that the scan is in."""
        self.log: deque[Any] = deque(maxlen=MOST_LINES)
        self.holes: Any = None
        """Frame numbers without data, as ranges (see `holes`); None: not known."""
        self.jobs: Sequence[Sequence[str]] = ()
        self.sources: dict[str, Source] = {}
        self.curves: dict[str, Array] = {}
        self.frame: int | None = None
        self._masks: dict[str, Array] = {}
        self._rows: deque[Any] = deque(maxlen=MOST_ROWS)
        self._rows_made = 0
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._columns: dict[str, None] = {}

    def apply(self, update: Mapping[str, Any], payloads: Sequence[bytes]) -> None:
        """Take an update of the sink (see `news`)."""
        versions = self.versions
        self.count(update["counters"])
        if "scan" in update:
            self._begin(update["scan"] or {})
        for name in ("options", "changes", "files"):
            if name in update and not (name == "options" and update["options_serial"] < self.options_serial):
                setattr(self, name, update[name])
                versions[name] += 1
        self.options_serial = max(self.options_serial, update["options_serial"])
        if "log" in update:
            self.log.extend(update["log"])
            versions["log"] += 1
        if "rows" in update:
            for row in update["rows"]:
                self._columns |= dict.fromkeys(row[2])
                self._rows.append(row)
            self._rows_made += len(update["rows"])
            versions["rows"] = self._rows_made
        for key, image in update.get("pictures", {}).items():
            self.sources[key] = Source(image, None, {"source": key, "frame": None})
            versions["pictures"] += 1
        if "frame" in update:
            self._show(update["frame"], payloads)

    def learn(self, path: str, value: Any, serial: int) -> bool:
        """Take what an answer says of an option, or of a part of it; False if that is known already."""
        if serial <= self.options_serial:
            return False
        self.options = [
            {**option, "value": _put(option["value"], inner.split(".")[1:], value)}
            if path.startswith(option["path"]) and (inner := path.removeprefix(option["path"]))[:1] in ("", ".")
            else option
            for option in self.options
        ]
        self.options_serial = serial
        self.versions["options"] += 1
        return True

    def set(self, name: str, value: Any) -> bool:
        """Take something that this process has read itself; True if it is new."""
        if getattr(self, name) == value:
            return False
        setattr(self, name, value)
        self.versions[name] += 1
        return True

    def count(self, counters: Mapping[str, Any]) -> None:
        """Take new counters."""
        self.counters = counters
        self.versions["counters"] += 1

    def _begin(self, scan: Mapping[str, Any]) -> None:
        self._masks = {
            channel: np.unpackbits(mask["bits"])[: int(np.prod(mask["shape"]))].reshape(mask["shape"]).astype(bool)
            for channel, mask in scan.get("masks", {}).items()
        }
        self.scan = {key: value for key, value in scan.items() if key != "masks"}
        self.sources, self.curves, self.frame = {}, {}, None
        self._rows.clear()
        self._columns = {}
        self.set("holes", None)
        self.versions["scan"] += 1

    def _show(self, frame: Mapping[str, Any], payloads: Sequence[bytes]) -> None:
        self.frame = int(frame["index"])
        about = {"frame": self.frame, "received": frame["received"]}
        for described, data in zip(frame["channels"], payloads, strict=True):
            channel, payload = payload_of(described, data)
            key = f"{IMAGE}{channel}"
            limit = self.scan.get("detector", {}).get("saturation_value")
            self.sources[key] = Source(payload, self.mask(channel, payload.shape), {"source": key, **about}, limit)
        self.curves = {}
        for key, values in frame["results"].items():
            if values.ndim == 1:
                self.curves[key] = values
            else:
                self.sources[key] = Source(values, None, {"source": key, **about})
        self.versions["frame"] += 1

    def mask(self, channel: str, shape: tuple[int, int]) -> Array | None:
        """bool (rows, columns), True = bad; None: there is none of that shape."""
        bad = self._masks.get(channel)
        return bad if bad is not None and bad.shape == shape else None

    def rows_since(self, version: int) -> bytes | None:
        """The series from there on, as a matrix of float64 (columns, rows); the first two are number and Unix time."""
        count = min(self._rows_made - version, len(self._rows))
        if count <= 0:
            return None
        return self._shared(
            "rows", (version, self._rows_made, self.versions["scan"]), lambda: self._table(version, count)
        )

    def _table(self, version: int, count: int) -> bytes:
        rows = [self._rows[place] for place in range(len(self._rows) - count, len(self._rows))]
        names = list(self._columns)
        table = np.full((2 + len(names), count), np.nan)
        for at, (index, received, values) in enumerate(rows):
            table[:2, at] = index, received
            for place, name in enumerate(names):
                table[2 + place, at] = values.get(name, np.nan)
        afresh = version == 0 or count < self._rows_made - version
        return framed({"kind": "rows", "names": names, "count": count, "afresh": afresh}, table)

    def curves_message(self) -> bytes:
        """The curves of the newest frame, float32, one behind the other."""
        return self._shared("curves", (self.versions["frame"], self.versions["scan"]), self._curves)

    def _curves(self) -> bytes:
        items = [[key, len(values)] for key, values in self.curves.items()]
        values = [np.asarray(values, np.float32) for values in self.curves.values()]
        body = np.concatenate(values) if values else np.zeros(0, np.float32)
        return framed({"kind": "curves", "frame": self.frame, "items": items}, body)

    def scan_message(self) -> str:
        """The scan and its products as JSON; axes as lists."""
        return self._shared("scan", self.versions["scan"], self._scan)

    def _scan(self) -> str:
        scan = {key: value for key, value in self.scan.items() if key != "poni"}
        products = [
            {**{key: value for key, value in product.items() if key != "poni"}, "geometry": bool(product.get("poni"))}
            for product in scan.get("products", ())
        ]
        return json.dumps({"kind": "scan", "scan": plain({**scan, "products": products} if scan else {})})

    def turn_message(self, names: Sequence[str]) -> str:
        """The end of a turn as JSON: which frame it shows, which images there are, and these kinds of news."""
        return self._shared("turn", (tuple(names), tuple(self.versions.values())), lambda: self._turn(names))

    def _turn(self, names: Sequence[str]) -> str:
        news: dict[str, Any] = {name: getattr(self, name) for name in names}
        if "options" in news:
            news["options_serial"] = self.options_serial
        news["sources"] = {key: source.shape for key, source in self.sources.items()}
        return json.dumps(plain({"kind": "turn", "frame": self.frame, **news}))

    def _shared(self, name: str, key: Any, make: Callable[[], T]) -> T:
        """What the viewer before got too, who mostly was told the same so far."""
        known, found = self._kept.get(name, (None, None))
        if known != key:
            found = make()
            self._kept[name] = key, found
        return cast(T, found)


def _put(node: Any, path: Sequence[str], value: Any) -> Any:
    """A copy with another value at the end of the path, whose other parts stay."""
    if not path:
        return value
    if isinstance(node, list):
        return [_put(each, path[1:], value) if str(at) == path[0] else each for at, each in enumerate(node)]
    return {**(node or {}), path[0]: _put((node or {}).get(path[0]), path[1:], value)}


def plain(value: Any) -> Any:
    """JSON-like: arrays as lists, what is not finite as None."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque):
        return [plain(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
