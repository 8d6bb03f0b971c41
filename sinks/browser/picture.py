"""From encoded frames and arrays to what is drawn: the part that is looked at, pooled to the size of the screen."""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from sinks.browser.messages import View
from stream.errors import CorruptPayload
from stream.events import Array, Encoding, Payload

Kind: TypeAlias = tuple[str, str, bool]
Span: TypeAlias = tuple[int, int]
IMAGE = "image "
"""Before the channel, in the name of a source that is a channel of a frame."""


class Source:
    """One image: an encoded channel of a frame, decoded when it is first looked at, or an array."""

    def __init__(
        self, image: Payload | Array, bad: Array | None, about: Mapping[str, Any], saturation: float | None = None
    ) -> None:
        """about: goes with every answer (frame number, name). bad: bool, as the image. saturation: counts from which
        on a pixel is saturated; None: the largest value of its type."""
        self.about = about
        self._saturation = saturation
        self._image, self._bad = image, bad
        self._decoded: Array | None = None
        self._answers: dict[tuple[Span, Span, int, str, bool], bytes] = {}
        self.problem = ""
        """Why there is no picture."""
        self.passing = False
        """True if there may be one later."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self._image.shape
        return rows, columns

    @property
    def kind(self) -> Kind:
        """What the kernels depend on that draw it: how it is encoded, its type of pixels, whether it has a mask."""
        encoding = self._image.encoding.value if isinstance(self._image, Payload) else ""
        return encoding, self._image.dtype.str, self._bad is not None

    def pixels(self) -> Array | None:
        """All of it; None if it cannot be decoded."""
        if self._decoded is None and not self.problem:
            if isinstance(self._image, Payload):
                from stream.codec.payload import decode  # hdf5plugin and, at the first start, numba

                try:
                    self._decoded = decode(self._image)
                except CorruptPayload:
                    self.problem = f"frame {self.about['frame']}: cannot be decoded"
            else:
                self._decoded = np.array(self._image, "f4" if self._image.dtype.itemsize <= 4 else "f8", order="C")
        return self._decoded

    def answer(self, view: View, largest: int) -> bytes:
        """The message for a view, made once for all who look at the same part of it.

        u32 length of its header, the header (JSON), then the values, little-endian. The header has rows and columns
        [first, last) of the part, `step` (the side of a block of pixels), shape of the values and their type. Blocks
        without any good pixel are NaN. If asked: `saturated`, see there.
        """
        size = min(view.size, largest)
        rows, columns = (
            _within(part, length) for part, length in zip((view.rows, view.columns), self.shape, strict=True)
        )
        step = max(1, -(-max(rows[1] - rows[0], columns[1] - columns[0]) // size))
        drawn = (
            (rows[0] // step * step, rows[1]),
            (columns[0] // step * step, columns[1]),
            step,
            view.pool,
            view.saturated,
        )
        found = self._answers.get(drawn)
        if found is None:
            found = self._answers[drawn] = self._made(*drawn)
        return found

    def _made(self, rows: Span, columns: Span, step: int, pool: Literal["mean", "max"], saturated: bool) -> bytes:
        from sinks.live.preview import preview

        image = self.pixels()
        if image is None:
            return framed({"kind": "image", **self.about, "problem": self.problem, "full": self.shape}, b"")
        place = slice(*rows), slice(*columns)
        part = np.ascontiguousarray(image[place])
        bad = np.ascontiguousarray(self._bad[place]) if self._bad is not None else None
        values, step = preview(part, -(-max(part.shape) // step), pool, bad)
        about = {"rows": rows, "columns": columns, "step": step, "pool": pool}
        if saturated:
            about["saturated"] = self.saturated()
        return framed({"kind": "image", **self.about, **about, "full": self.shape, "shape": values.shape}, values)

    def saturated(self) -> int | None:
        """Pixels that are saturated and not masked; None where there are no counts. Takes milliseconds."""
        image = self.pixels()
        if image is None or image.dtype.kind not in "iu":
            return None
        most = np.iinfo(image.dtype).max
        hit = image >= (most if self._saturation is None else min(self._saturation, most))
        if self._bad is not None:
            hit &= ~self._bad
        return int(np.count_nonzero(hit))

    def value(self, row: int, column: int) -> Any:
        """(value, or None outside or where nothing can be said; masked)."""
        image = self.pixels()
        if image is None or row >= self.shape[0] or column >= self.shape[1]:
            return None, False
        value = image[row, column].item()
        if image.dtype.kind == "f":
            return (value, False) if np.isfinite(value) else (None, True)
        flagged = value == np.iinfo(image.dtype).max or value < 0
        return value, bool(flagged or (self._bad is not None and self._bad[row, column]))


def unavailable(about: Mapping[str, Any], shape: tuple[int, int], text: str, *, passing: bool) -> Source:
    """What stands for a picture that cannot be had, and says why."""
    found = Source(Payload(b"", Encoding.RAW, shape, np.dtype("u1")), None, about)
    found.problem, found.passing = text, passing
    return found


def framed(header: Mapping[str, Any], values: Array | bytes) -> bytes:
    """A binary message for a browser; the values begin at a multiple of 8 bytes."""
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 4) % 8)
    body = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
    return len(text).to_bytes(4, "little") + text + body


def payload_of(described: Any, data: bytes) -> tuple[str, Payload]:
    """(channel, payload) of one entry of an update."""
    channel, encoding, shape, dtype = described
    return channel, Payload(data, Encoding(encoding), (int(shape[0]), int(shape[1])), np.dtype(dtype))


def _within(part: tuple[int, int] | None, length: int) -> tuple[int, int]:
    """The part of an axis that is there, at least one pixel of it."""
    first, last = part if part is not None else (0, length)
    first = min(first, length - 1)
    return first, max(first + 1, min(last, length))
