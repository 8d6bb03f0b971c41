"""The conformance suite of sources sees the faults that it is there for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream import EndStatus, Event, Frame, FrameStatus, ScanEnd, ScanStart, Work
from stream.roles import Source
from stream.testing import SourceConformance, examples


class Recorded:
    """A sound source: one scan of six frames; `faulty` changes its events."""

    def __init__(self, faulty: Any = lambda events: events) -> None:
        self._faulty = faulty
        self._closed = False

    def events(self) -> Iterator[Event]:
        return self._faulty(self._sound())  # type: ignore[no-any-return]

    def _sound(self) -> Iterator[Event]:
        if self._closed:
            return
        yield examples.scan(expected=6)
        for index in range(6):
            yield examples.frame(index)
            if self._closed:
                yield ScanEnd(examples.UID, EndStatus.STOPPED)
                return
        yield ScanEnd(examples.UID, announced=6)

    def close(self) -> None:
        self._closed = True


def of_source(faulty: Any) -> SourceConformance:
    class Suite(SourceConformance):
        frames = 6

        @contextmanager
        def opened(self, folder: Path) -> Iterator[Source]:
            yield Recorded(faulty)

    return Suite()


def endless(events: Iterator[Event]) -> Iterator[Event]:
    return (event for event in events if not isinstance(event, ScanEnd))


def headless(events: Iterator[Event]) -> Iterator[Event]:
    return (event for event in events if not isinstance(event, ScanStart))


def one_short(events: Iterator[Event]) -> Iterator[Event]:
    return (event for event in events if not (isinstance(event, Frame) and event.index == 3))


def nameless(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, ScanStart):
            uid = f"{np.random.default_rng().integers(1 << 60)}"
        changes: Any = {"uid": uid} if isinstance(event, ScanStart) else {"scan": uid}
        yield replace(event, **changes)  # type: ignore[type-var]


def swallowing(events: Iterator[Event]) -> Iterator[Event]:
    """Cannot be closed: reads everything first."""
    return iter(list(events))


def decoding(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Frame):
            try:
                Work(event).image()
            except AssertionError:
                event = replace(event, payloads={}, status=FrameStatus.CORRUPT, problem="cannot be decoded")
        yield event


SOURCE_TESTS = [name for name in vars(SourceConformance) if name.startswith("test_")]


@pytest.mark.parametrize(
    ("faulty", "found_by"),
    [
        (endless, "test_scans_begin_and_end_and_every_frame_lies_between"),
        (headless, "test_scans_begin_and_end_and_every_frame_lies_between"),
        (one_short, "test_scans_begin_and_end_and_every_frame_lies_between"),
        (nameless, "test_the_same_scan_has_the_same_uid_at_every_reading"),
        (swallowing, "test_closing_ends_the_scan_in_hand_soon"),
        (decoding, "test_no_pixel_is_decoded_by_the_source"),
    ],
)
def test_a_faulty_source_is_found(faulty: Any, found_by: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        getattr(of_source(faulty), found_by)(tmp_path)


@pytest.mark.parametrize("name", SOURCE_TESTS)
def test_a_sound_source_passes(name: str, tmp_path: Path) -> None:
    getattr(of_source(lambda events: events), name)(tmp_path)
