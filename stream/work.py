"""The bench of one worker: the frame in hand, its pixels once they are decoded, what the processors leave there."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from stream.codec.payload import decode
from stream.events import Array, Frame, Payload
from stream.registry import Options

T = TypeVar("T")
SomeOptions = TypeVar("SomeOptions", bound=Options)


class Work:
    """One per worker and reused for every frame: the decoded image lives in the worker's own buffer.

    results: processor name -> field name -> array; the processors fill it.
    """

    def __init__(self, frame: Frame | None = None, common: dict[object, Any] | None = None) -> None:
        """common: what `once` has made; the same for all workers of a scan."""
        self.results: dict[str, Mapping[str, Array]] = {}
        self._frame = frame
        self._decoded: dict[str, Array] = {}
        self._buffers: dict[str, Array] = {}
        self._shared: dict[type, Any] = {}
        self._common = {} if common is None else common
        self._options: Options | None = None
        self._expected: Collection[str] | None = None
        self._following: Frame | None = None
        self.looks_ahead = False
        """True if something on the bench begins with `following` while the frame in hand is computed."""

    @property
    def frame(self) -> Frame:
        """The frame being processed."""
        assert self._frame is not None, "no frame is in hand"
        return self._frame

    def take(self, frame: Frame, following: Frame | None = None) -> None:
        """Begin with the next frame; the images and results of the last one are gone.

        A gatherer finds the results of the processors. following: the frame that this bench gets next, if it is known.
        """
        self._frame, self._following = frame, following
        self._decoded.clear()
        self.results = dict(frame.results)

    def following(self, channel: str) -> Payload | None:
        """The payload of a channel of the frame that comes next, where it is known: a device may begin with it."""
        return None if self._following is None else self._following.payloads.get(channel)

    def channel(self, name: str | None) -> str:
        """`name`, or the frame's first channel for None. Raises KeyError if the frame does not have it."""
        if name is None:
            return next(iter(self.frame.payloads))
        if name not in self.frame.payloads and name not in self._decoded:
            have = ", ".join(dict.fromkeys([*self.frame.payloads, *self._decoded]))
            raise KeyError(f"frame {self.frame.index} has no channel {name!r}, only {have}: correct `channel`")
        return name

    def image(self, channel: str | None = None) -> Array:
        """The raw counts of a channel (None: the first), (rows, columns), native byte order, decoded at most once.

        Read-only by agreement, valid until the next `take`. Raises CorruptPayload.
        """
        name = self.channel(channel)
        image = self._decoded.get(name)
        if image is None:
            payload = self.frame.payloads[name]
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != payload.shape or buffer.dtype != payload.dtype.newbyteorder("="):
                buffer = None
            image = self._decoded[name] = self._buffers[name] = decode(payload, out=buffer)
        return image

    def derive(self, channel: str, image: Array) -> None:
        """Leave the image of a channel that the detector does not send, for the processors behind this one."""
        self._decoded[channel] = image

    def is_decoded(self, channel: str | None = None) -> bool:
        """True if `image` of this channel costs nothing any more."""
        return self.channel(channel) in self._decoded

    def expect(self, channels: Collection[str]) -> None:
        """Called when all processors of a scan have started, with the channels whose pixels one of them takes."""
        self._expected = channels

    def will_decode(self, channel: str) -> bool:
        """False if no processor of this chain takes the pixels of this channel: one that could do without them should.
        True where it is not known."""
        return self._expected is None or channel in self._expected or channel in self._decoded

    def options(self, start: SomeOptions) -> SomeOptions:
        """The options of the processor at work for the frame in hand; `start`, those that it was made with, if nobody
        has changed them since (see `stream.registry.CHANGES`)."""
        return self._options if isinstance(self._options, type(start)) else start

    def hand(self, options: Options | None) -> None:
        """Called before each processor, with its options for the frame in hand."""
        self._options = options

    def beside(self) -> "Work":
        """Another bench with the same things on it, for a gatherer: its own images and results."""
        other = Work()
        other._shared = dict(self._shared)
        return other

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` makes of this scan, made by the first worker and used by all: nobody may change it.

        For a processor's `start`. key: unlike that of any other processor in the chain.
        """
        if key not in self._common:
            self._common[key] = make()
        made: T = self._common[key]
        return made

    def put(self, thing: object) -> None:
        """Leave a thing for the processors that come later in this chain; one per type, kept from frame to frame."""
        self._shared[type(thing)] = thing

    def get(self, kind: type[T]) -> T | None:
        """The thing of that type that an earlier processor left, or None."""
        return self._shared.get(kind)
