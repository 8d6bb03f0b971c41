"""Whether a MAR345 file is whole: its pixels are packed in blocks, each with its count, which must add up.

fabio unpacks what is not there: a file that is cut off gives zeros, or takes the process down. Source: the format of
J. P. Abrahams' pack_c (CCP4): blocks of 6 bits of header (binary logarithm of the count, code of the size) and so many
numbers of that size, to be added to what the neighbours foretell; intensities above 16 bits in a table before them.
"""

import re
import struct

from stream.errors import BadMessage

MAGIC = (b"\xd2\x04\x00\x00", b"\x00\x00\x04\xd2")
HEADER = 4096
RECORD = 64
"""Bytes of the table of high intensities that hold eight of them."""
BITS = (0, 4, 5, 6, 7, 8, 16, 32)
PACKED = re.compile(rb"\nCCP4 packed image(?: V\d)?, X: (\d{4}), Y: (\d{4})\n")


def check(data: bytes) -> None:
    """Raises BadMessage if the file is cut off, contradicts itself, or is packed in another way."""
    if len(data) < HEADER:
        raise BadMessage("is cut off in its header")
    order = "<" if data[:4] == MAGIC[0] else ">"
    columns, high, packing, _, pixels = struct.unpack_from(f"{order}5i", data, 4)
    found = PACKED.search(data, HEADER)
    if found is None or b" V" in found.group(0) or packing != 1:
        raise BadMessage("is cut off, or its pixels are packed in another way than `CCP4 packed image`")
    if (int(found.group(1)), int(found.group(1)) * int(found.group(2))) != (columns, pixels):
        raise BadMessage(f"is damaged: its header says {pixels} pixels in rows of {columns}, its pixels another size")
    table = found.start() - HEADER
    if high < 0 or not 0 <= table - RECORD * -(-high // 8) < RECORD:
        raise BadMessage(f"is damaged: its header says {high} high intensities, but their table has {table} bytes")
    if not _add_up(data[found.end() :], pixels):
        raise BadMessage(f"is cut off or damaged: its blocks are not {pixels} pixels")


def _add_up(stream: bytes, wanted: int) -> bool:
    """True if the blocks hold so many numbers, all within the stream, and nothing is left over but the last bits."""
    padded, bits = stream + b"\0\0", 8 * len(stream)
    place = count = 0
    while count < wanted and place + 6 <= bits:
        at = place >> 3
        head = (padded[at] | padded[at + 1] << 8) >> (place & 7)
        number = 1 << (head & 7)
        count += number
        place += 6 + number * BITS[head >> 3 & 7]
    return count == wanted and place <= bits
