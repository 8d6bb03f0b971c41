"""`archive`: the frames as they came, by direct chunk write: neither decoded nor compressed again.

/entry/data/data holds the first channel, /entry/data/<channel> the others; every frame lies at its own number. A frame
that never came reads as the fill value: the largest value of an unsigned type, which detectors use for bad pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sinks.file import nexus, provenance
from sinks.file.chunk_index import rows_present
from sinks.file.columns import Cell, Rows
from sinks.file.direct_chunk import filter_of, frame_bytes, stored_as
from sinks.file.readings import Readings
from sinks.file.sink import FileSink
from sinks.file.storage import fill_of
from sinks.file.swmr import SwmrFile
from sinks.file.target import FileOptions
from stream.context import ALONE, Context
from stream.events import Array, Encoding, Frame, Payload, ScanEnd, ScanStart, Update
from stream.ledger import Saved

DATA = "/entry/data"


class Config(FileOptions):
    """Options of `archive`."""

    type: Literal["archive"] = "archive"
    readings: tuple[str, ...] | None = Field(
        None, description="Readings (motors, monitor ...) that get a column; null: those of the first frame"
    )
    alignment_bytes: int = Field(
        1, ge=1, description="Begin chunks at multiples of this, bytes; GPFS and Lustre like their block size"
    )


def create(config: Config, context: Context = ALONE) -> FileSink:
    """The sink for a validated configuration."""
    return FileSink(
        config,
        context,
        lambda scan, products: Archive(scan, context, config.readings),
        alignment_bytes=config.alignment_bytes,
    )


class Archive:
    """The content of an archive file. The encoding is known with the first frame, so the layout waits for it."""

    def __init__(self, scan: ScanStart, context: Context, readings: Sequence[str] | None) -> None:
        self._scan = scan
        self._context = context
        self._readings = Readings(scan, readings)
        self._file: SwmrFile
        self._channels: dict[str, tuple[Rows, Encoding]] = {}
        self._end_time: Cell

    def identity(self) -> Any:
        """What must be the same to go on with a file."""
        return ["archive", self._scan.shape, self._scan.channels]

    @property
    def file(self) -> SwmrFile:
        """What it is written to, once it is declared or reopened."""
        return self._file

    @property
    def settled(self) -> bool:
        """True once the first pixels have come."""
        return bool(self._channels)

    def declare(self, file: SwmrFile) -> None:
        """Everything but the frames."""
        self._file = file
        made = nexus.entry(file, self._scan, "data")
        nexus.instrument(made, self._scan.detector, self._scan.channels)
        nexus.group(made, "data", "NXdata")
        self._end_time = Cell(made["end_time"])
        provenance.write(file.layout, self._scan, self._context.document)

    def settle(self, frame: Frame | None) -> None:
        """Declare the frames, as the first ones are packed."""
        first = next(iter(frame.payloads.values()), None) if frame is not None else None
        if first is None and frame is not None:
            return
        root = self._file.layout
        self._readings.declare(self._file, frame)
        for channel, path in dataset_paths(self._scan.channels).items():
            payload = (frame.payloads.get(channel) if frame is not None else None) or first
            shape, dtype = (payload.shape, payload.dtype) if payload else (self._scan.shape, self._scan.dtype)
            encoding = payload.encoding if payload else Encoding.BSLZ4
            if encoding is Encoding.TILES:  # no filter of HDF5 puts modules into their places
                encoding = Encoding.RAW
            dataset = root.create_dataset(
                path,
                shape=(0, *shape),
                maxshape=(None, *shape),
                chunks=(1, *shape),
                dtype=dtype,
                fillvalue=fill_of(dtype),
                **filter_of(encoding),
            )
            dataset.attrs.update({"interpretation": "image", "long_name": channel, "encoding": encoding.value})
            self._channels[channel] = (Rows(dataset), encoding)
        group = root[DATA]
        group.attrs.update({"signal": "data", "axes": ["frame_number", ".", "."]})
        group.attrs["frame_number_indices"] = 0
        group["frame_number"] = root["/entry/ledger/frame_number"]
        others = [path.rsplit("/", 1)[1] for path in list(dataset_paths(self._scan.channels).values())[1:]]
        if others:
            group.attrs["auxiliary_signals"] = others
        detector = root["/entry/instrument/detector"]
        detector["data"] = group["data"]
        detector["bit_depth_readout"] = 8 * group["data"].dtype.itemsize

    def reopen(self, file: SwmrFile) -> None:
        """Take up the frames where they end."""
        self._file = file
        root = file.layout
        for channel, path in dataset_paths(self._scan.channels).items():
            dataset = root[path]
            self._channels[channel] = (Rows(dataset), Encoding(dataset.attrs["encoding"]))
        self._readings.reopen(file)
        self._end_time = Cell(root["/entry/end_time"])

    @property
    def length(self) -> int:
        """Frame numbers that have a place."""
        return max([self._readings.length, *(rows.length for rows, _ in self._channels.values())])

    def present(self, indices: Array) -> Array:
        """bool (n,): at least one channel of these frame numbers is in the file."""
        found = indices < 0
        for rows, _ in self._channels.values():
            found |= rows_present(rows.dataset, indices)
        return found

    def write(self, frame: Frame) -> str:
        """Put the bytes of each channel into their place; says what is wrong with those that do not fit."""
        problem = ""
        for channel, payload in frame.payloads.items():
            if channel not in self._channels:
                problem = f"channel {channel!r} was not announced by the header"
                continue
            rows, encoding = self._channels[channel]
            framed = frame_bytes(payload, encoding, rows.shape, rows.dtype)
            if isinstance(framed, str):
                problem = f"channel {channel}: {framed}"
            else:
                rows.put_chunk(frame.index, framed.data, framed.filter_mask)
        if frame.payloads:
            self._readings.put(frame)
        return problem

    def update(self, update: Update) -> None:
        """Products are not kept here."""

    @property
    def saved(self) -> Mapping[str, Saved]:
        """None."""
        return {}

    def read(self, index: int) -> Mapping[str, Any] | None:
        """The bytes of each channel, and the readings."""
        payloads: dict[str, Payload] = {}
        for channel, (rows, encoding) in self._channels.items():
            if rows_present(rows.dataset, np.array([index]))[0]:
                filter_mask, data = rows.dataset.id.read_direct_chunk((index, *(0 for _ in rows.shape)))
                packed = stored_as(encoding, filter_mask)
                payloads[channel] = Payload(data, packed, (rows.shape[0], rows.shape[1]), rows.dtype)
        return {"payloads": payloads, "readings": self._readings.row(index)} if payloads else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Readings without a column."""
        return self._readings.notes

    def flush(self) -> None:
        """Chunks lie on disk already: make the index know them."""
        for rows, _ in self._channels.values():
            rows.flush()
        self._readings.flush()

    def finish(self, end: ScanEnd, expected: int) -> None:
        """Frames that never came are fill values."""
        for rows, _ in self._channels.values():
            rows.extend(expected)
        self._readings.flush()
        self._readings.extend(expected)
        self.flush()
        self._end_time.set(nexus.end_time(end))

    def closed(self, path: Path) -> None:
        """Nothing is left to do."""


def dataset_paths(channels: Sequence[str]) -> dict[str, str]:
    """channel -> dataset: the first is `data`, the others have their own names."""
    paths: dict[str, str] = {}
    for position, channel in enumerate(channels):
        name = "data" if position == 0 else nexus.safe_name(channel)
        while f"{DATA}/{name}" in paths.values() or (position and name in ("data", "frame_number")):
            name += "_"
        paths[channel] = f"{DATA}/{name}"
    return paths
