"""The first 48 bytes of an HDF5 file (superblock version 2 or 3), which a killed writer leaves wrong.

Layout (HDF5 File Format Specification, "Superblock versions 2 and 3"): signature 0-7, version 8, sizes of offsets and
lengths 9 and 10, consistency flags 11 (1 open for writing, 4 SWMR), base address 12, extension 20, end of file 28,
root group 36, checksum 44 = Jenkins' lookup3 over bytes 0..43.
"""

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stream.claim import replacing

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZE = 48
OPEN_NOT_SWMR = 1
"""Flags of a file opened for writing, where readers are not let in."""
COPY_SUFFIX = ".superblock-before-repair"


@dataclass(frozen=True, slots=True)
class Superblock:
    """What matters of a superblock, and the file's size as the system has it (bytes)."""

    raw: bytes
    flags: int
    end_of_file: int
    size: int
    checksum_right: bool

    @property
    def clean(self) -> bool:
        """True if the file was closed properly."""
        return self.checksum_right and self.flags == 0 and self.end_of_file == self.size


def read(path: Path) -> Superblock:
    """Read the superblock. Raises ValueError if this is not an HDF5 file that inbeam can have written."""
    with path.open("rb") as file:
        raw = file.read(SIZE)
        size = os.fstat(file.fileno()).st_size
    if len(raw) < SIZE or not raw.startswith(SIGNATURE):
        raise ValueError(f"{path} is not an HDF5 file, or was cut off at its very beginning")
    if raw[8] not in (2, 3) or raw[9] != 8 or raw[10] != 8:
        raise ValueError(f"{path} was not written by inbeam: its superblock has version {raw[8]}, not 3")
    (end,) = struct.unpack_from("<Q", raw, 28)
    (checksum,) = struct.unpack_from("<I", raw, 44)
    return Superblock(raw, raw[11], end, size, checksum == lookup3(raw[:44]))


def repair(path: Path, size: int | None = None, *, keep_copy: bool = True) -> bool:
    """Clear the flags and set the end of file to the file's size (or make the file `size` bytes long first).

    The old superblock is kept in `<file>.superblock-before-repair`. Returns False if nothing was to be done.
    """
    before = read(path)
    if before.clean and (size is None or size <= before.size):
        return False
    if keep_copy:
        with replacing(path.with_name(path.name + COPY_SUFFIX)) as copy:
            os.write(copy.descriptor, before.raw)
    with path.open("r+b") as file:
        if size is not None and size > before.size:
            os.truncate(file.fileno(), size)
        file.write(repaired(before, max(before.size, size or 0)))
        file.flush()
        os.fsync(file.fileno())
    return True


def repaired(before: Superblock, size: int) -> bytes:
    """The superblock of a file of `size` bytes that was closed properly."""
    raw = bytearray(before.raw)
    raw[11] = 0
    struct.pack_into("<Q", raw, 28, size)
    struct.pack_into("<I", raw, 44, lookup3(bytes(raw[:44])))
    return bytes(raw)


class Sound(io.FileIO):
    """A file as it would be after `repair`, to be read by h5py without changing it."""

    def __init__(self, path: Path) -> None:
        before = read(path)
        self._first = repaired(before, before.size)
        super().__init__(path, "r")

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """As any file, but for the superblock."""
        position = self.tell()
        view = memoryview(buffer).cast("B")
        count = super().readinto(view) or 0
        if position < SIZE:
            part = self._first[position : position + count]
            view[: len(part)] = part
        return count


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 `hashlittle` with initial value 0 (public domain, 2006): HDF5's metadata checksum."""
    mask = 0xFFFFFFFF

    def rotate(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & mask

    a: int
    b: int
    c: int
    a = b = c = (0xDEADBEEF + len(data)) & mask
    position = 0
    while len(data) - position > 12:
        x, y, z = struct.unpack_from("<III", data, position)
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        a = ((a - c) & mask) ^ rotate(c, 4)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ rotate(a, 6)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ rotate(b, 8)
        b = (b + a) & mask
        a = ((a - c) & mask) ^ rotate(c, 16)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ rotate(a, 19)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ rotate(b, 4)
        b = (b + a) & mask
        position += 12
    if len(data) == position:
        return c
    x, y, z = struct.unpack("<III", data[position:].ljust(12, b"\0"))
    a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
    c = ((c ^ b) - rotate(b, 14)) & mask
    a = ((a ^ c) - rotate(c, 11)) & mask
    b = ((b ^ a) - rotate(a, 25)) & mask
    c = ((c ^ b) - rotate(b, 16)) & mask
    a = ((a ^ c) - rotate(c, 4)) & mask
    b = ((b ^ a) - rotate(a, 14)) & mask
    return ((c ^ b) - rotate(b, 24)) & mask
