"""What can be known to be wrong before the first frame: files that do not hold what they should, sections that do not
fit each other. `inbeam validate`, `run` and `process` begin with it.

A plug-in takes part by a method of its `Config`:

    def preflight(self, known: Known) -> Iterable[Problem]: ...
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from stream.config import Config, check_files
from stream.errors import ConfigError, InbeamError
from stream.products import Product
from stream.registry import Options

Problem: TypeAlias = tuple[str, str]
"""(option, or "" for the entry as a whole; what is wrong and what to do)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a plug-in may look at beside its own options.

    products: those that the processors have declared for a scan of recorded files; None where there was none yet.
    """

    config: Config
    products: tuple[Product, ...] | None = None

    def product_names(self) -> frozenset[str] | None:
        """Names of what the processors will give; None where one of them does not say so beforehand."""
        if self.products is not None:
            return frozenset(product.name for product in self.products)
        names: set[str] = set()
        for options in self.config.processors:
            if not isinstance(options, Gives):
                return None
            names.update(options.gives())
        return frozenset(names)


@runtime_checkable
class Preflight(Protocol):
    """A `Config` that looks at what it names."""

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Everything that cannot work. Reads files, writes none, leaves nothing open; takes a few seconds at most.
        May raise InbeamError too."""
        ...


@runtime_checkable
class Gives(Protocol):
    """A processor's `Config` that knows what its products will be called."""

    def gives(self) -> Sequence[str]:
        """Names of the products."""
        ...


@runtime_checkable
class Reads(Protocol):
    """A source's `Config` that names the files it reads."""

    def reads(self) -> Sequence[str]:
        """Their paths, as they are now. May raise ConfigError."""
        ...


@runtime_checkable
class Follows(Protocol):
    """A source's `Config` that takes files as they appear."""

    def follows(self, path: str) -> bool:
        """True if a file of this name may be taken for input; NUL in it stands for text without a slash."""
        ...


def preflight(config: Config, products: tuple[Product, ...] | None = None) -> None:
    """Raise ConfigError with everything that is known to be wrong, all at once."""
    problems: list[Problem] = []
    try:
        check_files(config)
    except ConfigError as error:
        problems += error.problems
    missing = {path.rpartition(".")[0] for path, _ in problems}
    known = Known(config, products)
    for place, options in entries(config):
        if place not in missing:
            problems += [(_path(place, options, option), text) for option, text in _asked(options, known)]
    if problems:
        raise ConfigError(problems)


def entries(config: Config) -> list[tuple[str, Options]]:
    """Every entry of the YAML with its path."""
    found: list[tuple[str, Options]] = [("stream", config.stream)]
    found += [(f"processors[{number}]", options) for number, options in enumerate(config.processors)]
    return found + [(f"sinks[{number}]", options) for number, options in enumerate(config.sinks)]


def located(place: str, options: Options, error: Exception) -> list[Problem]:
    """The problems of what an entry raised, each with its path in the YAML."""
    return [(_path(place, options, option), text) for option, text in _raised(error)]


def _asked(options: Options, known: Known) -> list[Problem]:
    if not isinstance(options, Preflight):
        return []
    try:
        return list(options.preflight(known))
    except Exception as error:  # of a third party's plug-in too
        return _raised(error)


def _raised(error: Exception) -> list[Problem]:
    if isinstance(error, ConfigError):
        return list(error.problems)
    return [("", str(error) if isinstance(error, InbeamError) else f"{type(error).__name__}: {error}")]


def _path(place: str, options: Options, option: str) -> str:
    """`integrate.poni`, as errors at the start of a scan have it, and `poni` are the same place."""
    option = option.removeprefix(f"{options.type}.")  # type: ignore[attr-defined]
    return f"{place}.{option}" if option else place
