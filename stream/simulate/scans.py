"""Whole scans as messages: of the simulated detector, and of recorded files encoded again."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from stream.errors import InbeamError
from stream.events import Event, Frame, Payload, ScanEnd, ScanStart
from stream.simulate.eiger import Simulated
from stream.simulate.encode import Encoder, HeaderDetail, encoder, exposure, scan_of, ulid
from stream.simulate.messages import Message


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


def chosen(index: int, frames: int | None, pool: int) -> int:
    """Which frame of the pool to send: over a scan of known length from first to last, two neighbours by turns.

    Consecutive messages never carry the same bytes (from a pool of two on), as no real ones do.
    """
    if pool < 2:
        return 0
    if not frames or frames <= pool:
        return index % pool
    return min(index * (pool - 1) // frames, pool - 2) + index % 2


def recorded(
    events: Iterable[Event],
    *,
    protocol: str,
    series: int = 1,
    renew: bool = False,
    header_detail: HeaderDetail = "all",
) -> Iterator[Message]:
    """Events of a recorded scan, encoded as a detector sends them. Notes and holes are left out.

    renew: give each scan a new unique id, so that it is not taken for the one it was recorded from.
    Raises InbeamError where the protocol cannot carry the scan.
    """
    made: Encoder | None = None
    scan: ScanStart | None = None
    for event in events:
        if isinstance(event, ScanStart):
            scan = replace(event, uid=ulid(), received=time.time()) if renew else event
            made = encoder(protocol, scan, series=series, header_detail=header_detail)
            series += 1
            yield made.start()
        elif isinstance(event, Frame) and event.payloads:
            if made is None or scan is None:
                raise InbeamError(f"frame {event.index} of scan {event.scan} comes before the start of any scan")
            yield replace(made.image(event), at_s=exposure(event, scan.detector)[0])
        elif isinstance(event, ScanEnd) and made is not None:
            yield made.end()
            made = None
