"""Which options hold for which frame number of a scan.

Workers ask by frame number, never by time: so a late frame, a resumed scan and a replay get the options that the frame
had, or would have had, when it came.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stream.config import Config, check_options
from stream.errors import ConfigError
from stream.events import Change
from stream.registry import Options, changes_when


@dataclass(frozen=True, slots=True)
class OptionSet:
    """The options of every processor and sink, in the order of the YAML."""

    processors: tuple[Options, ...] = ()
    sinks: tuple[Options, ...] = ()

    @classmethod
    def of(cls, config: Config) -> "OptionSet":
        """Those that the user wrote."""
        return cls(config.processors, config.sinks)

    def of_processor(self, place: int) -> Options | None:
        """Those of the processor at this place of the section; None for one that is not from a configuration."""
        return self.processors[place] if 0 <= place < len(self.processors) else None

    def canonical(self, path: str) -> str:
        """The path as the file and the sinks know it: processors by name, sinks by number."""
        options, parts, place = self._find(path)
        section, _, rest = place.partition("[")
        who = str(getattr(options, "name", None) or options.model_dump()["type"])
        return ".".join([section, rest.split("]")[0] if section == "sinks" else who, *parts])

    def value(self, path: str) -> Any:
        """The option at `path`, JSON-like. Raises ConfigError if there is none."""
        options, (option, *inner), _ = self._find(path)
        node: Any = options.model_dump(mode="json")[option]
        for part in inner:
            node = _step(node, part, path)
        return node

    def when(self, path: str) -> str:
        """`frame`: a change at `path` takes effect at a frame; `scan`: with the next scan. Never: ConfigError."""
        options, (option, *_), place = self._find(path)
        when = changes_when(type(options), option)
        if when is None:
            raise ConfigError(
                [
                    (
                        place,
                        "may not change while inbeam runs: correct the YAML and start again",
                    )
                ]
            )
        return when

    def changed(self, path: str, value: Any) -> "OptionSet":
        """These options with another value at `path`. Raises ConfigError, in the words of `validate`."""
        options, (option, *inner), place = self._find(path)
        document = options.model_dump(mode="json", exclude_unset=True)
        if inner:
            document[option] = options.model_dump(mode="json")[option]
            node = document[option]
            for part in inner[:-1]:
                node = _step(node, part, path)
            last = inner[-1]
            _step(node, last, path, new=not isinstance(node, list))
            node[int(last) if isinstance(node, list) else last] = value
        else:
            document[option] = value
        made = check_options(place.rsplit(".", 1)[0], type(options), document)
        return OptionSet(_swapped(self.processors, options, made), _swapped(self.sinks, options, made))

    def _find(self, path: str) -> tuple[Options, list[str], str]:
        """The entry, the option in it with what lies below, and the place as `validate` names it."""
        section, *rest = path.replace("[", ".").replace("]", "").split(".")
        if section not in ("processors", "sinks") or len(rest) < 2:
            raise ConfigError([(path, "write processors.NAME.OPTION or sinks.NUMBER.OPTION")])
        entries = self.processors if section == "processors" else self.sinks
        who, option, *inner = rest
        names = [str(getattr(each, "name", None) or each.model_dump()["type"]) for each in entries]
        places = [index for index, name in enumerate(names) if who in (name, str(index))]
        if len(places) != 1:
            have = ", ".join(f"{index} {name}" for index, name in enumerate(names))
            raise ConfigError([(path, f"{who!r} names {len(places) or 'no'} entry of {section}; there are: {have}")])
        options, place = entries[places[0]], f"{section}[{places[0]}]"
        if option not in type(options).model_fields:
            known = ", ".join(sorted(type(options).model_fields))
            raise ConfigError([(f"{place}.{option}", f"unknown option; known: {known}")])
        return options, [option, *inner], f"{place}.{option}"


def _swapped(entries: tuple[Options, ...], old: Options, new: Options) -> tuple[Options, ...]:
    return tuple(new if each is old else each for each in entries)


def _step(node: Any, part: str, path: str, *, new: bool = False) -> Any:
    try:
        return node[int(part)] if isinstance(node, list) else node.get(part) if new else node[part]
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError([(path, f"there is no {part!r} in this option")]) from error


@dataclass(frozen=True, slots=True)
class Revision:
    """The options from frame number `frame` on; `number` 0 are those of the scan's start."""

    number: int
    frame: int
    options: OptionSet


class Revisions:
    """The options of one scan. Changed by one thread at a time, read by any without a lock."""

    def __init__(self, start: OptionSet) -> None:
        self._table: tuple[Revision, ...] = (Revision(0, 0, start),)
        self.changes: tuple[Change, ...] = ()

    @property
    def latest(self) -> Revision:
        """What holds for the highest frame numbers."""
        return self._table[-1]

    def at(self, index: int) -> Revision:
        """What holds for frame number `index`."""
        table = self._table
        if len(table) == 1 or index >= table[-1].frame:
            return table[-1]
        return table[bisect_right(table, index, key=lambda revision: revision.frame) - 1]

    def add(self, change: Change) -> None:
        """One more change. Raises ConfigError if the value is wrong, ValueError if it begins before the last one."""
        latest = self.latest
        if change.frame < latest.frame:
            raise ValueError(f"a change at frame {change.frame} behind one at frame {latest.frame}")
        options = latest.options.changed(change.path, change.value)
        self._table = (*self._table, Revision(change.revision, change.frame, options))
        self.changes = (*self.changes, change)

    def repeat(self, changes: Sequence[Change], scan: str) -> None:
        """The changes of an earlier process, or of a recorded scan, that are not here yet."""
        for change in sorted(changes, key=lambda change: change.revision):
            if change.revision > self.latest.number:
                self.add(replace(change, scan=scan))
