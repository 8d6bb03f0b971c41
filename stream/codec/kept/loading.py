"""Kept code into memory, and a function of Python's own kind in front of it."""

import ctypes
import mmap
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stream.codec.kept.code import Code
from stream.codec.kept.forms import SAME, ArrayForm, Form, parts

METH_FASTCALL = 0x80
OF_PYTHON = (
    "PyBool_FromLong",
    "PyErr_Clear",
    "PyErr_Occurred",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyFloat_FromDouble",
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
    "PyLong_FromUnsignedLongLong",
    "PyTuple_New",
    "PyTuple_SetItem",
    "Py_IncRef",
)
OF_C = ("memcpy", "memset", "memmove")
OF_MATHEMATICS = ("log", "logf")
NEVER_REACHED = {"NRT_MemInfo_call_dtor": "abort"}
"""numba frees what it has allocated, and says so of every array that it handles: ours it has not."""


class _Method(ctypes.Structure):
    """PyMethodDef"""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("about", ctypes.c_char_p),
    )


class Loaded:
    """Code in memory that can be run: gives NotImplemented for arguments of another form, Ellipsis where the kernel has
    failed. Raises OSError where the system does not allow it, LookupError for a name that nobody knows."""

    def __init__(self, name: str, code: Code, addresses: Mapping[str, int]) -> None:
        size = -(-len(code.content) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, size)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._memory[: len(code.content)] = code.content
        for at in code.own:
            struct.pack_into("<Q", self._memory, at, base + struct.unpack_from("<Q", code.content, at)[0])
        for at, wanted in code.named:
            value = addresses[wanted] + struct.unpack_from("<q", code.content, at)[0]
            struct.pack_into("<Q", self._memory, at, value)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if protect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "memory cannot be made executable")
        self._method = _Method(name.encode(), base + code.start, METH_FASTCALL, None)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object
        self.call: Callable[..., Any] = make(ctypes.addressof(self._method), None, None)


def addresses(forms: Sequence[Form], arguments: Sequence[Any], own: Mapping[str, Callable[[], int]]) -> dict[str, int]:
    """Name -> address of all that an entry made for `forms`, and its kernel, may need; `own`: those of ours."""
    found = {name: _address(ctypes.pythonapi, name) for name in OF_PYTHON}
    system = ctypes.CDLL(None)
    found |= {name: _address(system, name) for name in OF_C}
    mathematics = ctypes.CDLL("libm.so.6")
    found |= {name: _address(mathematics, name) for name in OF_MATHEMATICS}
    found |= {name: _address(system, instead) for name, instead in NEVER_REACHED.items()}
    found |= {name: where() for name, where in own.items()}
    found |= {"inbeam.refused": id(NotImplemented), "inbeam.failed": id(Ellipsis)}
    found |= {"inbeam.none": id(None), "inbeam.true": id(True)}
    for ours, other in SAME.items():
        found |= {f"inbeam.python.{ours.__name__}": id(ours), f"inbeam.numpy.{ours.__name__}": id(other)}
    for place, (form, argument) in enumerate(parts(forms, arguments)):
        found[f"inbeam.type.{place}"] = id(type(argument))
        if isinstance(form, ArrayForm):
            found[f"inbeam.dtype.{place}"] = id(form.dtype)
    return found


def layouts_are_known() -> bool:
    """True if arrays, tuples and numbers lie in memory as `entry` reads them."""
    array = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    array.flags.writeable = False
    head = object.__basicsize__
    data, axes, shape, strides, _, dtype, flags = struct.unpack("@QiQQQQi", ctypes.string_at(id(array) + head, 52))
    known = data == array.ctypes.data and axes == 3 and dtype == id(array.dtype) and flags & 0x503 == 0x100
    if not known or struct.unpack("3q", ctypes.string_at(shape, 24)) != array.shape:
        return False
    numbers = (2.5, np.float64(2.5), np.uint64(2**63 + 1), np.int32(-3))
    read = [
        struct.unpack(kind, ctypes.string_at(id(each) + head, struct.calcsize(kind)))[0]
        for kind, each in zip("ddQi", numbers, strict=True)
    ]
    members = struct.unpack("4Q", ctypes.string_at(id(numbers) + tuple.__basicsize__, 32))
    (length,) = struct.unpack("q", ctypes.string_at(id(numbers) + head, 8))
    return (
        struct.unpack("3q", ctypes.string_at(strides, 24)) == array.strides
        and all(one == other for one, other in zip(read, numbers, strict=True))
        and (length, members) == (4, tuple(map(id, numbers)))
    )


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
