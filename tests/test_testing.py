"""The conformance suites see the faults that they are there for."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from stream import (
    Counters,
    EndStatus,
    Event,
    Field,
    Frame,
    FrameStatus,
    Item,
    Product,
    ScanEnd,
    ScanStart,
    Stored,
    Work,
)
from stream.roles import Processor, Sink, Source
from stream.testing import ProcessorConformance, SinkConformance, SourceConformance, examples


class Rows:
    """A sound processor: the sum of each row."""

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        return [Product("rows", (Field("sum", (scan.shape[0],), np.dtype("f8")),), signal="sum")]

    def process(self, work: Work) -> None:
        work.results["rows"] = {"sum": work.image().sum(1, dtype=np.float64)}

    def finish(self, end: ScanEnd) -> None:
        pass


class Reusing(Rows):
    """Gives its own buffer away, frame after frame."""

    buffer = np.zeros(examples.SHAPE[0])

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        self.buffer = np.zeros(scan.shape[0])
        return super().start(scan, work)

    def process(self, work: Work) -> None:
        work.image().sum(1, out=self.buffer)
        work.results["rows"] = {"sum": self.buffer}


class Remembering(Rows):
    """What it says of a frame depends on those before."""

    total = 0.0

    def process(self, work: Work) -> None:
        super().process(work)
        self.total += 1
        work.results["rows"]["sum"] += self.total


class Shared(Rows):
    """All instances work in one buffer; here, three workers fill it before any of them reads it."""

    buffer = np.zeros(examples.SHAPE)
    filled = threading.Barrier(3)

    def process(self, work: Work) -> None:
        self.buffer[...] = work.image()
        if threading.current_thread() is not threading.main_thread():
            self.filled.wait(20)
        work.results["rows"] = {"sum": self.buffer.sum(1)}


class Correcting(Rows):
    """Changes the pixels that the next processor reads."""

    def process(self, work: Work) -> None:
        work.image()[0] = 0
        super().process(work)


class Narrow(Rows):
    """Gives another type than it declared."""

    def process(self, work: Work) -> None:
        super().process(work)
        work.results["rows"]["sum"] = work.results["rows"]["sum"].astype(np.float32)


class Stuck(Rows):
    """Cannot begin a second scan."""

    begun = False

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        assert not self.begun
        self.begun = True
        return super().start(scan, work)


class Dated(Rows):
    """Declares something else at every start."""

    starts = 0

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        Dated.starts += 1
        return [replace(product, parameters={"start": self.starts}) for product in super().start(scan, work)]


def suite(kind: type[Any]) -> ProcessorConformance:
    class Suite(ProcessorConformance):
        def make(self) -> Processor:
            made: Processor = kind()
            return made

    return Suite()


PROCESSOR_TESTS = [name for name in vars(ProcessorConformance) if name.startswith("test_")]


@pytest.mark.parametrize(
    ("kind", "found_by"),
    [
        (Reusing, "test_what_was_given_for_a_frame_stays_when_the_next_one_comes"),
        (Remembering, "test_the_answer_is_the_same_in_any_order_and_from_any_worker"),
        (Shared, "test_several_workers_at_once_give_what_one_gives"),
        (Correcting, "test_the_pixels_are_left_as_they_are"),
        (Narrow, "test_every_frame_gives_what_was_declared"),
        (Stuck, "test_scan_after_scan_gives_the_same"),
        (Dated, "test_products_are_declared_at_the_start_and_the_same_for_every_worker"),
    ],
)
def test_a_faulty_processor_is_found(kind: type[Any], found_by: str) -> None:
    with pytest.raises(AssertionError):
        getattr(suite(kind), found_by)()


@pytest.mark.parametrize("name", PROCESSOR_TESTS)
def test_a_sound_processor_passes(name: str) -> None:
    getattr(suite(Rows), name)()


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


class Kept:
    """A sound sink: keeps the last item."""

    lane: Literal["block", "latest"] = "block"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last: Item | None = None

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        return None

    def write(self, item: Item) -> None:
        self.last = item

    def tick(self, counters: Counters) -> None:
        pass

    def finish(self, end: ScanEnd) -> None:
        pass

    def close(self) -> None:
        pass


class Scaling(Kept):
    """Changes the results that the next sink has too."""

    def write(self, item: Item) -> None:
        if isinstance(item, Frame) and item.results:
            item.results[examples.PRODUCT.name]["I"][...] *= 2


class Trusting(Kept):
    """Takes it that every frame has pixels and results."""

    def write(self, item: Item) -> None:
        assert isinstance(item, Frame) and item.payloads and item.results


class Once(Kept):
    """Knows of one scan only."""

    begun = False

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        assert not self.begun
        self.begun = True
        return None


class Forgetful(Kept):
    """Leaves its file open."""

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        OPENED.append((self.folder / "open").open("w"))
        return None


class Slow(Kept):
    """Does all its work at the end."""

    def finish(self, end: ScanEnd) -> None:
        began = time.process_time()
        while time.process_time() - began < 1.1:
            continue


OPENED: list[Any] = []
SINK_TESTS = [name for name in vars(SinkConformance) if name.startswith("test_")]


def of_sink(kind: type[Any]) -> SinkConformance:
    class Suite(SinkConformance):
        def make(self, folder: Path) -> Sink:
            made: Sink = kind(folder)
            return made

    return Suite()


@pytest.mark.parametrize(
    ("kind", "found_by"),
    [
        (Scaling, "test_frames_are_left_as_they_came"),
        (Trusting, "test_every_fate_of_a_frame_is_taken"),
        (Trusting, "test_pieces_of_what_belongs_to_the_scan_and_changes_of_options_are_taken"),
        (Once, "test_scan_after_scan_is_taken"),
        (Forgetful, "test_nothing_stays_open_behind_it"),
        (Slow, "test_a_scan_is_completed_within_a_second"),
    ],
)
def test_a_faulty_sink_is_found(kind: type[Any], found_by: str, tmp_path: Path) -> None:
    try:
        with pytest.raises(AssertionError):
            getattr(of_sink(kind), found_by)(tmp_path)
    finally:
        while OPENED:
            OPENED.pop().close()


@pytest.mark.parametrize("name", SINK_TESTS)
def test_a_sound_sink_passes(name: str, tmp_path: Path) -> None:
    getattr(of_sink(Kept), name)(tmp_path)
