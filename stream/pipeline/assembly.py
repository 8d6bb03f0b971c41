"""The roles of one run, made from its configuration."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from stream import registry
from stream.config import Config
from stream.context import Context, Control
from stream.errors import ConfigError
from stream.events import Update
from stream.pipeline.chain import Chain, Step
from stream.pipeline.gathering import Gathering
from stream.registry import Options, Section
from stream.roles import Gatherer, Processor, Sink

Required = bool


@runtime_checkable
class Links(Protocol):
    """Options of a sink that name another one by its `path`."""

    link: str | None


@runtime_checkable
class CanFail(Protocol):
    """Options of a sink that say what happens when it has failed."""

    on_failure: Literal["next_scan", "stop"] | None


class Assembly:
    """Makes chains, gatherers and sinks. Raises ConfigError for a plug-in that is neither processor nor gatherer."""

    def __init__(self, config: Config, control: Control, trouble: Callable[[str], None], scratch: Path) -> None:
        self._config, self._control, self._trouble, self._scratch = config, control, trouble, scratch
        self._placed: dict[str, Path] = {}
        self._first: list[tuple[int, Options, Processor | Gatherer]] = [
            (place, options, self._role(place, options)) for place, options in enumerate(config.processors)
        ]

    @property
    def roles(self) -> Sequence[tuple[int, Options, Processor | Gatherer]]:
        """(place, options, role) of every processor and gatherer."""
        return self._first

    def chains(self, count: int) -> list[Chain]:
        """The processors of `count` workers."""
        first = Chain([self._step(place, options, role) for place, options, role in self._processors()])
        return [first, *(self.chain() for _ in range(count - 1))]

    def chain(self) -> Chain:
        """The processors of one more worker."""
        wanted = [(place, options) for place, options, _ in self._processors()]
        return Chain([self._step(place, options, self._role(place, options)) for place, options in wanted])

    def gatherings(self, emit: Callable[[Sequence[Update]], None]) -> list[Gathering]:
        """The gatherers, each to have a lane of its own."""
        return [
            Gathering(
                name_of(options),
                role,
                emit=emit,
                trouble=self._trouble,
                place=place,
                options=options,
                make=lambda made, place=place: self._role(place, made),  # type: ignore[misc]
            )
            for place, options, role in self._first
            if isinstance(role, Gatherer)
        ]

    def sinks(self) -> Mapping[str, tuple[Sink, Required]]:
        """Name -> (sink, required)."""
        found: dict[str, tuple[Sink, Required]] = {}
        for place, options in enumerate(self._config.sinks):
            sink: Sink = registry.create("sinks", options, self._context("sinks", place, options))
            found[f"sinks[{place}] {name_of(options)}"] = (sink, bool(getattr(options, "required", True)))
        return found

    def retried(self, *, live: bool) -> frozenset[str]:
        """The sinks that are tried again with the next scan when they have failed. live: the frames come only once, so
        that the next scan is worth more than an early end."""
        usual = "next_scan" if live else "stop"
        return frozenset(
            f"sinks[{place}] {name_of(options)}"
            for place, options in enumerate(self._config.sinks)
            if isinstance(options, CanFail) and (options.on_failure or usual) == "next_scan"
        )

    @property
    def linked(self) -> frozenset[str]:
        """The sinks whose files others link to: these have to know the file's name."""
        links = {options.link for options in self._config.sinks if isinstance(options, Links)}
        return frozenset(
            f"sinks[{place}] {name_of(options)}"
            for place, options in enumerate(self._config.sinks)
            if getattr(options, "path", None) in links - {None}
        )

    def _processors(self) -> list[tuple[int, Options, Processor]]:
        return [(place, options, role) for place, options, role in self._first if isinstance(role, Processor)]

    def _step(self, place: int, options: Options, role: Any) -> Step:
        return Step(name_of(options), role, place, options, lambda made: self._role(place, made))

    def _role(self, place: int, options: Options) -> Any:
        role = registry.create("processors", options, self._context("processors", place, options))
        if not isinstance(role, Processor | Gatherer):
            text = f"{name_of(options)} is neither a processor nor a gatherer (see stream/roles.py)"
            raise ConfigError([(f"processors[{place}]", text)])
        return role

    def _context(self, section: Section, place: int, options: Options) -> Context:
        name = f"processors.{name_of(options)}" if section == "processors" else f"sinks.{place}"
        return Context(
            name=name,
            document=self._config.document,
            scratch=self._scratch / name,
            control=self._control,
            again=self._config.run.again,
            placed=self._placed,
            trouble=self._trouble,
        )


def name_of(options: Any) -> str:
    """What the user knows an entry by."""
    return str(getattr(options, "name", None) or options.type)
