"""DECTRIS SIMPLON stream v1: multipart messages of JSON and blobs. From bytes to events, without sockets.

SIMPLON API 1.8, section 5.4.3. The wire says [x, y] where we say (rows, columns). `Frame.detector_time` is
`start_time` in seconds of the detector's own clock, whose zero is arbitrary (recorded: 4843 s at the first image), so
that no absolute time is known. The numbers of an `image_appendix` that is JSON are readings. The `hash` of an image
is the MD5 of its description (part 2), not of its pixels; simulators put other things there, so it is believed from
the first time that it is right.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import md5
from typing import Any, TypeAlias

import numpy as np

from stream.codec.payload import check_header
from stream.errors import BadMessage, CorruptPayload
from stream.events import EMPTY, Buffer, Encoding, Event, Payload, ScanStart
from stream.wire import metadata, simplon_header
from stream.wire.announced import Announced
from stream.wire.decoder import SeriesDecoder
from stream.wire.exposure import Exposure
from stream.wire.limits import DEFAULT, Limits
from stream.wire.planes import planes
from stream.wire.series import GRACE_S

Json: TypeAlias = dict[str, Any]

CHANNEL = "threshold_{}"
"""v1 has channels without names; this is what stream2 calls the same ones."""
TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
CBOR = b"\xd9\xd9\xf7"
"""What a message of stream2 begins with."""
GRAMMAR = re.compile(r"(?:bs(8|16|32))?-?(lz4)?([<>])?")


class Decoder(SeriesDecoder):
    """Messages of stream v1 in, events out.

    thresholds: how many each image has, which no header says; None: a scan opens with its first image, which says it.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT,
        *,
        thresholds: int | None = 1,
        monitor_key: str | None = None,
        source: str = "detector",
        identity: str | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(limits, monitor_key=monitor_key, source=source, identity=identity, grace_s=grace_s)
        self._thresholds = thresholds
        self._believed: ScanStart | None = None

    def _read(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        if not 0 < len(parts) <= self._limits.parts:
            raise BadMessage(f"a message of {len(parts)} parts: 1 to {self._limits.parts} are allowed")
        if sum(map(length, parts)) > self._limits.message_bytes:
            raise BadMessage(f"a message of more than {self._limits.message_bytes} bytes: see max_message_mb")
        first = read_json(parts[0], self._limits)
        kind = first.get("htype")
        series = metadata.count(first.get("series"))
        if type(kind) is not str or series is None:
            raise BadMessage("a message whose first part has no htype or series (is this a stream2 detector?)")
        if kind.startswith("dimage-"):
            return self._image(first, series, parts, received)
        if kind.startswith("dheader-"):
            return self._start(first, series, parts, received)
        if kind.startswith("dseries_end-"):
            return self._end(series, None, received)
        raise BadMessage(f"a message of type {kind[:40]!r}: dheader, dimage and dseries_end are known")

    def _start(self, first: Json, series: int, parts: Sequence[Buffer], received: float) -> list[Event]:
        copies = tuple(bytes(part) for part in parts)  # masks must not pin the socket's buffers
        start, problems = simplon_header.announced(first, series, copies, channels(1)[0], self._limits)
        known = start.shape is not None and self._thresholds is not None
        start = replace(start, channels=channels(self._thresholds or 1) if known else None)
        events = self._announce(start, received)
        return [*events, *(self._series.note(f"header of series {series}: {problem}") for problem in problems)]

    def _image(self, first: Json, series: int, parts: Sequence[Buffer], received: float) -> list[Event]:
        index = metadata.count(first.get("frame"))
        if index is None:
            raise BadMessage("an image message whose frame is missing or no number")
        begins = self._series.claim(series, None, index)
        try:
            payloads = self._payloads(first, begins, parts)
        except BadMessage as error:
            if begins is not None:
                raise
            return [self._series.corrupt(index, str(error), received)]
        events: list[Event] = []
        if begins is not None:
            events = self._series.start_with(begins, payloads, tuple(bytes(part) for part in parts), received)
        if self._believed is not self.scan:
            if first.get("hash") == md5(parts[1], usedforsecurity=False).hexdigest():
                self._believed = self.scan
            else:
                events += self._series.once("the hash of an image is not the MD5 of its description: not checked yet")
        exposure = self._exposure(parts)
        if math.isnan(exposure.start):
            events += self._series.once("image messages without a usable start_time")
        frame = self._series.accept(index, payloads, received, exposure)
        return [*events, frame] if events else [frame]

    def _payloads(self, first: Json, begins: Announced | None, parts: Sequence[Buffer]) -> dict[str, Payload]:
        """The pixels of each threshold, packed. Raises BadMessage if the parts of the message contradict each other."""
        if not 3 <= len(parts) <= 5:
            raise BadMessage(f"an image message of {len(parts)} parts: it has four, or five with an appendix")
        checked = begins is None and self._believed is not None and self._believed is self.scan
        if checked and first.get("hash") != md5(parts[1], usedforsecurity=False).hexdigest():
            raise CorruptPayload("the description of the image does not have the MD5 that the message says")
        about = read_json(parts[1], self._limits)
        blob = memoryview(parts[2]).cast("B").toreadonly()
        size = about.get("size")
        if size is not None and size != len(blob):
            raise CorruptPayload(f"the image has {len(blob)} bytes, its description says {str(size)[:20]}")
        encoding, dtype = packing(about.get("encoding"), about.get("type"))
        rows, columns, count = shape(about.get("shape"), self._limits)
        told = self.scan if begins is None else begins
        wanted = told.channels if told is not None else None
        if wanted is not None and len(wanted) != count:
            raise BadMessage(f"an image of {count} thresholds, not {len(wanted)}: set stream.thresholds to {count}")
        whole = Payload(blob, encoding, (count * rows, columns), dtype)
        if count > 1:
            return dict(zip(channels(count), planes(whole, count), strict=True))
        check_header(whole)
        return {CHANNEL.format(1): whole}

    def _exposure(self, parts: Sequence[Buffer]) -> Exposure:
        """Times and readings of an image; the clock's zero is arbitrary, so that there is no absolute time."""
        try:
            about = read_json(parts[3], self._limits) if len(parts) > 3 else {}
        except BadMessage:
            about = {}
        return Exposure(
            seconds(about.get("start_time")),
            seconds(about.get("stop_time")),
            seconds(about.get("real_time")),
            math.nan,
            self._readings(text(parts[4]), "image_appendix") if len(parts) > 4 else EMPTY,
        )


def seconds(nanoseconds: Any) -> float:
    """Nanoseconds as seconds, NaN if they are no number."""
    found = metadata.number(nanoseconds)
    return math.nan if found is None else found * 1e-9


def length(part: Buffer) -> int:
    """Length of one part."""
    return part.nbytes if isinstance(part, memoryview) else len(part)


def text(part: Buffer) -> str:
    """A part as text; bytes that are no UTF-8 are replaced."""
    return str(part, "utf-8", "replace")


def read_json(part: Buffer, limits: Limits) -> Json:
    """A JSON object. Raises BadMessage."""
    if length(part) > limits.json_bytes:
        raise BadMessage(f"a JSON part of {length(part)} bytes: {limits.json_bytes} are allowed")
    try:
        found = json.loads(str(part, "utf-8"))
    except (ValueError, RecursionError) as error:
        hint = " (is this a stream2 detector?)" if bytes(part[: len(CBOR)]) == CBOR else ""
        raise BadMessage(f"a part that should be JSON is not: {str(error)[:100]}{hint}") from None
    if not isinstance(found, dict):
        raise BadMessage("a JSON part that is no object")
    return found


def packing(encoding: Any, kind: Any) -> tuple[Encoding, np.dtype[Any]]:
    """Encoding and byte order, from `[bs<BIT>][[-]lz4][<|>]` and a type name. Raises BadMessage."""
    if type(encoding) is not str or type(kind) is not str or len(encoding) > 40 or len(kind) > 40:
        raise BadMessage("the description of the image has no encoding or type")
    return _packing(encoding, kind)


@lru_cache(maxsize=64)
def _packing(encoding: str, kind: str) -> tuple[Encoding, np.dtype[Any]]:
    found = GRAMMAR.fullmatch(encoding)
    if kind not in TYPES:
        raise BadMessage(f"image type {kind!r} is unknown: {', '.join(TYPES)} are read")
    dtype = np.dtype(kind)
    if found is None or (found[1] and not found[2]):
        raise BadMessage(f"image encoding {encoding!r} is unknown: bs8-lz4, bs16-lz4, bs32-lz4, lz4, < and > are read")
    if found[1] and int(found[1]) != 8 * dtype.itemsize:
        raise BadMessage(f"image encoding {encoding!r} does not fit the type {kind}")
    order = dtype.newbyteorder(">") if found[3] == ">" else dtype
    if found[1]:
        return Encoding.BSLZ4, order
    return (Encoding.LZ4_BLOCK if found[2] else Encoding.RAW), order


def channels(count: int) -> tuple[str, ...]:
    """What the thresholds of an image are called."""
    return tuple(CHANNEL.format(number + 1) for number in range(count))


def shape(value: Any, limits: Limits) -> tuple[int, int, int]:
    """(rows, columns, thresholds) of the wire's [x, y] or [x, y, thresholds]. Raises BadMessage."""
    if type(value) is list and len(value) in (2, 3) and all(type(size) is int and size > 0 for size in value):
        columns, rows, count = *value[:2], (*value, 1)[2]
        if rows * columns * count <= limits.pixels and count <= limits.channels:
            return rows, columns, count
    raise BadMessage(f"a shape of {str(value)[:60]}: [x, y] of 1 to {limits.pixels} pixels are allowed")
