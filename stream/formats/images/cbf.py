"""CBF, as PILATUS, EIGER and other detectors write it: byte-offset packed or plain pixels with an MD5 sum of their own.

Source: International Tables for Crystallography, volume G, chapters 2.3 and 5.6 (imgCIF and the binary sections). The
format says five times how many bytes and pixels there are; all that is said has to agree.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from stream.errors import BadMessage
from stream.events import Array
from stream.formats.images.unpack import whole
from stream.wire.limits import DEFAULT

MAGIC = b"###CBF:"
SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
STARTER = b"\x0c\x1a\x04\xd5"
LONGEST_HEADER = 2**20
REALS = {"signed 32-bit real IEEE": "f4", "signed 64-bit real IEEE": "f8"}
TEXT = re.compile(rb"^(_\S+)[ \t]*\r?\n;(.*?)\r?\n;", re.DOTALL | re.MULTILINE)
VALUE = re.compile(rb"^(_\S+)[ \t]+([^\r\n]+)", re.MULTILINE)
STEP_SIZE = 0x5EEDBEE5
STEP = b"\x80\x00\x80" + STEP_SIZE.to_bytes(4, "little")
"""A difference of 32 bits as it stands among packed pixels."""
NOT_YET = "-" * 24
"""What stands for the MD5 sum where its writer has not computed one (CBFlib)."""


class Cbf:
    """One CBF file; each binary section is a frame."""

    def __init__(self, file: IO[bytes]) -> None:
        with file:
            self._bytes = whole(file)
        first = self._bytes.find(SECTION)
        if not 0 <= first <= LONGEST_HEADER:
            raise BadMessage("is cut off or no CBF: no binary section begins in its first MiB")
        self._words = _words(self._bytes[:first])
        self._sections: list[tuple[dict[str, str], int]] = []
        at = first
        while at >= 0:
            words, start = self._section(at + len(SECTION))
            self._sections.append((words, start))
            at = self._next(start + _number(words, "X-Binary-Size"))
        self.frames = len(self._sections)

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        """Pixels and header of one frame. Raises BadMessage if anything in it contradicts another thing."""
        words, start = self._sections[place]
        size = _number(words, "X-Binary-Size")
        raw = self._bytes[start : start + size]
        if len(raw) < size:
            raise BadMessage(f"is cut off: {len(raw)} of its {size} bytes of pixels are there")
        _check_digest(words, raw)
        return _pixels(words, raw), self._words | words

    def close(self) -> None:
        """Free its bytes."""
        self._bytes = b""

    def _section(self, at: int) -> tuple[dict[str, str], int]:
        start = self._bytes.find(STARTER, at, at + LONGEST_HEADER)
        if start < 0:
            raise BadMessage("is cut off or damaged: no pixels begin behind the header of its binary section")
        words = {}
        for line in self._bytes[at:start].decode("latin-1").splitlines():
            found = re.match(r"\s*([\w-]+)\s*[:=]\s*(.*)", line)
            if found:
                words[found.group(1)] = found.group(2).strip(' "\t')
        packing = re.search(r'conversions="?([\w-]+)', words.get("Content-Type", ""))
        if packing:
            words["conversions"] = packing.group(1)
        return words, start + len(STARTER)

    def _next(self, at: int) -> int:
        """Where the next binary section begins, -1 if there is none; the mark of an end begins like that of a start."""
        at = self._bytes.find(SECTION, at)
        while at >= 0 and self._bytes.startswith(b"--", at + len(SECTION)):
            at = self._bytes.find(SECTION, at + len(SECTION))
        return at


def _words(text: bytes) -> dict[str, str]:
    """What stands before the pixels: `_name value` on a line, or a text between two lines that begin with `;`."""
    pairs = [*VALUE.findall(TEXT.sub(b"", text)), *TEXT.findall(text)]
    return {key.decode("latin-1"): value.decode("latin-1").strip(" \"'\r\n\t") for key, value in pairs}


def _number(words: Mapping[str, str], key: str, default: int | None = None) -> int:
    text = words.get(key)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\d{1,15}", text):
        raise BadMessage(f"is damaged: its {key} is {text!r}" if text else f"is damaged: it has no {key}")
    return int(text)


def _check_digest(words: Mapping[str, str], raw: bytes) -> None:
    told = words.get("Content-MD5", "")
    if told and told != NOT_YET:
        computed = base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()
        if told != computed:
            raise BadMessage(f"is damaged: its pixels have the MD5 sum {computed}, its header says {told}")


def _pixels(words: Mapping[str, str], raw: bytes) -> Array:
    from fabio.cbfimage import DATA_TYPES  # a tenth of a second: only for who reads such files
    from fabio.compression import decByteOffset

    columns, rows = (_number(words, f"X-Binary-Size-{which}-Dimension") for which in ("Fastest", "Second"))
    count = rows * columns
    if _number(words, "X-Binary-Size-Third-Dimension", 1) > 1 or not 0 < count <= DEFAULT.pixels:
        raise BadMessage(f"holds no single image of sensible size: {rows} rows, {columns} columns")
    if _number(words, "X-Binary-Number-of-Elements", count) != count:
        told = words["X-Binary-Number-of-Elements"]
        raise BadMessage(f"is damaged: its header says {told} pixels, but {rows} rows of {columns}")
    name = words.get("X-Binary-Element-Type", "signed 32-bit integer")
    if name not in DATA_TYPES and name not in REALS:
        raise BadMessage(f"has pixels of a type that is not known: {name!r}")
    dtype = np.dtype(DATA_TYPES.get(name) or REALS[name])
    if words.get("X-Binary-Element-Byte-Order", "LITTLE_ENDIAN").upper() != "LITTLE_ENDIAN":
        raise BadMessage("has its pixels in a byte order that is not supported: write them LITTLE_ENDIAN")
    packing = words.get("conversions", "x-CBF_NONE").upper()
    if packing == "X-CBF_NONE":
        if len(raw) != count * dtype.itemsize:
            raise BadMessage(f"is damaged: {len(raw)} bytes are not {count} pixels of {dtype}")
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(rows, columns)
    if packing != "X-CBF_BYTE_OFFSET" or dtype.kind == "f":
        raise BadMessage(f"has pixels packed as {packing}, which is not supported: write x-CBF_BYTE_OFFSET")
    # Behind the pixels stands one more step, of our own: if it comes out where it should, the bytes are as many as the
    # pixels; the zeros behind it are for fabio, which looks beyond the end of what is cut off.
    values = np.asarray(decByteOffset(raw + STEP + bytes(16), size=count + 1, dtype=str(dtype)))
    if len(values) != count + 1 or (int(values[-1]) - int(values[-2])) % 2**32 != STEP_SIZE:
        raise BadMessage(f"is damaged: its {len(raw)} bytes do not unpack to {count} pixels")
    values = values[:-1]
    if dtype != values.dtype:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise BadMessage(f"is damaged: its pixels do not fit into {dtype}")
    return values.astype(dtype, copy=False).reshape(rows, columns)
