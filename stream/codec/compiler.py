"""How every kernel is compiled: without the GIL, and kept on disk, so that a restart in mid-scan does not compile."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F | None = None, **options: Any) -> Any:
    """Compile on first use of each combination of types; `options` are those of numba.njit.

    numba keeps the machine code in __pycache__ beside the source, else in the user's cache folder, else where
    NUMBA_CACHE_DIR says. Where none of them can be written it refuses to import: then it compiles once per process.
    """
    if function is None:
        return lambda each: kernel(each, **options)
    settings = {"nogil": True, "error_model": "numpy", **options}
    try:
        return cast(F, numba.njit(cache=True, **settings)(function))
    except RuntimeError:
        return cast(F, numba.njit(**settings)(function))


def _load_without_scipy() -> None:
    """numba imports scipy.linalg only to learn whether a BLAS is there: 0.2 s of the 0.8 s of a start.

    An archive never needs it, nor does an integration whose matrix is kept. numba asks again where a kernel does use
    a BLAS (numba.np.linalg.ensure_blas), so nothing is lost.
    """
    if "scipy.linalg" in sys.modules:
        return
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules["scipy.linalg"]


_load_without_scipy()
