"""Whole scans as messages: of the simulated detector, and of recorded files encoded again."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from stream.errors import InbeamError
from stream.events import Event, Frame, Note, Payload, ScanEnd, ScanStart
from stream.simulate.eiger import Simulated
from stream.simulate.encode import Encoder, HeaderDetail, exposure, scan_of, ulid
from stream.simulate.messages import Message
from stream.simulate.simplon import SimplonEncoder
from stream.simulate.stream2 import Stream2Encoder


def simulated(
    detector: Simulated,
    pool: Sequence[Mapping[str, Payload]],
    *,
    protocol: str,
    frames: int | None,
    scans: int | None = 1,
    frame_time_s: float = 0.01,
    series: int = 1,
    header_detail: HeaderDetail = "all",
) -> Iterator[Message]:
    """Scans of a simulated detector; `frames` or `scans` None: without end. The pool's frames follow `chosen`."""
    number = 0
    while scans is None or number < scans:
        name = str(series + number)
        scan = scan_of(detector, expected=frames, name=name, frame_time_s=frame_time_s)
        made = encoder(protocol, scan, series=series + number, header_detail=header_detail)
        yield made.start()
        index = 0
        while frames is None or index < frames:
            frame = Frame(scan.uid, index, pool[chosen(index, frames, len(pool))], 0.0, index * frame_time_s)
            yield replace(made.image(frame), at_s=index * frame_time_s)
            index += 1
        yield made.end()
        number += 1


def encoder(protocol: str, scan: ScanStart, *, series: int = 1, header_detail: HeaderDetail = "all") -> Encoder:
    """The encoder of "stream2" or "simplon" for this scan. Raises InbeamError if the protocol cannot carry it."""
    if protocol == "stream2":
        return Stream2Encoder(scan, series=series, header_detail=header_detail)
    if protocol == "simplon":
        return SimplonEncoder(scan, series=series, header_detail=header_detail)
    raise InbeamError(f"no protocol {protocol!r} to send: use stream2 or simplon")


def chosen(index: int, frames: int | None, pool: int) -> int:
    """Which frame of the pool to send: over a scan of known length from first to last, two neighbours by turns.

    Consecutive messages never carry the same bytes (from a pool of two on), as no real ones do.
    """
    if pool < 2:
        return 0
    if not frames or frames <= pool:
        return index % pool
    return min((index + 1) // 2 * 2 * (pool - 1) // frames, pool - 2) + index % 2


def recorded(
    events: Iterable[Event],
    *,
    protocol: str,
    series: int = 1,
    renew: bool = False,
    header_detail: HeaderDetail = "all",
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Message]:
    """Events of recorded scans, encoded as a detector sends them, timed as they were exposed. Holes are left out.

    renew: give each scan a new unique id, so that it is not taken for the one it was recorded from.
    note: told what the source notes. Raises InbeamError where the protocol cannot carry a scan.
    """
    made: Encoder | None = None
    scan: ScanStart | None = None
    begin = now = 0.0
    first: float | None = None
    for event in events:
        if isinstance(event, ScanStart):
            scan = replace(event, uid=ulid(), received=time.time()) if renew else event
            made = encoder(protocol, scan, series=series, header_detail=header_detail)
            series += 1
            begin, first = now, None
            yield replace(made.start(), at_s=now)
        elif isinstance(event, Note):
            note(event.text)
        elif isinstance(event, ScanEnd) and made is not None:
            yield replace(made.end(), at_s=now)
            for text in event.notes:
                note(text)
            made = None
        elif isinstance(event, Frame) and made is not None and scan is not None:
            if not event.payloads:
                note(f"frame {event.index} is left out: {event.problem}")
                continue
            exposed = exposure(event, scan.detector)[0]
            first = exposed if first is None else first
            now = max(now, begin + exposed - first)
            yield replace(made.image(event), at_s=now)
