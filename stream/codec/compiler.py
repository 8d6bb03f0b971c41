"""How every kernel is compiled: without the GIL, and kept on disk, so that a restart in mid-scan does not compile.

Its machine code is kept twice. Once by numba. Once more in a form that runs without numba, whose import alone takes
longer than all else that a start imports: see `kept`. That one is used where it is there; else numba is asked, which
finds its own or compiles, and the other is made of it.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from stream.codec.kept import loading, store
from stream.codec.kept.forms import Form, forms_of, plain
from stream.codec.kept.identity import Unknown, called, identity
from stream.codec.kept.machine import machine

log = logging.getLogger("inbeam.compiler")
F = TypeVar("F", bound=Callable[..., Any])
Entry = Callable[..., Any]

_ONE_AT_A_TIME = threading.RLock()
"""Workers that start together need the same kernels."""


def kernel(function: F | None = None, **options: Any) -> Any:
    """Compile on first use of each combination of types; `options` are those of numba.njit.

    Global names that it sees must not change while the program runs.
    """
    if function is None:
        return lambda each: kernel(each, **options)
    return cast(F, Kernel(cast(FunctionType, function), options))


class Instruction:
    """Something of numba that kernels call, made when one is compiled: `make(*arguments)`, which imports numba."""

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._make, self._arguments = make, arguments

    def parts(self) -> tuple[Any, ...]:
        """See `identity.Made`."""
        return self._make, self._arguments

    def real(self) -> Any:
        """See `identity.Made`."""
        return self._real

    @cached_property
    def _real(self) -> Any:
        return self._make(*self._arguments)


class External:
    """A C function that kernels call. result, arguments: names of numba's types."""

    def __init__(self, name: str, address: Callable[[], int], result: str, *arguments: str) -> None:
        self.name, self.address, self._result, self._arguments = name, address, result, arguments

    def parts(self) -> tuple[Any, ...]:
        """See `identity.Made`."""
        return self.name, self._result, self._arguments

    def real(self) -> Any:
        """See `identity.Made`."""
        return self._real

    @cached_property
    def _real(self) -> Any:
        from stream.codec.kept.compiling import external

        return external(self.name, self.address(), self._result, self._arguments)


class Kernel:
    """A compiled function: called as the Python function that it was made of."""

    def __init__(self, function: FunctionType, options: Mapping[str, Any]) -> None:
        self._function, self._options = function, options
        self.__doc__, self.__name__, self.__module__ = function.__doc__, function.__name__, function.__module__
        self.__wrapped__ = function
        self._entry: Entry = _refuse
        """What the last call was done by."""
        self._entries: dict[tuple[Form, ...], Entry] = {}
        self._loaded: list[loading.Loaded] = []
        self._compiled: Any = None
        self._seen: set[object] = set()
        """Of the versions of `_compiled`: those that have been kept, or cannot be."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What numba's own kernel would give."""
        if named:
            return self.real()(*arguments, **named)
        found = self._entry(*arguments)
        return self._otherwise(found, arguments) if found is NotImplemented or found is Ellipsis else found

    def parts(self) -> tuple[Any, ...]:
        """See `identity.Made`."""
        return self._function, dict(self._options)

    def real(self) -> Any:
        """numba's own kernel, which imports numba."""
        with _ONE_AT_A_TIME:
            if self._compiled is None:
                from stream.codec.kept.compiling import dispatcher

                self._compiled = dispatcher(self, self._function, self._options)
            return self._compiled

    @property
    def versions(self) -> int:
        """For how many forms of arguments this process has compiled it, or found it on disk."""
        return len(self._loaded) + (len(self._compiled.overloads) if self._compiled is not None else 0)

    @property
    def without_numba(self) -> bool:
        """True if all calls so far have been done by kept code."""
        return self._compiled is None

    def _otherwise(self, found: Any, arguments: Sequence[Any]) -> Any:
        """A call with arguments of another form than that of the last one, or one that has failed."""
        forms = forms_of(arguments) if self._key else None
        if not self._key:
            self._entry = self.real()
        if forms is None or found is Ellipsis:
            return self.real()(*arguments)
        arguments = tuple(map(plain, arguments))
        entry = self._entries.get(forms)
        if entry is None:
            with _ONE_AT_A_TIME:
                entry = self._entries.get(forms) or self._find(forms, arguments) or self._compile
                self._entries[forms] = entry
        if entry != self._compile or len(self._entries) == 1:
            self._entry = entry
        result = entry(*arguments)
        return self.real()(*arguments) if result is NotImplemented or result is Ellipsis else result

    def _compile(self, *arguments: Any) -> Any:
        """Let numba do it, and keep what it has made."""
        compiled = self.real()
        result = compiled(*arguments)
        if len(self._seen) < len(compiled.overloads):
            self._keep(arguments)
        return result

    def _find(self, forms: tuple[Form, ...], arguments: Sequence[Any]) -> Entry | None:
        """Kept code for arguments of this form, if there is some that can be run."""
        code = store.saved(self._source, self._name(forms), self._key)
        if code is None:
            return None
        try:
            loaded = loading.Loaded(self.__name__, code, self._addresses(forms, arguments))
        except (OSError, LookupError) as error:
            log.debug("%s cannot be used as it was kept: %s", self.__name__, error)
            return None
        self._loaded.append(loaded)
        return loaded.call

    def _keep(self, arguments: Sequence[Any]) -> None:
        with _ONE_AT_A_TIME:
            forms = forms_of(arguments)
            seen = forms if forms is not None else tuple(map(self._compiled.typeof_pyval, arguments))
            if seen in self._seen:
                return
            self._seen.add(seen)
            if forms is None:
                return
            from stream.codec.kept.compiling import code_of

            try:
                code = code_of(self._compiled, arguments, forms, self._addresses(forms, arguments))
            except Exception as why:  # Unfit, or whatever another numba does otherwise: that must not cost a frame
                log.debug("%s is kept by numba alone: %s", self.__name__, why)
                return
            store.save(self._source, self._name(forms), self._key, code)

    def _addresses(self, forms: Sequence[Form], arguments: Sequence[Any]) -> Mapping[str, int]:
        own = {each.name: each.address for each in called(self._function) if isinstance(each, External)}
        return loading.addresses(forms, arguments, own)

    def _name(self, forms: Sequence[Form]) -> str:
        about = sha256(repr((list(map(str, forms)), machine(), str(self._source))).encode()).hexdigest()[:20]
        return f"{self.__module__}.{self.__name__}-{about}.kernel"

    @cached_property
    def _source(self) -> Path:
        return Path(self._function.__code__.co_filename)

    @cached_property
    def _key(self) -> str:
        """What it is made from, and where; empty if its code is not to be kept."""
        here = machine()
        if here is None or not self._source.is_file() or not loading.layouts_are_known():
            return ""
        try:
            return f"{here} {identity(self)}"
        except Unknown as why:
            log.debug("%s is kept by numba alone: it sees %s", self.__name__, why)
            return ""


def _refuse(*arguments: Any) -> Any:
    return NotImplemented
