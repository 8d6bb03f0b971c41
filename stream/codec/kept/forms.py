"""The form of arguments: all that decides which compiled version of a kernel they need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

SAME = {bool: np.bool_, int: np.int64, float: np.float64}
"""Python's classes and those of numpy that stand for the same type of numba."""
SCALARS = {each: each for each in (np.int32, np.uint32, np.uint64, np.float32)} | {each: each for each in SAME}
SCALARS |= {other: each for each, other in SAME.items()} | {type(None): type(None)}
"""Classes of numbers and of None, and which of them a form has."""


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """Its type, number of axes, order in memory (C, F or A for any), and whether it may be written."""

    dtype: np.dtype[Any]
    axes: int
    order: str
    writable: bool

    def __str__(self) -> str:
        return f"{self.dtype.str}[{self.axes}{self.order}{'w' if self.writable else 'r'}]"


@dataclass(frozen=True, slots=True)
class TupleForm:
    """Its class, which may be one with names, and what is in it."""

    kind: type
    members: tuple["Form", ...]

    def __str__(self) -> str:
        return f"{self.kind.__module__}.{self.kind.__qualname__}({', '.join(map(str, self.members))})"


@dataclass(frozen=True, slots=True)
class ScalarForm:
    """Its class; Python's for those in SAME."""

    kind: type

    def __str__(self) -> str:
        return self.kind.__name__


Form: TypeAlias = ArrayForm | TupleForm | ScalarForm


def forms_of(arguments: Sequence[Any]) -> tuple[Form, ...] | None:
    """The form of each; None if there is one that kept code does not take."""
    found = [_form(each) for each in arguments]
    return tuple(form for form in found if form is not None) if None not in found else None


def parts(forms: Sequence[Form], arguments: Sequence[Any]) -> Iterator[tuple[Form, Any]]:
    """Each form and the argument of this form, tuples before what is in them."""
    for form, argument in zip(forms, arguments, strict=True):
        yield form, argument
        if isinstance(form, TupleForm):
            yield from parts(form.members, argument)


def plain(argument: Any) -> Any:
    """The same with the very classes and types that compiled code looks for: no subclasses, no copies of types."""
    if isinstance(argument, np.ndarray):
        base = argument.view(np.ndarray)
        return base if base.dtype is canonical(base.dtype) else base.view(canonical(base.dtype))
    if isinstance(argument, tuple):
        kind: Any = type(argument)
        members = map(plain, argument)
        return tuple(members) if kind is tuple else kind._make(members)
    return argument


def canonical(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """numpy's own object for a native type of numbers, of which others may be copies."""
    return np.dtype(dtype.str)


def _form(argument: Any) -> Form | None:
    if isinstance(argument, np.ndarray):
        dtype, flags = argument.dtype, argument.flags
        if dtype.kind not in "biufc" or not dtype.isnative or not flags.aligned:
            return None
        order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        return ArrayForm(canonical(dtype), argument.ndim, order, flags.writeable)
    if type(argument) in SCALARS:
        return ScalarForm(SCALARS[type(argument)])
    if isinstance(argument, tuple) and (type(argument) is tuple or "_fields" in vars(type(argument))):
        members = forms_of(argument)
        return TupleForm(type(argument), members) if members is not None else None
    return None
