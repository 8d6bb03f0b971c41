"""The events that travel through the pipeline, and what they are made of.

Shapes are always (rows, columns), also where a wire format says it the other way round. Units are in the names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream.status import NO_COUNTS as NO_COUNTS
from stream.status import EndStatus as EndStatus
from stream.status import FrameStatus as FrameStatus

Array: TypeAlias = NDArray[Any]
Buffer: TypeAlias = bytes | bytearray | memoryview
EMPTY: Mapping[str, Any] = MappingProxyType({})
FRAME_BYTES = 1024
"""What a frame weighs in a queue beside its pixels and results."""
MONITOR = "monitor"
"""Name of the reading that says how much beam there was."""


class Encoding(StrEnum):
    """How the bytes of a payload are packed. `Payload.dtype` carries the byte order."""

    RAW = "raw"
    """C order, no compression."""
    BSLZ4 = "bslz4"
    """12-byte header (big-endian u64 bytes, u32 block size in bytes), then bitshuffled LZ4: HDF5 filter 32008."""
    LZ4_HDF5 = "lz4-hdf5"
    """HDF5 filter 32004 framing: big-endian u64 bytes, u32 block size, then u32 length + LZ4 block each."""
    LZ4_BLOCK = "lz4-block"
    """One bare LZ4 block without any header: SIMPLON stream v1 `lz4<`."""
    BSLZ4_BARE = "bslz4-bare"
    """bitshuffle's own output, as BSLZ4 without the 12-byte header, default block size of bitshuffle."""
    DEFLATE = "deflate"
    """A zlib stream: HDF5 filter 1 (gzip)."""
    SHUFFLED_DEFLATE = "shuffled-deflate"
    """All first bytes of the pixels, then all second ones ..., as a zlib stream: HDF5 filters 2 and 1."""
    TILES = "tiles"
    """The modules of a detector, each packed in its own way: see `stream.codec.tiles`."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The pixels of one channel of one frame, as they came. `data` is never changed."""

    data: Buffer
    encoding: Encoding
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Length of the encoded bytes."""
        return self.data.nbytes if isinstance(self.data, memoryview) else len(self.data)


@dataclass(frozen=True, slots=True)
class Detector:
    """What the stream's header says of detector and beam; None where it is silent.

    pixel_mask: channel -> uint32 (rows, columns), nonzero = bad (bit meanings: SIMPLON API); `pixel_mask_applied` says
    whether the detector has already flagged those pixels in its images.
    flatfield: channel -> float32 (rows, columns), to be multiplied, and `flatfield_applied` says
    whether the detector has already done so.
    metadata: everything else that the header holds, JSON-like, under the source's own names.
    """

    description: str | None = None
    serial_number: str | None = None
    sensor_material: str | None = None
    sensor_thickness_m: float | None = None
    pixel_size_x_m: float | None = None
    pixel_size_y_m: float | None = None
    beam_center_x_px: float | None = None
    beam_center_y_px: float | None = None
    distance_m: float | None = None
    wavelength_angstrom: float | None = None
    energy_ev: float | None = None
    count_time_s: float | None = None
    frame_time_s: float | None = None
    saturation_value: int | None = None
    threshold_energy_ev: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    pixel_mask: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    pixel_mask_applied: bool | None = None
    flatfield: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    flatfield_applied: bool = True
    metadata: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


def nothing_recorded(name: str) -> Array | None:
    """Nothing is known before the frames come."""
    return None


@dataclass(frozen=True, slots=True)
class ScanStart:
    """A scan begins. The first event of a scan, handed to every worker and sink before any of its frames.

    uid: identity of this scan, unique for all time (stream2: series_unique_id): decides what may be resumed.
    name: what the user calls it ({scan} in file names): the series number, or the stem of the file.
    readings: name -> unit ("" where unknown) of every reading that the frames may have; None: the first frame tells.
    header: the source's own messages that began the scan, one sequence of parts per message, byte for byte: kept in
    the journal, so that a restarted process can go on in the middle of a scan.
    resumed: this event was made from the journal, not sent by the detector.
    files: the HDF5 files that hold the frames, as far as they are known at the start.
    fingerprint: of a recording, see `stream.fingerprint`; "" where the uid is identity enough.
    started: when it began, as a recording says it (ISO 8601, as it is there); "" where only `received` is known.
    part: which of several receivers this is, that have a part of the frames each: those that do not come here are
    elsewhere, not missing; None: all frames come here.
    recorded: the reading of this name of every frame, float64 (frames,), NaN where there is none: of recorded scans, in
    which all is known before the first frame; None where it is not.
    """

    uid: str
    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    expected: int | None
    detector: Detector
    received: float
    source: str = ""
    readings: Mapping[str, str] | None = None
    header: tuple[tuple[bytes, ...], ...] = ()
    resumed: bool = False
    files: tuple[str, ...] = ()
    fingerprint: str = ""
    started: str = ""
    part: int | None = None
    recorded: Callable[[str], Array | None] = nothing_recorded


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure: all its channels, and, behind the workers, its results.

    index: the frame's own number within the scan, from 0; never its order of arrival.
    payloads: channel -> Payload; empty for a corrupt or dropped frame, which travels on as a hole.
    detector_time, stop_time: seconds, start and end of exposure as the detector says them (its own zero), NaN where
    unknown.
    absolute_time: Unix time of the start of exposure, seconds UTC, NaN where unknown.
    exposure_s: how long the detector was really counting, seconds, NaN where unknown.
    received: Unix time, seconds.
    readings: what belongs to this exposure beside its pixels: motor positions, monitor, temperature, encoder.
    revision: of the options that this frame was processed with, 0 = those of the start (see `Change`).
    checksums: channel -> xxh3_64 of the encoded bytes; made by the worker.
    results: processor name -> field name -> array (see `Product`).
    problem: why the status is CORRUPT, FAILED or DROPPED, in words.
    """

    scan: str
    index: int
    payloads: Mapping[str, Payload]
    received: float
    detector_time: float = float("nan")
    stop_time: float = float("nan")
    absolute_time: float = float("nan")
    exposure_s: float = float("nan")
    readings: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    status: FrameStatus = FrameStatus.RECEIVED
    problem: str = ""
    checksums: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    results: Mapping[str, Mapping[str, Array]] = field(default_factory=lambda: EMPTY)
    revision: int = 0

    @property
    def monitor(self) -> float:
        """The incident-beam reading, NaN where the frame has none."""
        return self.readings.get(MONITOR, float("nan"))

    @property
    def nbytes(self) -> int:
        """What the frame weighs in a bounded queue: the encoded bytes and the results plus its own overhead."""
        size = FRAME_BYTES + sum(payload.nbytes for payload in self.payloads.values())
        if self.results:  # those of a small detector, integrated in two dimensions, weigh 100 times its frames
            size += sum(getattr(array, "nbytes", 8) for fields in self.results.values() for array in fields.values())
        return size


@dataclass(frozen=True, slots=True)
class ScanEnd:
    """A scan is over; nothing of it follows.

    announced: number of frames that the detector said it would send or has sent, None where it did not.
    counts: status -> number of frame numbers, filled in by the pipeline before the sinks see it; sums to `expected`.
    expected: the number of frame numbers of this scan, filled in by the pipeline.
    notes: what was odd, one line each (bad messages without a frame number, no end message, ...).
    ended: when, as a recording says it (ISO 8601, as it is there); "" where it is now.
    latencies: way -> how many frames took how long, by the classes of `stream.latency`; filled in by the pipeline.
    """

    scan: str
    status: EndStatus = EndStatus.COMPLETE
    announced: int | None = None
    expected: int = 0
    counts: Mapping[FrameStatus, int] = field(default_factory=lambda: NO_COUNTS)
    notes: tuple[str, ...] = ()
    ended: str = ""
    latencies: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Note:
    """Something to report that belongs to no frame number: an unreadable message, a stale series.

    harmless: worth knowing, but nothing was lost or left out: not counted, and the exit code stays 0.
    """

    text: str
    scan: str | None = None
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one field of a product: `values` lie from index `start` on, one number per dimension."""

    start: tuple[int, ...]
    values: Array


@dataclass(frozen=True, slots=True)
class Update:
    """Part of a product that belongs to no single frame: a map's row, a slice, the whole at the end.

    pieces: field name -> where it goes. A field grows along its first dimension if need be.
    covers: frame numbers whose share of the product is written once this update is.
    afresh: nothing that was written of this product before counts any more (the gatherer begins again).
    lost: frame numbers that the file has, and the product cannot have: a kill took their pixels.
    """

    scan: str
    product: str
    pieces: Mapping[str, Piece] = field(default_factory=lambda: EMPTY)
    covers: Sequence[int] = ()
    afresh: bool = False
    lost: Sequence[int] = ()

    @property
    def nbytes(self) -> int:
        """What the update weighs in a bounded queue."""
        return (
            512 + 8 * (len(self.covers) + len(self.lost)) + sum(piece.values.nbytes for piece in self.pieces.values())
        )


@dataclass(frozen=True, slots=True)
class Change:
    """An option was changed while the scan runs: it holds for every frame number from `frame` on.

    path: as in the YAML, with names or numbers: processors.roi.regions, sinks.0.rate_hz. value: JSON-like.
    revision: counts the changes of a scan from 1. who: as the client named itself. made: Unix time, seconds.
    """

    scan: str
    frame: int
    path: str
    value: Any
    who: str
    revision: int
    made: float


Event: TypeAlias = ScanStart | Frame | ScanEnd | Note
"""What a source yields."""
Item: TypeAlias = Frame | Update | Change
"""What a sink takes between the boundaries of a scan."""
