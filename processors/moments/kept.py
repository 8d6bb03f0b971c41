"""Frames as they came, packed: for sums that are made again without a frame that a later one has replaced."""

from collections.abc import Callable
from dataclasses import replace

from stream.codec.payload import decode
from stream.events import Array, Payload


class Kept:
    """By frame number, the newest that there is room for."""

    def __init__(self, most_bytes: float) -> None:
        self._most, self._has = most_bytes, 0
        self._frames: dict[int, tuple[Payload | None, Array | None, int]] = {}

    def keep(self, index: int, payload: Payload | None, pixels: Array) -> None:
        """Keep the payload; or a copy of the pixels, where these are fewer, or there is no payload."""
        if payload is not None and payload.nbytes <= pixels.nbytes:
            kept = payload if isinstance(payload.data, bytes) else replace(payload, data=bytes(payload.data))
            self._frames[index] = (kept, None, kept.nbytes)
        else:
            self._frames[index] = (None, pixels.copy(), pixels.nbytes)
        self._has += self._frames[index][2]

    def trim(self) -> None:
        """Forget the frames that came first until there is room."""
        while self._has > self._most and self._frames:
            self.forget(next(iter(self._frames)))

    @property
    def full(self) -> bool:
        """True if `trim` would forget some."""
        return self._has > self._most

    def forget(self, index: int) -> None:
        """A frame that is of no use any more."""
        self._has -= self._frames.pop(index)[2]

    def __contains__(self, index: int) -> bool:
        return index in self._frames

    def pixels(self, index: int, cut: Callable[[Array], Array]) -> Array:
        """The pixels that were kept; `cut` takes them out of a whole frame."""
        payload, pixels, _ = self._frames[index]
        if pixels is None:
            assert payload is not None
            pixels = cut(decode(payload))
        return pixels
