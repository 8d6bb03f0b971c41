"""TIFF with all its pages, as PILATUS, areaDetector, MarCCD, ImageJ and tifffile write it.

Source: TIFF 6.0 (Adobe, 1992). Uncompressed pages are read here, byte for byte; compressed ones by Pillow, after it is
known that all their strips are there.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from stream.errors import BadMessage
from stream.events import Array
from stream.formats.images import marccd
from stream.formats.images.tiff_tags import MOST_PAGES, Page, Tags
from stream.wire.limits import DEFAULT

NAMES = {269: "documentName", 270: "imageDescription", 271: "make", 272: "model", 305: "software", 306: "date"}
STAMPS = {65000: "NDTimeStamp", 65001: "NDUniqueId", 65002: "epicsTSSec", 65003: "epicsTSNsec"}
"""Numbers that areaDetector's NDFileTIFF writes."""
ATTRIBUTES = range(65010, 65536)
"""Tags of NDFileTIFF, one `name:value` each."""
KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
LONGEST_TEXT = 2**16


class Tiff:
    """One TIFF file; each page is a frame, previews of reduced resolution left out."""

    def __init__(self, file: IO[bytes], folder: str = "") -> None:
        self._tags = Tags(file)
        self._pillow: Any = None
        self._repeats = self._imagej()
        size = self._tags.size - marccd.OFFSET
        head = self._tags.bytes_at(marccd.OFFSET, marccd.LENGTH) if size >= marccd.LENGTH else b""
        self._words = marccd.words(head, self._tags.order) if marccd.is_marccd(head) else {}
        self.frames = len(self._tags.pages) * self._repeats

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        """Pixels and header of one page. Raises BadMessage if they are not all there."""
        page = self._tags.pages[place // self._repeats]
        if page.problem:
            raise BadMessage(page.problem)
        shape, dtype = self._layout(page)
        if self._tags.number(page, 259, 1) != 1:
            pixels = self._by_pillow(page, shape, dtype)
        elif 322 in page.tags:
            pixels = self._tiles(page, shape, dtype)
        else:
            pixels = self._strips(page, shape, dtype, place % self._repeats)
        return pixels.astype(dtype, copy=False), self._header(page)

    def close(self) -> None:
        """Close the file."""
        self._tags.file.close()

    def _header(self, page: Page) -> dict[str, Any]:
        header: dict[str, Any] = dict(self._words)
        for tag in page.tags:
            if tag in ATTRIBUTES:
                name, sign, value = self._tags.text(page, tag)[:LONGEST_TEXT].partition(":")
                if sign:
                    header[name.strip()] = value.strip()
        for tag, name in NAMES.items():
            if text := self._tags.text(page, tag):
                header[name] = text[:LONGEST_TEXT]
        for tag, name in STAMPS.items():
            if values := self._tags.values(page, tag):
                header[name] = values[0]
        return header

    def _layout(self, page: Page) -> tuple[tuple[int, int], np.dtype[Any]]:
        """(rows, columns) and type of the pixels of a page. Raises BadMessage."""
        number = self._tags.number
        shape = number(page, 257), number(page, 256)
        if not 0 < shape[0] * shape[1] <= DEFAULT.pixels:
            raise BadMessage(f"holds no image of sensible size: {shape[0]} rows, {shape[1]} columns")
        bits, kind = number(page, 258, 1), number(page, 339, 1)
        if number(page, 277, 1) != 1 or number(page, 262, 1) == 3:
            raise BadMessage("is an image in colour: write one number per pixel")
        if bits not in (8, 16, 32, 64) or kind not in KINDS or (KINDS[kind] == "f" and bits < 32):
            raise BadMessage(f"has pixels of {bits} bits in the TIFF sample format {kind}, which is not supported")
        return shape, np.dtype(f"{KINDS[kind]}{bits // 8}")

    def _pieces(self, page: Page, needed: list[int], tags: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Where the strips or tiles lie: offset and bytes of each. Raises BadMessage if one is not all there.

        needed: bytes of each as they are without compression; 0: as many as the file says.
        """
        offsets, told = (self._tags.values(page, tag) for tag in tags)
        if len(offsets) < len(needed) or (told and len(told) < len(needed)):
            raise BadMessage(f"is damaged: page {page.place} has {len(offsets)} of the {len(needed)} pieces it needs")
        for place, least in enumerate(needed):
            offset, size = int(offsets[place]), int(told[place]) if told else 0
            if size < least and size > 0:
                raise BadMessage(f"is damaged: a piece of page {page.place} is said to be {size} of {least} bytes long")
            size = least or size
            if not offset or not size or offset + size > self._tags.size:
                raise BadMessage(f"is cut off: pixels of page {page.place} lie behind its end")
            yield offset, size

    def _strips(self, page: Page, shape: tuple[int, int], dtype: np.dtype[Any], skip: int) -> Array:
        rows, row_bytes = shape[0], shape[1] * dtype.itemsize
        buffer = memoryview(bytearray(rows * row_bytes))
        done = 0
        for offset, size in self._pieces(
            page, [rows_of * row_bytes for rows_of in self._strip_rows(page, rows)], (273, 279)
        ):
            self._tags.file.seek(offset + skip * len(buffer))
            got = self._tags.file.readinto(buffer[done : done + size])  # type: ignore[attr-defined]
            if got != size:
                raise BadMessage(f"is cut off: pixels of page {page.place} lie behind its end")
            done += size
        return np.frombuffer(buffer, dtype.newbyteorder(self._tags.order)).reshape(shape)  # type: ignore[arg-type]

    def _strip_rows(self, page: Page, rows: int) -> list[int]:
        each = max(1, min(rows, self._tags.number(page, 278, rows)))
        return [min(each, rows - first) for first in range(0, rows, each)]

    def _tiles(self, page: Page, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
        width, height = self._tags.number(page, 322), self._tags.number(page, 323)
        if not 0 < width * height <= DEFAULT.pixels:
            raise BadMessage(f"is damaged: it has tiles of {height} x {width} pixels")
        corners = [(row, column) for row in range(0, shape[0], height) for column in range(0, shape[1], width)]
        pixels = np.empty(shape, dtype)
        needed = [width * height * dtype.itemsize] * len(corners)
        for (row, column), (offset, size) in zip(corners, self._pieces(page, needed, (324, 325)), strict=True):
            tile = np.frombuffer(self._tags.bytes_at(offset, size), dtype.newbyteorder(self._tags.order))  # type: ignore[arg-type]
            inside = pixels[row : row + height, column : column + width]
            inside[...] = tile.reshape(height, width)[: inside.shape[0], : inside.shape[1]]
        return pixels

    def _by_pillow(self, page: Page, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
        tags = (324, 325) if 322 in page.tags else (273, 279)
        for _ in self._pieces(page, [0] * max(1, len(self._tags.values(page, tags[0]))), tags):
            pass
        if self._pillow is None:
            from PIL import Image as Pillow  # only for who reads such files

            self._tags.file.seek(0)
            self._pillow = Pillow.open(self._tags.file, formats=("TIFF",))
        self._pillow.seek(page.place)
        pixels = np.asarray(self._pillow)
        if pixels.dtype.itemsize == dtype.itemsize and pixels.dtype.kind in "iu" and dtype.kind in "iu":
            pixels = pixels.view(dtype)
        if pixels.shape != shape or (pixels.dtype != dtype and not np.array_equal(pixels, pixels.astype(dtype))):
            raise BadMessage(f"is compressed with pixels of {dtype}, which is not supported: write it uncompressed")
        return pixels

    def _imagej(self) -> int:
        """The frames behind the only page of an ImageJ stack that is too large for a directory of each."""
        page = self._tags.pages[0]
        found = re.match(r"ImageJ=[^\n]*\n(?:.*\n)*?images=(\d{1,7})\b", self._tags.text(page, 270)[:LONGEST_TEXT])
        if not found or len(self._tags.pages) > 1 or self._tags.number(page, 259, 1) != 1 or 322 in page.tags:
            return 1
        shape, dtype = self._layout(page)
        room = (self._tags.size - self._tags.number(page, 273)) // (math.prod(shape) * dtype.itemsize)
        return min(int(found.group(1)), MOST_PAGES) if room > 1 else 1
