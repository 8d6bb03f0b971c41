"""bitshuffle-LZ4 frames decoded on an OpenCL device, from one upload of their compressed bytes."""

from typing import Any

import numpy as np

from processors.shared.device import Device, build, context_of, opened
from stream.codec import blocks
from stream.codec.payload import SHUFFLED, decoded_bytes, shuffled_blocks
from stream.events import Array, Payload

UNSIGNED = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong"}
GROUP = 32
"""Work items that share a block on a GPU: what it executes together anyway. A core of a CPU runs a group alone."""


class Unpacker:
    """Frames of one type on one queue; one per worker. Raises pyopencl.Error if the device fails."""

    def __init__(
        self, device: Device, queue: Any, dtype: np.dtype[Any], group: int | None = None, program: Any = None
    ) -> None:
        """group: work items per block, a power of two; None: what fits the device. program: if it is built already."""
        import pyopencl as cl

        self._cl, self._queue, self.context = cl, queue, context_of(device)
        self._device = device
        self._group = group or (GROUP if device.kind == "gpu" else 1)
        self._itemsize, self._dtype = dtype.itemsize, dtype
        self._local_bytes = int(opened(device).local_mem_size)
        defines = {"WIDTH": dtype.itemsize, "PIXEL": UNSIGNED[dtype.itemsize], "GROUP": self._group}
        self._program = program or build(self.context, "processors.shared", "bitshuffle.cl", defines)
        self._kernel = cl.Kernel(self._program, "unpack")
        self._room = 0
        self._pinned: Any = None
        self._staging: Array = np.empty(0, np.uint8)
        self._sent: Any = None
        self._marks: Any = None
        self._marked = self._number = 0
        self._copied: Any = None
        self.decoded: Any = None
        """The event of the last frame that was begun with: its pixels are there."""

    def another(self) -> "Unpacker":
        """One more on the same queue, for another frame at the same time."""
        return Unpacker(self._device, self._queue, self._dtype, self._group, self._program)

    def takes(self, payload: Payload) -> bool:
        """True if the device can decode it: bitshuffled, of the type in hand, in blocks that fit its local memory.
        Raises CorruptPayload if its header does not fit its shape."""
        if payload.encoding not in SHUFFLED or payload.dtype != self._dtype or decoded_bytes(payload) >= 2**32:
            return False
        block_bytes = shuffled_blocks(payload)[1]
        return payload.nbytes < 2**31 and block_bytes <= self._local_bytes and self._blocks(payload, block_bytes) > 0

    def start(self, payload: Payload, image: Any) -> bool:
        """Send the bytes and decode them into the buffer `image`; neither is waited for.

        False if the lengths of the blocks show already that the payload is damaged: ask the CPU's decoder why.
        """
        cl, queue = self._cl, self._queue
        source, block_bytes = shuffled_blocks(payload)
        number, head = self._blocks(payload, block_bytes), 4 * (self._blocks(payload, block_bytes) + 1)
        self._resize(head + source.size, number)
        places = self._staging[:head].view(np.uint32)
        granule = 8 * self._itemsize
        if blocks.block_places(source, decoded_bytes(payload), block_bytes, granule, places) != blocks.OK:
            return False
        self._staging[head : head + source.size] = source
        sent = self._staging[: head + source.size]
        self._copied = cl.enqueue_copy(queue, self._sent, sent, is_blocking=False)
        pixels = decoded_bytes(payload) // self._itemsize
        self.decoded = self._kernel(
            queue, (number * self._group,), (self._group,), self._sent, np.uint32(number),
            np.uint32(block_bytes // self._itemsize), np.uint32(pixels), image, self._marks,
            cl.LocalMemory(block_bytes),
        )  # fmt: skip
        return True

    def damaged(self) -> bool:
        """True if a block of the last frame did not decode: its pixels are not to be used. Waits for it."""
        bad = np.empty(self._number, np.uint8)
        self._cl.enqueue_copy(self._queue, bad, self._marks)
        return bool(bad.any())

    def _blocks(self, payload: Payload, block_bytes: int) -> int:
        whole = decoded_bytes(payload) // self._itemsize // 8 * 8 * self._itemsize
        return -(-whole // block_bytes)

    def _resize(self, nbytes: int, number: int) -> None:
        """Room for what is sent. The host's part is memory that the device may read by itself, where there is such."""
        cl, flags = self._cl, self._cl.mem_flags
        if self._copied is not None:
            self._copied.wait()
        self._number = number
        if number > self._marked:
            self._marked, self._marks = number, cl.Buffer(self.context, flags.WRITE_ONLY, number)
        if nbytes <= self._room:
            return
        self._queue.finish()
        self._room = max(1 << (nbytes - 1).bit_length(), 4096)
        self._pinned = cl.Buffer(self.context, flags.READ_ONLY | flags.ALLOC_HOST_PTR, self._room)
        self._staging, _ = cl.enqueue_map_buffer(
            self._queue, self._pinned, cl.map_flags.WRITE, 0, (self._room,), np.uint8
        )
        self._sent = cl.Buffer(self.context, flags.READ_ONLY, self._room)
