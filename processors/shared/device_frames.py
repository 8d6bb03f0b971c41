"""The frames of a worker on an OpenCL device: each goes there once, compressed where it is, for all its processors."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from processors.shared.device import Device, build, context_of
from processors.shared.unpacking import UNSIGNED, Unpacker
from stream.codec.native import bslz4_compress
from stream.events import Array, Encoding, Payload
from stream.work import Work

T = TypeVar("T")
_GROUP = 64


class DeviceFrames:
    """Frames of one channel, shape and type. One worker has one queue on a device: what it asks for is done in order,
    and while it waits the device has the frame of another worker. Raises pyopencl.Error if the device fails."""

    def __init__(self, device: Device, queue: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        import pyopencl as cl

        self.queue, self.context, self.device = queue, context_of(device), device
        self._cl, self._shape, self._dtype = cl, shape, dtype
        self._pixels = cl.Buffer(self.context, cl.mem_flags.READ_WRITE, max(shape[0] * shape[1] * dtype.itemsize, 8))
        self._unpacker = Unpacker(device, queue, dtype)
        self._payload: Payload | None = None
        self._sure = True
        if shape[0] * shape[1] >= 8:  # some drivers compile a kernel when it is first used: not at the first frame
            few = np.zeros((1, 8), dtype)
            self._unpacker.start(Payload(bslz4_compress(few), Encoding.BSLZ4, few.shape, dtype), self._pixels)
            self._unpacker.damaged()

    def compute(self, payload: Payload | None, image: Callable[[], Array], kernel: Callable[[Any], T]) -> T:
        """What `kernel` makes of the buffer of the frame's pixels, flat, raw counts; it has read its results back.

        payload: the frame's, None for pixels that no detector sent. image: its pixels (rows, columns), for a payload
        that the device cannot decode: it is asked too where one does not decode there, so what it raises is the word on
        a damaged frame.
        """
        if payload is None or payload is not self._payload:
            self._payload = None
            if self._decoding(payload):
                self._sure = False
            else:
                self._send(image())
            self._payload = payload
        found = kernel(self._pixels)
        if not self._sure and self._unpacker.damaged():
            self._payload = None
            self._send(image())
            self._payload = payload
            found = kernel(self._pixels)
        self._sure = True
        return found

    def _decoding(self, payload: Payload | None) -> bool:
        if payload is None or payload.shape != self._shape or not self._unpacker.takes(payload):
            return False
        return self._unpacker.start(payload, self._pixels)

    def _send(self, image: Array) -> None:
        self._sure = True
        self._cl.enqueue_copy(self.queue, self._pixels, np.ascontiguousarray(image.reshape(-1), self._dtype))


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
        self._cl.enqueue_copy(self._frames.queue, found, self._taken)
        return found


class Desk:
    """What a worker has on its devices; it lies on the bench (see `stream.work`)."""

    def __init__(self) -> None:
        self._queues: dict[str, Any] = {}
        self._frames: dict[tuple[str, str, tuple[int, int], str], DeviceFrames] = {}

    @classmethod
    def of(cls, work: Work) -> "Desk":
        """The one of this bench."""
        found = work.get(cls)
        if found is None:
            work.put(found := cls())
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
            self._frames[key] = DeviceFrames(device, self._queues[key[0]], shape, dtype)
        return self._frames[key]

    def there(self, channel: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> DeviceFrames | None:
        """The frames of a channel that some processor of this worker has on a device, or None."""
        found = (each for key, each in self._frames.items() if key[1:] == (channel, shape, dtype.str))
        return next(found, None)
