"""Options that viewers may change while inbeam runs, and the thread that asks for it.

A thread of its own, because a change waits where a scan is just being opened, and the sink takes part in that.
"""

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stream import registry
from stream.context import Control
from stream.errors import ConfigError, InbeamError

log = logging.getLogger("inbeam")
MOST_WAITING = 16
SECTIONS: tuple[Literal["processors", "sinks"], ...] = ("processors", "sinks")
TRIES = 3
"""A change that was made meanwhile, of another option, is no reason to refuse."""


class Changes:
    """`ask` and `answers` are called by the sink's thread and never wait."""

    def __init__(self, control: Control, document: Mapping[str, Any] | None) -> None:
        self._control = control
        self._known = _changeable(document)
        self._asked: queue.Queue[Mapping[str, Any] | None] = queue.Queue(MOST_WAITING)
        self._answered: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="inbeam-page-changes", daemon=True)
        self._thread.start()

    def options(self) -> Sequence[Mapping[str, Any]]:
        """Those that may be changed: path, when ("frame" or "scan"), description, schema, value."""
        found = []
        for option in self._known:
            try:
                found.append({**option, "value": self._control.value(option["path"])})
            except InbeamError:
                continue
        return found

    def ask(self, request: Mapping[str, Any]) -> None:
        """Ask for a change: id, path, value, seen (what the viewer took for its value), who."""
        try:
            self._asked.put_nowait(request)
        except queue.Full:
            self._answered.put({"id": request.get("id"), "ok": False, "text": "too many changes at once: try again"})

    def answers(self) -> list[Mapping[str, Any]]:
        """What came of the changes that were asked for."""
        found = []
        while not self._answered.empty():
            found.append(self._answered.get_nowait())
        return found

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join(1.0)

    def _run(self) -> None:
        while (request := self._asked.get()) is not None:
            try:
                answer = self._change(request)
            except ConfigError as error:
                text = "; ".join(f"{path}: {problem}" if path else problem for path, problem in error.problems)
                answer = {"ok": False, "text": text}
            except Exception as error:  # the run must not end because of a viewer
                log.exception("a change of options failed")
                answer = {"ok": False, "text": f"{type(error).__name__}: {error}"}
            self._answered.put({"id": request.get("id"), "path": request.get("path"), **answer})

    def _change(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        path, value = str(request["path"]), request["value"]
        if not any(path == option["path"] or path.startswith(f"{option['path']}.") for option in self._known):
            raise ConfigError([(path, "may not be changed here")])
        for attempt in range(TRIES):
            revision = self._control.revision  # first: what is changed behind this line is refused
            now = self._value(path)
            if "seen" in request and not _same(now, request["seen"]):
                text = "was changed by somebody else meanwhile; this is its value now"
                return {"ok": False, "text": f"{path}: {text}", "value": now}
            try:
                taken = self._control.change(path, value, str(request["who"]), revision)
            except ConfigError as error:
                if attempt + 1 < TRIES and _same(self._value(path), now) and _overtaken(error):
                    continue
                raise
            about = {"scan": taken.scan, "frame": taken.frame, "revision": taken.revision}
            return {"ok": True, "text": taken.text, "value": self._value(path), **about}
        raise ConfigError([(path, "others change options all the time: try again")])

    def _value(self, path: str) -> Any:
        """Of an option or of a part of it; None for a part that is not there yet."""
        try:
            return self._control.value(path)
        except ConfigError:
            return None


def _overtaken(error: ConfigError) -> bool:
    return any("meanwhile" in text for _, text in error.problems)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON is: 1 is 1.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def _changeable(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found = []
    for section in SECTIONS:
        for place, entry in enumerate((document or {}).get(section) or ()):
            kind = str(entry.get("type"))
            try:
                model = registry.model(section, kind)
            except LookupError:
                continue
            who = str(place) if section == "sinks" else str(entry.get("name") or kind)
            properties = model.model_json_schema().get("properties", {})
            for option, field in model.model_fields.items():
                when = registry.changes_when(model, option)
                if when is not None:
                    found.append(
                        {
                            "path": f"{section}.{who}.{option}",
                            "type": kind,
                            "when": when,
                            "description": field.description or "",
                            "schema": {
                                key: value
                                for key, value in properties.get(option, {}).items()
                                if key in ("type", "enum", "minimum", "maximum", "exclusiveMinimum")
                            },
                        }
                    )
    return found
