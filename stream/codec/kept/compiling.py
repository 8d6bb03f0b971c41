"""The one place that imports numba: kernels are compiled here, and their machine code is taken to be kept."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any


def _import_without_scipy() -> None:
    """numba imports scipy.linalg only to learn whether a BLAS is there, which takes 0.2 s.

    It asks again where a kernel does use a BLAS (numba.np.linalg.ensure_blas), so nothing is lost.
    """
    absent = "scipy.linalg" not in sys.modules
    if absent:
        sys.modules["scipy.linalg"] = None  # type: ignore[assignment]
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        if absent:
            del sys.modules["scipy.linalg"]


_import_without_scipy()

import llvmlite.binding  # noqa: E402
import numba  # noqa: E402
from numba.core.caching import CompileResultCacheImpl, FunctionCache  # noqa: E402

from stream.codec.kept import entry  # noqa: E402
from stream.codec.kept.code import Code  # noqa: E402
from stream.codec.kept.elf import Unfit, link  # noqa: E402
from stream.codec.kept.forms import Form  # noqa: E402
from stream.codec.kept.identity import Made, Unknown, identity, seen  # noqa: E402


def dispatcher(made: Made, function: FunctionType, options: Mapping[str, Any]) -> Any:
    """numba's own kernel. What it calls of ours is put into its place first.

    numba keeps it in __pycache__ beside the source, else in the user's cache folder, else where NUMBA_CACHE_DIR says.
    Where none of them can be written it is compiled once per process.
    """
    real = {name: value.real() for name, value in seen(function).items() if isinstance(value, Made)}
    inner = FunctionType(
        function.__code__,
        {**function.__globals__, **real},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    inner.__module__, inner.__qualname__, inner.__doc__ = function.__module__, function.__qualname__, function.__doc__
    inner.__kwdefaults__ = function.__kwdefaults__
    compiled = numba.njit(**{"nogil": True, "error_model": "numpy", **options})(inner)
    try:
        compiled._cache = _Cache(inner, made)
    except (RuntimeError, AttributeError):  # no place for it; or, with NUMBA_DISABLE_JIT, no kernel
        return compiled
    return compiled


def code_of(compiled: Any, arguments: Sequence[Any], forms: Sequence[Form], known: Collection[str]) -> Code:
    """What `compiled` made of these arguments, in a form that runs without numba. Raises Unfit.

    known: names that will have an address.
    """
    overload = compiled.overloads.get(tuple(map(compiled.typeof_pyval, arguments)))
    cache = compiled._cache
    if overload is None or not isinstance(cache, _Cache):
        raise Unfit("it was not compiled by itself, or cannot be kept")
    kernel = cache.objects().get(overload.fndesc.llvm_func_name)
    if kernel is None:
        raise Unfit("its object file is not known")
    release = bool(compiled.targetoptions.get("nogil"))
    return link([entry.entry(overload, forms, release=release), kernel], entry.NAME, known.__contains__)


def external(name: str, address: int, result: str, arguments: Sequence[str]) -> Any:
    """A function of a library, by name rather than by address, so that compiled code can be kept from run to run."""
    llvmlite.binding.add_symbol(name, address)
    kinds = [getattr(numba.types, each) for each in arguments]
    return numba.types.ExternalFunction(name, getattr(numba.types, result)(*kinds))


class _Objects(CompileResultCacheImpl):
    """Takes note of the machine code that passes by, on its way to numba's cache and from there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self.objects: dict[str, bytes] = {}

    def reduce(self, cres: Any) -> Any:
        payload = super().reduce(cres)  # type: ignore[no-untyped-call]
        self._note(payload)
        return payload

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        self._note(payload)
        return super().rebuild(target_context, payload)  # type: ignore[no-untyped-call]

    def _note(self, payload: Any) -> None:
        try:
            (_, kind, content), described, *_, must_be_prepared, _ = payload
            if kind == "object" and not must_be_prepared:
                self.objects[described.llvm_func_name] = content[0]
        except (TypeError, ValueError, AttributeError):  # another numba: it keeps its own, we do not
            return


class _Cache(FunctionCache):
    """What numba keeps on disk, under a key that says what it was made from.

    numba itself looks at the file of the function alone, but the code of a kernel holds that of the kernels it calls:
    where one of those had changed in a file of its own, the old one went on being used.
    """

    _impl_class = _Objects

    def __init__(self, function: FunctionType, made: Made) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        try:
            self._made_from = identity(made)
        except Unknown:
            self._made_from = _files(Path(function.__code__.co_filename).parent)

    def objects(self) -> Mapping[str, bytes]:
        """Name of the function -> its object file."""
        found: Mapping[str, bytes] = self._impl.objects
        return found

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self._made_from)  # type: ignore[no-untyped-call]


@cache
def _files(folder: Path) -> str:
    """All sources whose kernels one in this folder may call: those beside it, and those of the decoders."""
    codec = Path(__file__).parents[1]
    sources = [path for each in (folder, codec) for path in sorted(each.glob("*.py"))]
    states = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sources]
    return sha256(repr(states).encode()).hexdigest()
