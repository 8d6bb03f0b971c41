"""Bits of 64-bit words in compiled code: numba has no function of its own for the processor's instructions."""

from typing import Any

from numba import types
from numba.extending import intrinsic


def _bit_count(typing: Any, word: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), emit


def _lowest_bit(typing: Any, word: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), emit


bit_count: Any = intrinsic(_bit_count)
"""How many bits of a uint64 are set, uint64."""
lowest_bit: Any = intrinsic(_lowest_bit)
"""The place of the lowest bit of a uint64 that is set, uint64: 0 ... 63, and 64 for 0."""
