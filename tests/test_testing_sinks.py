"""The conformance suite of sinks sees the faults that it is there for."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from stream import Counters, Frame, Item, Product, ScanEnd, ScanStart, Stored
from stream.roles import Sink
from stream.testing import SinkConformance, examples


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
        pytest.param(Slow, "test_a_scan_is_completed_within_a_second", marks=pytest.mark.slow),
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
