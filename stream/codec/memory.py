"""Bytes at addresses, in compiled code: words and runs of bytes that need not be aligned. Nothing is checked here."""

from typing import Any

from stream.codec.compiler import Instruction

RUN = 32
"""Bytes of a run: two or one of the processor's vectors."""


def _loading(bits: int) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def load(typing: Any, address: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            found = builder.load(builder.inttoptr(arguments[0], kind.as_pointer()), align=1)
            return builder.zext(found, ir.IntType(64)) if bits < 64 else found

        return types.uint64(types.uint64), emit

    return intrinsic(load)


def _copying(size: int) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def copy(typing: Any, target: Any, source: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.VectorType(ir.IntType(8), size).as_pointer()
            to, of = (builder.inttoptr(each, kind) for each in arguments)
            builder.store(builder.load(of, align=1), to, align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), emit

    return intrinsic(copy)


def _storing() -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def store(typing: Any, target: Any, word: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[1], builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), emit

    return intrinsic(store)


def _filling(size: int) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def fill(typing: Any, target: Any, word: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.VectorType(ir.IntType(64), size // 8)
            words = ir.Constant(kind, ir.Undefined)
            for place in range(size // 8):
                words = builder.insert_element(words, arguments[1], ir.Constant(ir.IntType(32), place))
            builder.store(words, builder.inttoptr(arguments[0], kind.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), emit

    return intrinsic(fill)


def _adding() -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def add(typing: Any, target: Any, first: Any, second: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word, pair = ir.IntType(64), ir.VectorType(ir.IntType(64), 2)
            to = builder.inttoptr(arguments[0], pair.as_pointer())
            added = ir.Constant(pair, ir.Undefined)
            for place, address in enumerate(arguments[1:]):
                loaded = builder.load(builder.inttoptr(address, word.as_pointer()), align=8)
                added = builder.insert_element(added, loaded, ir.Constant(ir.IntType(32), place))
            builder.store(builder.add(builder.load(to, align=8), added), to, align=8)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64, types.uint64), emit

    return intrinsic(add)


load_1: Any
load_2: Any
load_8: Any
load_1, load_2, load_8 = Instruction(_loading, 8), Instruction(_loading, 16), Instruction(_loading, 64)
"""load_N(address): N bytes, little-endian, as uint64."""
store_8: Any = Instruction(_storing)
"""store_8(address, word)"""
fill_run: Any = Instruction(_filling, RUN)
"""fill_run(address, word): the 8 bytes of a word over and over, RUN bytes."""
copy_16: Any
copy_run: Any
copy_16, copy_run = Instruction(_copying, 16), Instruction(_copying, RUN)
"""copy_N(target, source): all bytes are read before one is written."""
add_2: Any = Instruction(_adding)
"""add_2(target, first, second): add the uint64 at `first` and that at `second` to the two at `target`."""
