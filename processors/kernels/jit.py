"""How every kernel is compiled: without the GIL, and kept beside the source, or where that is read-only elsewhere."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first use of each combination of types; the machine code is kept on disk.

    numba writes to __pycache__ beside the source, else to the user's cache folder, else where NUMBA_CACHE_DIR says;
    where none can be written it would refuse to import (RuntimeError): then the kernel is compiled once per process.
    """
    try:
        return cast(F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


def helper(function: F) -> F:
    """As `kernel`, but inlined into the kernels that call it."""
    return cast(F, numba.njit(nogil=True, inline="always", error_model="numpy")(function))
