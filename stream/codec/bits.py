"""Bits of 64-bit words in compiled code: numba has no function of its own for the processor's instructions."""

from typing import Any

from stream.codec.compiler import Instruction


def _bit_count() -> Any:
    from numba import types
    from numba.extending import intrinsic

    def count(typing: Any, word: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.ctpop(arguments[0])

        return types.uint64(types.uint64), emit

    return intrinsic(count)


def _lowest_bit() -> Any:
    from numba import types
    from numba.extending import intrinsic

    def lowest(typing: Any, word: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

        return types.uint64(types.uint64), emit

    return intrinsic(lowest)


bit_count: Any = Instruction(_bit_count)
"""How many bits of a uint64 are set, uint64."""
lowest_bit: Any = Instruction(_lowest_bit)
"""The place of the lowest bit of a uint64 that is set, uint64: 0 ... 63, and 64 for 0."""
