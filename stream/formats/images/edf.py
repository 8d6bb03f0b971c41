"""EDF, the ESRF Data Format, with one or several frames in a file.

Source: P. Boesecke, J. Appl. Cryst. 40 (2007) s423, and the EDF files of Lima, SPD, pyFAI and fabio. A header is text
between braces; the pixels follow it. Where it says how many bytes they are, that has to agree with their dimensions.
"""

import bz2
import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from stream.errors import BadMessage
from stream.events import Array
from stream.wire.limits import DEFAULT

BLOCK = 512
LONGEST_HEADER = 2**22
END = re.compile(rb"}\r?\n")
BLANK = b" \t\r\n\x00"
MOST_FRAMES = 2**20


@dataclass(frozen=True, slots=True)
class _Frame:
    """start: where its pixels begin in the file; room: the bytes to the next header; problem: why it is no image."""

    header: Mapping[str, str]
    start: int
    room: int
    problem: str = ""


def begins(head: bytes) -> bool:
    """True for the first bytes of such a file; with HEADER_BYTES it is an ADSC or d*TREK image."""
    return re.match(rb"[\r\n]*\{(?!\s*HEADER_BYTES)", head) is not None


class Edf:
    """One EDF file."""

    def __init__(self, file: IO[bytes], folder: str) -> None:
        self._file = file
        self._folder = folder
        self._size = file.seek(0, os.SEEK_END)
        self._frames: list[_Frame] = []
        general: dict[str, str] = {}
        at = 0
        while at < self._size and len(self._frames) < MOST_FRAMES:
            try:
                header, start = self._header(at)
            except BadMessage as error:
                self._behind(at, str(error))
                break
            if "EDF_DataFormatVersion" in header:  # a general block: what it says holds for all frames
                general = {key: value for key, value in header.items() if not _of_one_block(key)}
                at = start + _whole(header, "EDF_BinarySize", 0)
            else:
                room, problem = _room(header)
                self._frames.append(_Frame(general | header, start, room, problem))
                at = start + room
        self.frames = len(self._frames)
        if not self.frames:
            raise BadMessage("is cut off or damaged: it has no EDF header")

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        """Pixels and header of one frame. Raises BadMessage if they are not all there."""
        frame = self._frames[place]
        if frame.problem:
            raise BadMessage(frame.problem)
        header, upper = frame.header, _upper(frame.header)
        shape, dtype = _layout(upper)
        needed = math.prod(shape) * dtype.itemsize
        packing = upper.get("COMPRESSION", "").upper()
        if "EDF_BinaryFileName" in header:
            data = self._beside(header, needed)
        elif frame.start + frame.room > self._size:
            raise BadMessage(f"is cut off: frame {place} has fewer pixels than its header says")
        else:
            self._file.seek(frame.start)
            data = self._file.read(frame.room)
        if packing and not packing.startswith("NO"):
            data = _unpacked(packing, data, needed)
        if len(data) < needed:
            raise BadMessage(f"is cut off: frame {place} has fewer pixels than its header says")
        stored = dtype.newbyteorder(">" if "HIGH" in upper.get("BYTEORDER", "").upper() else "<")
        pixels = np.frombuffer(data, stored, math.prod(shape))
        return pixels.astype(dtype, copy=False).reshape(shape), header

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _header(self, at: int) -> tuple[dict[str, str], int]:
        """The header that begins at a place of the file, and where its pixels begin."""
        self._file.seek(at)
        text = self._file.read(BLOCK)
        if text.lstrip(BLANK)[:1] != b"{":
            raise BadMessage("is damaged: no header begins where one should")
        looked = 0
        while not (end := END.search(text, max(0, looked - 2))):
            looked = len(text)
            more = self._file.read(max(BLOCK, looked))
            if not more or looked > LONGEST_HEADER:
                raise BadMessage("is cut off in a header")
            text += more
        header: dict[str, str] = {}
        for line in text[text.index(b"{") + 1 : end.start()].split(b";"):
            key, sign, value = line.partition(b"=")
            if sign:
                header[key.strip(BLANK).decode("latin-1")] = value.strip(BLANK).decode("latin-1")
        return header, at + end.end()

    def _behind(self, at: int, problem: str) -> None:
        """What lies behind the last frame: nothing but padding, or a frame that is damaged."""
        self._file.seek(at)
        rest = self._file.read(BLOCK).lstrip(BLANK)
        least = self._frames[-1].room if self._frames else 0
        if rest and (rest[:1] == b"{" or self._size - at >= least):
            self._frames.append(_Frame({}, at, 0, f"{problem}, behind {len(self._frames)} frames"))

    def _beside(self, header: Mapping[str, str], needed: int) -> bytes:
        """The pixels from a file of their own, which lies in the same folder."""
        path = os.path.join(self._folder, os.path.basename(header["EDF_BinaryFileName"]))
        size = _whole(header, "EDF_BinaryFileSize", needed)
        try:
            with open(path, "rb") as file:
                file.seek(_whole(header, "EDF_BinaryFilePosition", 0))
                return file.read(min(size, DEFAULT.pixels * 8))
        except OSError as error:
            raise BadMessage(f"has its pixels in {path}, which cannot be read: {error}") from error


def _upper(header: Mapping[str, str]) -> dict[str, str]:
    return {key.upper(): value for key, value in header.items()}


def _whole(header: Mapping[str, str], key: str, default: int) -> int:
    text = header.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,15}(\.0*)?", text):
        raise BadMessage(f"is damaged: its header says {key} = {text}")
    return int(text.partition(".")[0])


def _layout(upper: Mapping[str, str]) -> tuple[tuple[int, int], np.dtype[Any]]:
    """(rows, columns) and type of the pixels. Raises BadMessage."""
    from fabio.edfimage import DATA_TYPES  # a tenth of a second: only for who reads such files

    ranks = sorted(int(key[4:]) for key in upper if re.fullmatch(r"DIM_\d", key))
    dims = [_whole(upper, f"DIM_{rank}", 1) for rank in range(1, max(ranks, default=0) + 1)]
    if len(dims) < 2 or math.prod(dims[2:]) > 1 or not 0 < dims[0] * dims[1] <= DEFAULT.pixels:
        raise BadMessage(
            f"holds no image of sensible size in two dimensions: {' x '.join(map(str, dims)) or 'no Dim_1'}"
        )
    name = upper.get("DATATYPE", "")
    dtype = np.dtype(DATA_TYPES.get(name, "O"))
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise BadMessage(f"has pixels of a type that is not known: {name!r}")
    return (dims[1], dims[0]), dtype


def _of_one_block(key: str) -> bool:
    return key.startswith("EDF_") or key.upper() in ("SIZE", "IMAGE", "HEADERID")


def _room(header: Mapping[str, str]) -> tuple[int, str]:
    """The bytes between this header and the next, and why they cannot be the pixels.

    `Size` and `EDF_BinarySize` may count the padding to the next block; otherwise they are what the dimensions ask for.
    """
    upper = _upper(header)
    try:
        told = [_whole(upper, key, -1) for key in ("EDF_BINARYSIZE", "SIZE") if key in upper]
        shape, dtype = _layout(upper)
        boundary = max(BLOCK, _whole(upper, "EDF_BLOCKBOUNDARY", BLOCK))
    except BadMessage as error:
        return 0, str(error)
    needed = math.prod(shape) * dtype.itemsize
    if not upper.get("COMPRESSION", "NONE").upper().startswith("NO") or "EDF_BinaryFileName" in header:
        return (told[0] if told else 0), ""
    odd = [size for size in told if not needed <= size < needed + boundary]
    text = (
        f"is damaged: its header says {odd[0]} bytes, but {shape[0]} x {shape[1]} {dtype} are {needed}" if odd else ""
    )
    return (told[0] if told else needed), text


def _unpacked(packing: str, data: bytes, needed: int) -> bytes:
    """Pixels that were packed within the file: exactly as many bytes as are needed."""
    stream: Any
    if "GZIP" in packing:
        stream = zlib.decompressobj(wbits=31)
    elif "BZ" in packing:
        stream = bz2.BZ2Decompressor()
    elif "Z" in packing:
        stream = zlib.decompressobj()
    else:
        raise BadMessage(f"has pixels packed as {packing}, which is not supported: write them without compression")
    try:
        unpacked: bytes = stream.decompress(data, needed + 1)
    except (zlib.error, OSError, ValueError) as error:
        raise BadMessage(f"is damaged: its pixels cannot be unpacked: {error}") from error
    if len(unpacked) != needed or not stream.eof:
        raise BadMessage(f"is damaged: its pixels do not unpack to {needed} bytes")
    return unpacked
