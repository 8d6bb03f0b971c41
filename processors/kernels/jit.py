"""How every kernel is compiled: without the GIL, and kept beside the source, or where that is read-only elsewhere."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite.binding import get_host_cpu_name

from processors import cache

log = logging.getLogger("inbeam")

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


def announce(what: str, *variant: object) -> None:
    """Log a line if these kernels have not been compiled on this machine yet, in this version of numba and of ours."""
    here = Path(__file__).parent
    sources = {path.name: path.stat().st_mtime_ns for path in sorted(here.glob("*.py"))}
    about = {"numba": numba.__version__, "cpu": get_host_cpu_name(), "sources": sources, "variant": variant}
    if cache.first_time(cache.key_of(about)):
        log.info("compiling %s: some seconds, the first time only", what)
