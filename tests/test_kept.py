"""Machine code that is kept: without numba it gives what numba gives, and only whole, right code is run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.errors import TypingError

from stream.codec.blocks import decode_bslz4
from stream.codec.compiler import Kernel, kernel
from stream.codec.kept import loading, store
from stream.codec.kept.code import Code
from stream.codec.kept.elf import Unfit, link
from stream.codec.kept.forms import forms_of
from stream.codec.kept.machine import machine
from stream.codec.native import bslz4_compress

kept_here = pytest.mark.skipif(machine() is None, reason="code is kept on Linux, x86-64")
pytestmark = kept_here

MANY = """
from typing import NamedTuple
import numpy as np
from stream.codec.compiler import kernel
from stream.codec.bits import bit_count

TABLE = np.array([3.5, 4.5])

class Pair(NamedTuple):
    first: np.ndarray
    second: float

@kernel
def arrays(a, b):
    a[0, 0] += 1
    return a[0, 1] * 10 + b[2] + a.shape[1] * 100.0 + b.strides[0] + a.size / b.size

@kernel
def named(pair, both):
    pair.first[:] = both[1] + pair.second
    return both[0], np.float32(pair.first[1]), pair.first.size > 1, np.uint64(2**64 - 1)

@kernel
def nothing(a):
    a[0] = TABLE[1]

@kernel(nogil=False)
def scalars(a, b, c, d, e):
    return a + 2 * b + c if d else e

@kernel
def perhaps(a, b, c):
    return -1 if a is None else a[0] + len(b) + c[0][1]

@kernel
def counted(word):
    return bit_count(word)

@kernel
def assigned(a, b):
    a[:] = b

@kernel
def logarithm(x, y):
    return np.log(x) + np.log(y)

@kernel
def allocated(n):
    return np.zeros(n).sum() + n
"""
TOLD = """
import sys
import numpy as np
from many import *

wide = np.arange(24, dtype="f4").reshape(4, 6)
frozen = np.arange(9, dtype="u1")
frozen.flags.writeable = False
class Sub(np.ndarray): pass
told = []
for a, b in (
    (wide.copy(), frozen),
    (np.asfortranarray(wide), frozen.view(Sub)),
    (wide.copy()[::2, ::2], np.ones(5, bool)),
    (wide.astype("q"), np.arange(9, dtype="i8")[::3]),
    (wide.astype(np.longlong), np.arange(9, dtype=np.longlong)[::3]),
):
    told += [arrays(a, b), a.sum()]
some = np.zeros(4)
for both in ((3, 2.5), (np.int64(2**40), np.float64(-1))):
    told += [*named(Pair(some, 0.5), both), some.sum()]
told += [nothing(some), some[0]]
for values in ((1, 2.5, np.float32(0.5), True, 7.0), (np.uint64(5), 1, 2, False, np.int64(-3)), (-2, -1, 1, True, 0)):
    told += [scalars(*values)]
told += [perhaps(None, (), ((1, 2),)), perhaps(some, (None, 1), ((1, 2),)), perhaps(some, (), ((1, 2), None))]
told += [counted(np.uint64(0xF0F0)), logarithm(2.0, np.float32(3))]
print([float(each) if isinstance(each, np.generic) else each for each in told])
print("numba" in sys.modules)
try:
    assigned(np.zeros(3), np.zeros(4))
except ValueError as error:
    print(error)
print(scalars(a=-2, b=-1, c=1, d=True, e=0), allocated(3))
"""


def python(folder: Path, code: str) -> list[str]:
    """What `code` prints in a process of its own that keeps its kernels in `folder`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])}
    environment |= {"NUMBA_CACHE_DIR": str(folder / "kept"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert not result.returncode, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
def test_all_kinds_of_arguments_and_results_are_the_same_without_numba(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(MANY)
    first, second = python(tmp_path, TOLD), python(tmp_path, TOLD)
    assert (first[1], second[1]) == ("True", "False")
    del first[1], second[1]
    assert first == second
    assert "cannot assign slice" in first[1], "a kernel that fails says what numba's own would say"
    assert first[2] == "-3 3.0", "one that allocates is kept by numba alone"


def packed() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """An image and its bitshuffled blocks."""
    image = np.random.default_rng(1).poisson(0.6, (70, 90)).astype("u4")
    return image, np.frombuffer(bslz4_compress(image), "u1")[12:]


Calling = Callable[..., Any]


@pytest.fixture
def adding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Kernel]:
    """A kernel that is kept in a folder of its own, as a new process would see it."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))

    def made() -> Kernel:
        found: Kernel = kernel(_adding)
        return found

    made()(np.arange(5.0), 2)
    return made


def _adding(values: Any, more: Any) -> Any:
    total = 0.0
    for each in values:
        total += each + more
    return total


@pytest.fixture
def file(adding: Callable[[], Kernel], tmp_path: Path) -> Path:
    (path,) = (tmp_path / "kept").glob("*.kernel")
    return path


def test_kept_code_is_found_again(adding: Callable[[], Kernel], file: Path) -> None:
    again = adding()
    assert again(np.arange(5.0), 2) == 20 and again.without_numba and again.versions == 1
    assert again(np.arange(6.0), 3) == 33 and again.without_numba and again.versions == 1


def test_arguments_of_another_form_are_never_taken_for_those_it_was_made_for(adding: Callable[[], Kernel]) -> None:
    again = adding()
    assert again(np.arange(5.0), 2) == 20
    for values in (np.arange(5), np.arange(10.0)[::2]):
        assert again(values, 2) == values.sum() + 10
    assert again(np.arange(5.0), 2.5) == 22.5
    with pytest.raises(TypeError):
        again(np.arange(5.0))
    for wrong in ("some", np.arange(5, dtype=">f8"), np.array([None]), None):
        with pytest.raises((TypeError, TypingError)):
            again(wrong, 2)
    assert again(np.arange(5.0), 2) == 20
    assert again(np.arange(5.0).view(np.recarray), 2) == 20


@pytest.mark.parametrize("place", [0, 20, 100, 200, 300, 1000, -1, None])
def test_damaged_code_is_not_run(adding: Callable[[], Kernel], file: Path, place: int | None) -> None:
    content = bytearray(file.read_bytes())
    if place is None:
        del content[-9:]
    else:
        content[place] ^= 1
    file.write_bytes(content)
    again = adding()
    assert again(np.arange(5.0), 2) == 20 and not again.without_numba
    last = adding()
    assert last(np.arange(5.0), 2) == 20 and last.without_numba, "it has been replaced"


def test_code_that_others_could_have_written_is_not_run(adding: Callable[[], Kernel], file: Path) -> None:
    file.chmod(0o664)
    again = adding()
    assert again(np.arange(5.0), 2) == 20 and not again.without_numba


def test_code_of_another_machine_is_not_run(
    adding: Callable[[], Kernel], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.codec.compiler.machine", lambda: "another")
    assert not _run(adding()).without_numba
    monkeypatch.setattr("stream.codec.compiler.machine", lambda: None)
    assert not _run(adding()).without_numba


def _run(made: Kernel) -> Kernel:
    assert made(np.arange(5.0), 2) == 20
    return made


def test_where_memory_cannot_be_made_executable_numba_is_asked(
    adding: Callable[[], Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any) -> Any:
        raise PermissionError("not here")

    monkeypatch.setattr(loading, "Loaded", refused)
    assert not _run(adding()).without_numba


def test_nothing_is_lost_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    store.save(Path(__file__), "name", "key", Code(b"", 0, (), ()))
    assert store.saved(Path(__file__), "name", "key") is None


def test_a_place_outside_of_the_code_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for code in (Code(bytes(64), 0, (57,), ()), Code(bytes(64), 64, (), ()), Code(bytes(64), 0, (), ((-1, "memcpy"),))):
        store.save(Path(__file__), "name", "key", code)
        assert store.saved(Path(__file__), "name", "key") is None
    good = Code(bytes(64), 0, (56,), ((0, "memcpy"),))
    store.save(Path(__file__), "name", "key", good)
    assert store.saved(Path(__file__), "name", "key") == good
    assert store.saved(Path(__file__), "name", "another") is None


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + bytes(100), b"MZ" + bytes(100)])
def test_what_is_no_object_file_is_unfit(content: bytes) -> None:
    with pytest.raises(Unfit):
        link([content], "function", lambda name: True)


def test_objects_lie_in_memory_as_the_entry_reads_them() -> None:
    assert loading.layouts_are_known()


def test_forms_tell_apart_what_numba_tells_apart() -> None:
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    values = [
        None,
        (),
        (None,),
        np.zeros(3),
        np.zeros((1, 3)),
        np.zeros(3, "f4"),
        frozen,
        np.zeros(6)[::2],
        1,
        1.0,
        True,
        np.float32(1),
    ]
    assert len({forms_of([value]) for value in (1, np.int64(1), 2)}) == 1
    values += [(1,), (1.0,), (1, 1), np.zeros((2, 3), order="F"), np.zeros((4, 3))[::2]]
    assert len({forms_of([value]) for value in values}) == len(values)
    unaligned = np.zeros(9, "u1")[1:].view("f8")
    for value in ("text", [1], np.zeros(2, ">f8"), np.zeros(2, object), unaligned, (1, "text"), 1j):
        assert forms_of([value, 1]) is None


@pytest.mark.slow
def test_the_decoder_is_found_again_with_the_function_that_it_calls() -> None:
    image, blocks = packed()
    for _ in range(2):
        again: Kernel = kernel(decode_bslz4.__wrapped__)
        out, scratch = np.zeros(image.size, "u4"), np.zeros((2, 8192), "u1")
        assert again(blocks, 8192, *scratch, out) == 0 and (out == image.ravel()).all()
        assert again(blocks[:-3], 8192, *scratch, out) == 1
    assert again.without_numba
