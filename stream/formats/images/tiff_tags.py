"""The pages of a TIFF file and their tags, every offset and count checked against the size of the file.

Source: TIFF 6.0 (Adobe, 1992); BigTIFF (libtiff).
"""

import os
import struct
from dataclasses import dataclass, field
from typing import IO

from stream.errors import BadMessage

MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"} | {
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
MOST_PAGES = 2**20
MOST_BYTES = 2**23
"""Of one tag."""


@dataclass(frozen=True, slots=True)
class Page:
    """place: in the chain of pages, from 0; tags: number -> (type, count, the bytes in the directory)."""

    place: int
    tags: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    problem: str = ""


class Tags:
    """The directories of an opened TIFF file. Raises BadMessage if not even the first can be read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        head = self.bytes_at(0, 8)
        self.order = "<" if head[:2] == b"II" else ">"
        self._big = head[2:4] in (b"+\x00", b"\x00+")
        self._offset = "Q" if self._big else "I"
        (at,) = struct.unpack(self.order + self._offset, self.bytes_at(8, 8) if self._big else head[4:])
        if not at:
            raise BadMessage("is cut off: it has no page yet")
        self.pages = self._chain(at)
        """The images of full size; the last one may be a page that is not there."""

    def bytes_at(self, at: int, size: int) -> bytes:
        """A piece of the file. Raises BadMessage if it is not all there."""
        if at + size > self.size:
            raise BadMessage("is cut off: what one of its tags leads to lies behind its end")
        self.file.seek(at)
        return self.file.read(size)

    def values(self, page: Page, tag: int) -> tuple[float, ...]:
        """The numbers of a tag; none if it is not there."""
        if tag not in page.tags:
            return ()
        kind, count, raw = page.tags[tag]
        form = TYPES.get(kind, "s")
        if form == "s":
            raise BadMessage(f"is damaged: its tag {tag} holds no numbers")
        whole = struct.Struct(f"{self.order}{count * len(form)}{form[0]}")
        return tuple(whole.unpack(self._content(raw, whole.size)))

    def number(self, page: Page, tag: int, default: int | None = None) -> int:
        """The one number of a tag. Raises BadMessage if it is not there and no default is given."""
        values = self.values(page, tag)
        if not values and default is not None:
            return default
        if not values:
            raise BadMessage(f"is damaged: page {page.place} has no tag {tag}")
        return int(values[0])

    def text(self, page: Page, tag: int) -> str:
        """The text of a tag, without what stands behind its zero byte; empty if it is not there or no text."""
        kind, count, raw = page.tags.get(tag, (0, 0, b""))
        if TYPES.get(kind) != "s":
            return ""
        return self._content(raw, count).partition(b"\x00")[0].decode("utf-8", "replace").strip()

    def _content(self, raw: bytes, size: int) -> bytes:
        if size <= len(raw):
            return raw[:size]
        if size > MOST_BYTES:
            raise BadMessage("is damaged: one of its tags is larger than 8 MiB")
        (at,) = struct.unpack(self.order + self._offset, raw)
        return self.bytes_at(at, size)

    def _chain(self, at: int) -> list[Page]:
        pages: list[Page] = []
        seen: set[int] = set()
        while at:
            place = len(seen)
            if at in seen or place >= MOST_PAGES:
                raise BadMessage("is damaged: its pages go round in a circle")
            seen.add(at)
            try:
                page, at = self._directory(at, place)
            except BadMessage as error:
                if not pages:
                    raise
                return [*pages, Page(place, problem=str(error))]
            kind = self.number(page, 254, 0) & 1 or self.number(page, 255, 1) == 2
            if not kind:  # a preview of reduced resolution is no frame
                pages.append(page)
        if not pages:
            raise BadMessage("holds no page of full size")
        return pages

    def _directory(self, at: int, place: int) -> tuple[Page, int]:
        head, entry = ("Q", 20) if self._big else ("H", 12)
        counter = struct.Struct(self.order + head)
        (count,) = counter.unpack(self.bytes_at(at, counter.size))
        if count > 4096:
            raise BadMessage(f"is damaged: page {place} has {count} tags")
        end = struct.Struct(self.order + self._offset)
        raw = self.bytes_at(at + counter.size, count * entry + end.size)
        tags = {}
        for start in range(0, count * entry, entry):
            tag, kind, number = struct.unpack_from(f"{self.order}HH{self._offset}", raw, start)
            tags[tag] = (kind, number, raw[start + entry - end.size : start + entry])
        return Page(place, tags), end.unpack_from(raw, count * entry)[0]
