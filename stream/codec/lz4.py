"""LZ4 blocks of bitshuffled counts whose higher byte planes repeat one row: the repetition is recognised, not written.

Such a block ends with one long match, which is three quarters of its bytes, and with some literals that go on with it.
What is rare (the last bytes of a frame, and whatever is not right) is left to the library, whose word counts: this
decoder only ever says yes where the library does.
Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md, with its restrictions at the end of a block.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.codec.memory import RUN, copy_16, copy_run, fill_run, load_1, load_2, load_8, store_8

SLACK = 64
"""Bytes behind the end of a target that may be overwritten."""
UNKNOWN, WHOLE, REPEATED = 0, 1, 2
FIRST = np.array([0] + [256**n - 1 for n in range(1, 9)], np.uint64)
"""By distance: which of the next 8 bytes are there already."""
TIMES = np.array([0] + [sum(256**k for k in range(0, 8, n)) % 2**64 for n in range(1, 9)], np.uint64)
"""By distance: what to multiply them with to repeat them over 8 bytes."""
FAR = np.array([0, 8, 8, 9, 8, 10, 12, 14, 8], np.uint64)
"""By distance: its smallest multiple that is 8 or more."""


@kernel
def decompress(source, end, limit, target, want, row, plane):  # type: ignore[no-untyped-def]
    """The block at the addresses `source` ... `end`, `want` bytes to `target`, where there is room for SLACK more.

    limit: the end of the memory that may be read. row: bytes of a row of bits; plane: of a byte plane, 8 rows. All are
    uint64. Returns WHOLE; REPEATED where all rows behind the first `plane` bytes are the same, of which only the first
    is written; or UNKNOWN: ask the library.
    """
    at, to, stop = source, target, target + want
    if end < source + np.uint64(16) or want < plane + np.uint64(4) * row or row < np.uint64(64):
        return UNKNOWN
    known = stop
    while True:
        if at + np.uint64(32) > limit:
            return UNKNOWN
        token = load_1(at)
        at += np.uint64(1)
        literals, length = token >> np.uint64(4), (token & np.uint64(15)) + np.uint64(4)
        if literals == np.uint64(15) or at + literals + np.uint64(8) > end or to + literals + np.uint64(12) > stop:
            if literals == np.uint64(15):
                more = np.uint64(255)
                while more == np.uint64(255):
                    if at >= end:
                        return UNKNOWN
                    more = load_1(at)
                    at += np.uint64(1)
                    literals += more
            if at + literals > end or to + literals > stop or at + literals + np.uint64(32) > limit:
                return UNKNOWN
            if known < stop:  # only literals that go on with the repetition may follow
                if at + literals != end or to + literals != stop:
                    return UNKNOWN
                first = to - (stop - known)  # they lie in the last row: the same place in the first one
                for k in range(literals):
                    if load_1(at + k) != load_1(first + k):
                        return UNKNOWN
                return REPEATED
            done = np.uint64(0)
            while done < literals:
                copy_16(to + done, at + done)
                done += np.uint64(16)
            at += literals
            to += literals
            if at == end:
                return WHOLE if to == stop else UNKNOWN
            if at + np.uint64(8) > end or to + np.uint64(12) > stop:
                return UNKNOWN
        else:
            if known < stop:
                return UNKNOWN
            copy_16(to, at)
            at += literals
            to += literals
        distance = load_2(at)
        at += np.uint64(2)
        if length == np.uint64(19):
            more = load_1(at)
            at += np.uint64(1)
            length += more
            while more == np.uint64(255):
                if at >= end:
                    return UNKNOWN
                more = load_1(at)
                at += np.uint64(1)
                length += more
        if distance == np.uint64(0) or distance > to - target or to + length + np.uint64(5) > stop:
            return UNKNOWN
        near = min(distance, np.uint64(8))
        back = FAR[near] if distance < np.uint64(8) else distance
        word = (load_8(to - distance) & FIRST[near]) * TIMES[near]
        store_8(to, word)
        store_8(to + np.uint64(8), load_8(to + np.uint64(8) - back))
        store_8(to + np.uint64(16), load_8(to + np.uint64(16) - back))
        if length > np.uint64(24):
            copied = length
            if to + length + row > stop and to <= target + plane + distance and row % distance == np.uint64(0):
                known = target + plane + row
                copied = known - to
            done = np.uint64(24)
            if back == np.uint64(8):
                while done < copied:
                    fill_run(to + done, word)
                    done += np.uint64(RUN)
            elif back >= np.uint64(RUN):
                while done < copied:
                    copy_run(to + done, to + done - back)
                    done += np.uint64(RUN)
            else:
                while done < copied:
                    store_8(to + done, load_8(to + done - back))
                    done += np.uint64(8)
        to += length
