"""The conformance suite of processors sees the faults that it is there for."""

import inspect
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream import (
    Field,
    Product,
    ScanEnd,
    ScanStart,
    Work,
)
from stream.roles import Processor
from stream.testing import (
    GathererConformance,
    ProcessorConformance,
    RestorableConformance,
    SinkConformance,
    SourceConformance,
    examples,
)


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


@pytest.mark.parametrize(
    "suite, test, words",
    [
        (ProcessorConformance, "test_is_a_processor", r"Mine needs a method make\(self\) -> Processor: return a new"),
        (GathererConformance, "test_is_a_gatherer", r"Mine needs a method make\(self\) -> Gatherer: return a new"),
        (SinkConformance, "test_is_a_sink", r"Mine needs a method make\(self, folder\) -> Sink: return a new"),
        (SourceConformance, "test_is_a_source", r"Mine needs a method opened\(self, folder\): a context manager"),
        (RestorableConformance, "test_a_scan_is_gone_on_with_from", r"Mine needs a method opened\(self, folder\)"),
    ],
)
def test_a_suite_that_was_inherited_without_its_hook_fails_and_says_what_to_write(
    suite: type, test: str, words: str, tmp_path: Path
) -> None:
    class Mine(suite):  # type: ignore[misc]
        pass

    assert not inspect.isabstract(Mine), "pytest passes over abstract classes in silence"
    (run,) = [getattr(Mine(), name) for name in dir(Mine) if name.startswith(test)]
    with pytest.raises(NotImplementedError, match=words):
        run(tmp_path) if inspect.signature(run).parameters else run()
