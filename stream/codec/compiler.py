"""How every kernel is compiled: without the GIL, and kept on disk, so that a restart in mid-scan does not compile."""

import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F | None = None, **options: Any) -> Any:
    """Compile on first use of each combination of types; `options` are those of numba.njit.

    numba keeps the machine code in __pycache__ beside the source, else in the user's cache folder, else where
    NUMBA_CACHE_DIR says. Where none of them can be written it refuses to import: then it compiles once per process.
    """
    if function is None:
        return lambda each: kernel(each, **options)
    made = numba.njit(**{"nogil": True, "error_model": "numpy", **options})(function)
    try:
        made._cache = _Kept(function)
    except RuntimeError:
        return cast(F, made)
    return cast(F, made)


class _Kept(FunctionCache):
    """What numba keeps on disk, under a key that says what it was made from.

    numba itself looks at the file of the function alone, but the code of a kernel holds that of the kernels it calls:
    where one of those had changed in a file of its own, the old one went on being used.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._made_from = _made_from(Path(function.__code__.co_filename).parent)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self._made_from)  # type: ignore[no-untyped-call]


@cache
def _made_from(folder: Path) -> str:
    """All sources whose kernels one in this folder may call: those beside it, and those beside this file."""
    sources = [path for each in (folder, Path(__file__).parent) for path in sorted(each.glob("*.py"))]
    states = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sources]
    return sha256(repr(states).encode()).hexdigest()


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
