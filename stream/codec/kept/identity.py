"""The name of what a kernel would be compiled from: its own code, that of all it calls, and every value that they see.

Not the files that they stand in: a kernel is as new as what it is made of, wherever that lies.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

VERSIONED = ("builtins", "math", "numpy", "typing")
"""Of what is in these packages the name is enough: their versions are told elsewhere (see `machine`)."""
PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))


class Unknown(Exception):
    """A value that has no name of this kind: what sees it is not kept."""


@runtime_checkable
class Made(Protocol):
    """A kernel, or something else that compiled code may call."""

    def parts(self) -> tuple[Any, ...]:
        """Functions and values that it depends on."""
        ...

    def real(self) -> Any:
        """What numba knows in its place; this imports numba."""
        ...


def identity(thing: Made) -> str:
    """The same for the same code. Raises Unknown."""
    told = sha256()
    for part in _value(thing, set()):
        told.update(part.encode())
        told.update(b"\0")
    return told.hexdigest()


def seen(function: Callable[..., Any]) -> dict[str, Any]:
    """The values that a function sees under global names."""
    assert isinstance(function, FunctionType)
    values = function.__globals__
    return {name: values[name] for name in sorted(_names(function.__code__)) if name in values}


def _names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def _value(value: Any, done: set[int]) -> Iterator[str]:
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise Unknown(f"an array of {value.dtype}")
        yield f"{type(value).__name__} {value.dtype.str} {value.shape} {np.ascontiguousarray(value).tobytes().hex()}"
    elif isinstance(value, tuple | list):
        yield f"{type(value).__name__} {len(value)}"
        for each in value:
            yield from _value(each, done)
    elif isinstance(value, set | frozenset):
        yield f"set {sorted(map(repr, value))}"
    elif isinstance(value, dict):
        yield f"dict {len(value)}"
        for key in sorted(value):
            yield from _value((key, value[key]), done)
    elif isinstance(value, CodeType):
        yield from _code(value, done)
    elif isinstance(value, Made):
        yield type(value).__name__
        if id(value) not in done:
            done.add(id(value))
            for part in value.parts():
                yield from _value(part, done)
    elif isinstance(value, FunctionType):
        yield from _function(value, done)
    elif isinstance(value, type | BuiltinFunctionType):
        yield from _other(value)
    else:
        raise Unknown(f"a {type(value).__name__}")


def _other(value: Any) -> Iterator[str]:
    if value.__module__.partition(".")[0] not in VERSIONED:
        raise Unknown(f"{value.__module__}.{value.__qualname__}")
    yield f"{value.__module__}.{value.__qualname__}"


def _function(function: FunctionType, done: set[int]) -> Iterator[str]:
    yield f"function {function.__qualname__}"
    if id(function) in done:
        return
    done.add(id(function))
    yield from _value((function.__defaults__, function.__kwdefaults__), done)
    yield from _code(function.__code__, done)
    for cell in function.__closure__ or ():
        yield from _value(cell.cell_contents, done)
    modules: set[int] = set()
    for name, value in seen(function).items():
        yield name
        yield from _seen(value, _names(function.__code__), done, modules)


def _seen(value: Any, names: set[str], done: set[int], modules: set[int]) -> Iterator[str]:
    """A value that code sees; of a module, what it may ask for by one of `names`."""
    if not isinstance(value, ModuleType):
        yield from _value(value, done)
        return
    yield f"module {value.__name__}"
    if value.__name__.partition(".")[0] in VERSIONED or id(value) in modules:
        return
    modules.add(id(value))
    for name in sorted(names & vars(value).keys()):
        yield name
        yield from _seen(vars(value)[name], names, done, modules)


def _code(code: CodeType, done: set[int]) -> Iterator[str]:
    yield f"code {code.co_code.hex()} {code.co_flags} {code.co_argcount} {code.co_varnames} {code.co_names}"
    yield from _value(code.co_freevars, done)
    yield from _value(code.co_consts, done)


def called(function: Callable[..., Any]) -> Iterator[Made]:
    """All that it calls, directly or not, and that is `Made`; some of them more than once."""
    for value in seen(function).values():
        if isinstance(value, Made):
            yield value
            for part in value.parts():
                if isinstance(part, FunctionType):
                    yield from called(part)
