"""The frames of a worker on an OpenCL device: each goes there once, compressed where it is, for all its processors."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from processors.shared.device import Device, build, context_of
from processors.shared.unpacking import UNSIGNED, Unpacker
from stream.codec.native import bslz4_compress
from stream.errors import CorruptPayload
from stream.events import Array, Encoding, Payload
from stream.work import Work

log = logging.getLogger("inbeam")
T = TypeVar("T")
_GROUP = 64


class Slot:
    """Room for one frame: its pixels, and what brings them there. Raises pyopencl.Error."""

    def __init__(self, unpacker: Unpacker, nbytes: int) -> None:
        import pyopencl as cl

        self.unpacker = unpacker
        self.pixels = cl.Buffer(unpacker.context, cl.mem_flags.READ_WRITE, max(nbytes, 8))
        self.payload: Payload | None = None
        """Whose pixels are here, or on their way."""


class DeviceFrames:
    """Frames of one channel, shape and type. What one worker asks for is done in order on its queue; on a second one
    the next frame is sent and decoded meanwhile, into a slot of its own. Raises pyopencl.Error if the device fails."""

    def __init__(
        self,
        device: Device,
        queue: Any,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        following: Callable[[], Payload | None] = lambda: None,
    ) -> None:
        """following: the payload of the frame that comes next, if it is known."""
        import pyopencl as cl

        self.queue, self.context, self.device = queue, context_of(device), device
        self._cl, self._shape, self._dtype, self._following = cl, shape, dtype, following
        self._sending = cl.CommandQueue(self.context)
        self._now = Slot(Unpacker(device, self._sending, dtype), shape[0] * shape[1] * dtype.itemsize)
        self._next: Slot | None = None
        self._looked_at: Payload | None = None
        """The payload that `meanwhile` was last asked to begin with, and whether it could or not."""
        self._sure = True
        if shape[0] * shape[1] >= 8:  # some drivers compile a kernel when it is first used: not at the first frame
            few = np.zeros((1, 8), dtype)
            unpacker = self._now.unpacker
            unpacker.start(Payload(bslz4_compress(few), Encoding.BSLZ4, few.shape, dtype), self._now.pixels)
            unpacker.damaged()

    def compute(self, payload: Payload | None, image: Callable[[], Array], kernel: Callable[[Any], T]) -> T:
        """What `kernel` makes of the buffer of the frame's pixels, flat, raw counts; it has read its results back, and
        may have called `meanwhile` before it waited for them.

        payload: the frame's, None for pixels that no detector sent. image: its pixels (rows, columns), for a payload
        that the device cannot decode: it is asked too where one does not decode there, so what it raises is the word on
        a damaged frame.
        """
        if payload is None or payload is not self._now.payload:
            self._turn_to(payload, image)
        found = kernel(self._now.pixels)
        if not self._sure and self._now.unpacker.damaged():
            self._now.payload = None
            self._send(image())
            self._now.payload = payload
            found = kernel(self._now.pixels)
        self._sure = True
        return found

    def meanwhile(self) -> None:
        """Send and decode the frame that comes next while the device computes this one, without waiting for either.

        Called by a kernel whose work is on its way. Whatever is wrong with that frame is told when it is its turn.
        """
        payload = self._following()
        if payload is None or payload is self._looked_at:
            return
        self._looked_at = payload
        self.queue.flush()
        try:
            if self._next is None:
                self._next = Slot(self._now.unpacker.another(), self._now.pixels.size)
            self._next.payload = None
            if self._decoding(payload, self._next):
                self._sending.flush()
                self._next.payload = payload
        except (CorruptPayload, self._cl.Error) as error:
            log.debug("the next frame could not be sent ahead: %s", error)

    def _turn_to(self, payload: Payload | None, image: Callable[[], Array]) -> None:
        """Have the pixels of that frame in the slot of now, or on their way there."""
        self._now.payload = self._looked_at = None
        if self._next is not None and payload is not None and self._next.payload is payload:
            self._now, self._next = self._next, self._now
        elif not self._decoding(payload, self._now):
            self._send(image())
            self._now.payload = payload
            return
        self._sure = False
        self._cl.enqueue_barrier(self.queue, wait_for=[self._now.unpacker.decoded])
        self._now.payload = payload

    def _decoding(self, payload: Payload | None, slot: Slot) -> bool:
        if payload is None or payload.shape != self._shape or not slot.unpacker.takes(payload):
            return False
        return slot.unpacker.start(payload, slot.pixels)

    def _send(self, image: Array) -> None:
        self._sure = True
        flat = np.ascontiguousarray(image.reshape(-1), self._dtype)
        self._cl.enqueue_copy(self.queue, self._now.pixels, flat)


class Taken:
    """Some pixels of frames on a device, which alone come back. index: their flat places. Raises pyopencl.Error."""

    def __init__(self, frames: DeviceFrames, index: Array, dtype: np.dtype[Any]) -> None:
        import pyopencl as cl

        self._cl, self._frames, self._dtype, self._number = cl, frames, dtype, index.size
        if index.size:
            flags = cl.mem_flags
            program = build(frames.context, "processors.shared", "take.cl", {"PIXEL": UNSIGNED[dtype.itemsize]})
            self._kernel = cl.Kernel(program, "take")
            places = np.ascontiguousarray(index, np.uint32)
            self._index = cl.Buffer(frames.context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=places)
            self._taken = cl.Buffer(frames.context, flags.WRITE_ONLY, index.size * dtype.itemsize)

    def of(self, payload: Payload | None, image: Callable[[], Array]) -> Array:
        """The raw counts of a frame at these places, in their order. See `DeviceFrames.compute`."""
        return self._frames.compute(payload, image, self._take) if self._number else np.empty(0, self._dtype)

    def _take(self, pixels: Any) -> Array:
        found = np.empty(self._number, self._dtype)
        size = -(-self._number // _GROUP) * _GROUP
        arguments = (pixels, self._index, np.uint32(self._number), self._taken)
        self._kernel(self._frames.queue, (size,), (_GROUP,), *arguments)
        self._frames.meanwhile()
        self._cl.enqueue_copy(self._frames.queue, found, self._taken)
        return found


class Desk:
    """What a worker has on its devices; it lies on the bench (see `stream.work`)."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._queues: dict[str, Any] = {}
        self._frames: dict[tuple[str, str, tuple[int, int], str], DeviceFrames] = {}

    @classmethod
    def of(cls, work: Work) -> "Desk":
        """The one of this bench."""
        found = work.get(cls)
        if found is None:
            work.put(found := cls(work))
        return found

    def frames(self, device: Device, channel: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> DeviceFrames:
        """The frames of a channel on a device, for whoever of this worker asks. Raises pyopencl.Error."""
        import pyopencl as cl

        key = (str(device), channel, shape, dtype.str)
        if key not in self._frames:
            for earlier in [each for each in self._frames if each[:2] == key[:2]]:
                del self._frames[earlier]  # of another scan
            if key[0] not in self._queues:
                self._queues[key[0]] = cl.CommandQueue(context_of(device))
            queue, work = self._queues[key[0]], self._work
            self._frames[key] = DeviceFrames(device, queue, shape, dtype, lambda: work.following(channel))
            work.looks_ahead = True
        return self._frames[key]

    def there(self, channel: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> DeviceFrames | None:
        """The frames of a channel that some processor of this worker has on a device, or None."""
        found = (each for key, each in self._frames.items() if key[1:] == (channel, shape, dtype.str))
        return next(found, None)
