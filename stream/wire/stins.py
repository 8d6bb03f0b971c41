"""MAX IV's secondary stream (STINS): multipart messages of JSON and blobs, from one PUSH. From bytes to events.

https://github.com/maxiv-science/streaming-receiver. One message each: `{"htype": "header", "msg_number", "filename"}`,
perhaps with a second JSON part of metadata; `{"htype": "image", "msg_number", "frame", "shape": [rows, columns],
"type", "compression"}` and its blob; `{"htype": "series_end", "msg_number"}`. `msg_number` counts all messages, also
across series; `frame` begins at 0 in each. A header tells neither shape nor type: the scan opens with its first image.

A bslz4 blob has the 12-byte header where it came from an EIGER, and none where bitshuffle made it: the first eight
bytes are the size of the image in the one case, and beyond every image in the other (the length of a block, shifted).
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from stream.codec.native import HEADER
from stream.codec.payload import check_header
from stream.errors import BadMessage
from stream.events import EMPTY, Buffer, Detector, Encoding, Event, Payload
from stream.wire import metadata
from stream.wire.announced import Announced
from stream.wire.decoder import SeriesDecoder
from stream.wire.exposure import UNKNOWN, flatten
from stream.wire.simplon import TYPES, Json, length, read_json

CHANNEL = "data"
KNOWN = frozenset(("htype", "msg_number", "frame", "shape", "type", "compression"))
PACKED = {"bslz4": Encoding.BSLZ4, "none": Encoding.RAW, "": Encoding.RAW}
ALL_TYPES = (*TYPES, "uint64", "int64", "float64")


class Decoder(SeriesDecoder):
    """Messages of STINS in, events out. A series is known by the `msg_number` of its header."""

    _series_number: int | None = None
    """Of the series whose messages come now; None: its header has not come."""
    _headless: int | None = None
    """The first image of a series whose header seems to be lost."""
    _last: int | None = None
    """The `msg_number` of the latest message."""
    _ended = False

    def _read(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        if not 0 < len(parts) <= self._limits.parts:
            raise BadMessage(f"a message of {len(parts)} parts: 1 to {self._limits.parts} are allowed")
        if sum(map(length, parts)) > self._limits.message_bytes:
            raise BadMessage(f"a message of more than {self._limits.message_bytes} bytes: see max_message_mb")
        first = read_json(parts[0], self._limits)
        kind, number = first.get("htype"), metadata.count(first.get("msg_number"))
        if number is None or type(kind) is not str:
            raise BadMessage("a message whose first part has no htype or msg_number (is this a STINS stream?)")
        reader = {"header": self._start, "image": self._image, "series_end": self._stop}.get(kind)
        if reader is None:
            raise BadMessage(f"a message of type {kind[:40]!r}: header, image and series_end are known")
        lost = 0 if self._last is None else max(number - self._last - 1, 0)
        return reader(first, number, lost, parts, received)

    def _start(self, first: Json, number: int, lost: int, parts: Sequence[Buffer], received: float) -> list[Event]:
        told: dict[str, Any] = {key: value for key, value in first.items() if key not in KNOWN}
        if len(parts) > 1:
            told["meta"] = read_json(parts[1], self._limits)
        header = tuple(bytes(part) for part in parts)
        name = first.get("filename")
        detector = Detector(metadata={"user_data": metadata.plain(told)})
        self._series_number, self._last, self._ended, self._headless = number, number, False, None
        label = PurePath(name).stem if isinstance(name, str) else ""
        return self._announce(Announced(number, None, detector=detector, header=(header,), name=label), received)

    def _stop(self, first: Json, number: int, lost: int, parts: Sequence[Buffer], received: float) -> list[Event]:
        self._last, self._ended = number, True
        if self._series_number is None:
            return [self._series.note("the end of a series that is not open", harmless=True)]
        return self._end(self._series_number, None, received)

    def _image(self, first: Json, number: int, lost: int, parts: Sequence[Buffer], received: float) -> list[Event]:
        index = metadata.count(first.get("frame"))
        if index is None:
            raise BadMessage("an image message whose frame is missing or no number")
        self._last = number
        series = self._series_of(number, index, lost)
        begins = self._series.claim(series, None, index)
        try:
            payload = self._payload(first, parts)
        except BadMessage as error:
            if begins is not None:
                raise
            return [self._series.corrupt(index, str(error), received)]
        events: list[Event] = []
        if lost:
            events += self._series.once("messages are missing (msg_number): another reader may take them")
        if begins is not None:
            copies = tuple(bytes(part) for part in parts)
            events += self._series.start_with(begins, {CHANNEL: payload}, copies, received)
            self._series_number, self._ended, self._headless = series, False, None
        told, whole = flatten({key: value for key, value in first.items() if key not in KNOWN}, "")
        readings = self._series.known(told, whole) if told else EMPTY
        return [*events, self._series.accept(index, {CHANNEL: payload}, received, UNKNOWN._replace(readings=readings))]

    def _series_of(self, number: int, index: int, lost: int) -> int:
        """One sender, in order: what comes behind an end, or begins anew, is of a series whose header was lost."""
        if self._headless is not None and number >= self._headless:
            return self._headless
        self._headless = None
        if self._series_number is None or self._ended or (lost > 1 and self._series.has(index)):
            self._headless = number
            return number
        return self._series_number

    def _payload(self, first: Json, parts: Sequence[Buffer]) -> Payload:
        """The pixels as they came. Raises BadMessage."""
        if len(parts) != 2:
            raise BadMessage(f"an image message of {len(parts)} parts: it has two")
        shape, kind, packing = first.get("shape"), first.get("type"), first.get("compression", "none")
        if kind not in ALL_TYPES or type(packing) is not str or packing not in PACKED:
            raise BadMessage(f"an image of type {str(kind)[:20]!r}, compression {str(packing)[:20]!r}: unknown")
        if not (type(shape) is list and len(shape) == 2 and all(type(size) is int and size > 0 for size in shape)):
            raise BadMessage(f"a shape of {str(shape)[:60]}: [rows, columns] are needed")
        rows, columns = shape
        if rows * columns > self._limits.pixels:
            raise BadMessage(f"{rows} x {columns} pixels: {self._limits.pixels} are allowed")
        blob = memoryview(parts[1]).cast("B").toreadonly()
        found = Payload(blob, PACKED[packing], (rows, columns), np.dtype(kind))
        if found.encoding is Encoding.BSLZ4 and not _has_header(found):
            found = Payload(blob, Encoding.BSLZ4_BARE, found.shape, found.dtype)
        check_header(found)
        return found


def _has_header(payload: Payload) -> bool:
    size = payload.shape[0] * payload.shape[1] * payload.dtype.itemsize
    return payload.nbytes >= HEADER.size and HEADER.unpack_from(payload.data)[0] == size
