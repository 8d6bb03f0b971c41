"""Hostile messages fed to a decoder, within bounds of memory and time."""

import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz.run import Fuzzer
from hostile_corpus import Case

from stream.codec.payload import decode
from stream.errors import CorruptPayload
from stream.events import Event, Frame, FrameStatus, Note
from stream.wire.decoder import FAULT, SeriesDecoder

GOOD = 4


ALLOCATED = 256 * 2**20
"""What the process may allocate in all while it is abused; the largest message itself has 1 MB."""


@contextmanager
def limited_memory() -> Iterator[None]:
    """Any allocation beyond ALLOCATED fails, touched or not, and with it the test. Compilers are done before."""
    for payload in Fuzzer(seed=0, chunk=0).payloads:
        decode(payload)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ALLOCATED, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def good_frame(events: Iterable[Event], index: int = GOOD) -> Frame:
    frames = [event for event in events if isinstance(event, Frame) and event.index == index]
    assert len(frames) == 1 and frames[0].status is FrameStatus.RECEIVED, frames
    return frames[0]


def abuse(decoder: SeriesDecoder, case: Case) -> list[Event]:
    """Feed a hostile message and decode whatever frame comes of it; no fault, no hang, no great allocation."""
    begin = time.monotonic()
    events = decoder.feed([memoryview(part) for part in case.parts], 0.0)
    for event in events:
        assert not (isinstance(event, Note) and FAULT in event.text), event
        if isinstance(event, Frame) and event.status is FrameStatus.RECEIVED:
            for payload in event.payloads.values():
                with suppress(CorruptPayload):
                    decode(payload)
        if isinstance(event, Frame):
            assert 0 <= event.index < 2**27
    assert time.monotonic() - begin < 5
    return events
