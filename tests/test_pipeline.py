"""The machinery between source and sinks, on a source and sinks made of lists."""

import re
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Literal

import numpy as np
import pytest
from pipelines import Kept, Mean, frame, play, scan

from stream import (
    Counters,
    EndStatus,
    Event,
    Field,
    Frame,
    FrameStatus,
    Note,
    Product,
    ScanEnd,
    ScanStart,
    Stored,
    Work,
)
from stream.config import RunOptions
from stream.ledger import Ledger
from stream.pipeline.chain import Chain, Step
from stream.pipeline.pipeline import Pipeline


def test_every_frame_reaches_every_sink_in_frame_order_with_its_results() -> None:
    sinks = Kept(), Kept()
    pipeline = play([scan(), *map(frame, range(200)), ScanEnd("one")], *sinks, processors=[Mean()])
    for sink in sinks:
        assert sink.indices == list(range(200))
        assert [kept.results["mean"]["value"] for kept in sink.frames] == list(range(200))
        assert len({kept.checksums["data"] for kept in sink.frames}) == 200
        assert sink.closed
    assert pipeline.report.exit_code == 0
    assert sinks[0].ends[0].counts[FrameStatus.RECEIVED] == sinks[0].ends[0].expected == 200


class Prepared(Mean):
    """Needs something that takes long to prepare."""

    def __init__(self, made: list[str]) -> None:
        self.made = made
        self.have: list[str] = []

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        def make() -> str:
            self.made.append(scan.uid)
            return self.made[-1]

        self.have.append(work.once("long", make))
        return super().start(scan, work)


def test_what_takes_long_is_made_once_for_all_workers_of_a_scan() -> None:
    made: list[str] = []
    workers = [Prepared(made) for _ in range(4)]
    pipeline = Pipeline([Chain([Step("mean", each)]) for each in workers], {}, RunOptions())
    for uid in ("one", "two"):
        pipeline.put(scan(uid=uid))
        pipeline.put(ScanEnd(uid))
    pipeline.close()
    assert made == ["one", "two"]
    assert all(each.have == made for each in workers)


def test_a_processed_frame_keeps_everything_that_came_with_it() -> None:
    came = replace(
        frame(3),
        detector_time=1.0,
        stop_time=2.0,
        absolute_time=3.0,
        exposure_s=4.0,
        readings={"theta": 5.0},
        status=FrameStatus.LATE,
        problem="none",
        checksums={"data": 6},
    )
    nothing = Frame("", -1, {}, -1.0)
    assert all(getattr(came, each.name) is not getattr(nothing, each.name) for each in fields(Frame)[:-2])
    chain = Chain([Step("mean", Mean())])
    chain.start(scan())
    done = chain.process(came)
    assert done.results.keys() == {"mean"}
    assert replace(done, results={}) == replace(came, results={})


class Early(Kept):
    """Tells of its first tick."""

    def __init__(self) -> None:
        super().__init__()
        self.ticked = threading.Event()

    def tick(self, counters: Counters) -> None:
        super().tick(counters)
        self.ticked.set()


class Behind(Kept):
    """Is made only after the sink before it has ticked."""

    def __init__(self, first: Early) -> None:
        super().__init__()
        self._first = first

    @property
    def lane(self) -> Literal["block", "latest"]:  # type: ignore[override]
        self._first.ticked.wait(2)
        return "block"


def test_a_sink_that_ticks_before_the_next_one_is_made_has_its_counters() -> None:
    early = Early()
    pipeline = play([scan(), frame(0), ScanEnd("one")], early, Behind(early))
    assert pipeline.report.exit_code == 0 and early.indices == [0]


def test_a_slow_worker_delays_its_successors_but_never_overtakes_order() -> None:
    slow = Mean(slow=3)
    sink = Kept()

    def events() -> Iterator[Event]:
        yield scan()
        yield from map(frame, range(20))
        assert sink.indices == [0, 1, 2][: len(sink.indices)]
        slow.gate.set()
        yield ScanEnd("one")

    play(events(), sink, processors=[slow])
    assert sink.indices == list(range(20))


def test_a_missing_frame_neither_stalls_nor_shifts_and_a_late_one_is_patched() -> None:
    order = [0, 1, *range(3, 15), 2, 15]
    sink = Kept()
    pipeline = play([scan(), *map(frame, order), ScanEnd("one", announced=18)], sink, reorder_frames=4)
    assert sink.indices[:2] == [0, 1]
    assert sorted(sink.indices) == list(range(16))
    late = next(kept for kept in sink.frames if kept.index == 2)
    assert late.status is FrameStatus.LATE
    assert late.payloads
    end = sink.ends[0]
    assert end.counts[FrameStatus.LATE] == 1
    assert end.counts[FrameStatus.MISSING] == 2
    assert sum(end.counts.values()) == end.expected == 18
    assert pipeline.report.exit_code == 1
    assert "2 frames without data (2 missing)" in pipeline.report.summary()


def test_frames_within_the_window_are_put_in_order_and_are_not_late() -> None:
    sink = Kept()
    play([scan(), *map(frame, [2, 0, 1, 5, 3, 4]), ScanEnd("one")], sink)
    assert sink.indices == list(range(6))
    assert sink.ends[0].counts[FrameStatus.RECEIVED] == 6


def test_a_missing_frame_is_given_up_after_a_time_without_any_later_frame() -> None:
    sink = Kept()

    def events() -> Iterator[Event]:
        yield scan()
        yield frame(0)
        yield frame(2)
        with sink.got:
            assert sink.got.wait_for(lambda: sink.indices == [0, 2], timeout=30)
        yield ScanEnd("one")

    pipeline = Pipeline([Chain([])], {"sink": (sink, True)}, RunOptions(reorder_ms=1))
    for event in events():
        pipeline.put(event)
    pipeline.close()
    assert sink.ends[0].counts[FrameStatus.MISSING] == 1


@pytest.mark.parametrize("order", [[0, 1, 1, 2], [0, 2, 2, 1], [0, 1, 2, 0, 0]])
def test_a_duplicate_is_stored_once_and_recorded_once(order: list[int]) -> None:
    sink = Kept()
    pipeline = play([scan(), *map(frame, order), ScanEnd("one")], sink)
    stored = [kept.index for kept in sink.frames if kept.payloads]
    assert sorted(stored) == [0, 1, 2]
    assert sum(kept.status is FrameStatus.DUPLICATE for kept in sink.frames) == 1
    counts = sink.ends[0].counts
    assert counts[FrameStatus.DUPLICATE] == 1
    assert counts[FrameStatus.RECEIVED] == 2
    assert pipeline.report.scans[0].repeats == len(order) - 3
    assert pipeline.report.exit_code == 0


def test_a_corrupt_frame_is_a_hole_and_a_good_copy_fills_it() -> None:
    good = frame(1)
    damaged = replace(good, payloads={"data": replace(good.payloads["data"], data=bytes(40))})
    sink = Kept()
    play([scan(), frame(0), damaged, frame(2), ScanEnd("one")], sink)
    assert sink.frames[1].status is FrameStatus.CORRUPT
    assert not sink.frames[1].payloads
    sink = Kept()
    play([scan(), frame(0), damaged, frame(2), good, ScanEnd("one")], sink)
    assert sink.frames[-1].index == 1
    assert sink.frames[-1].status is FrameStatus.LATE
    assert sink.ends[0].counts[FrameStatus.CORRUPT] == 0


def test_a_frame_that_fails_in_a_processor_is_marked_and_its_bytes_are_kept() -> None:
    sink = Kept()
    pipeline = play([scan(), *map(frame, range(5)), ScanEnd("one")], sink, processors=[Mean(bad=3)])
    assert sink.frames[3].status is FrameStatus.FAILED
    assert "beam lost" in sink.frames[3].problem
    assert sink.frames[3].payloads
    assert pipeline.report.exit_code == 1


@pytest.mark.parametrize("uid", ["refused", "broken"])
def test_a_processor_that_cannot_take_the_scan_costs_no_frame(uid: str) -> None:
    sink = Kept()
    events = [scan(uid), *(frame(index, uid) for index in range(3)), ScanEnd(uid)]
    pipeline = play(events, sink, processors=[Mean()])
    assert [kept.status for kept in sink.frames] == [FrameStatus.FAILED] * 3
    assert all(kept.payloads for kept in sink.frames)
    assert "no wavelength" in sink.ends[0].notes[0]
    assert pipeline.report.exit_code == 1


def test_a_new_scan_before_the_end_of_the_old_one_closes_the_old_one() -> None:
    sink = Kept()
    events = [scan(), frame(0), scan("two"), frame(0, "two"), frame(9, "one"), ScanEnd("two"), ScanEnd("two")]
    pipeline = play(events, sink)
    assert [(end.scan, end.status) for end in sink.ends] == [("one", EndStatus.ABORTED), ("two", EndStatus.COMPLETE)]
    assert [(kept.scan, kept.index) for kept in sink.frames] == [("one", 0), ("two", 0)]
    assert pipeline.report.notes == 3


def test_a_full_inbox_that_drops_keeps_every_boundary_and_accounts_for_every_frame() -> None:
    gate = Mean(slow=0)
    sink = Kept()
    size = frame(0).nbytes

    def events() -> Iterator[Event]:
        yield scan()
        yield from map(frame, range(50))
        yield ScanEnd("one", announced=50)
        yield scan("two")
        yield frame(0, "two")
        gate.gate.set()
        yield ScanEnd("two")

    pipeline = play(events(), sink, processors=[gate], workers=1, inbox_mb=5 * size / 1e6, when_full="drop_oldest")
    assert [end.scan for end in sink.ends] == ["one", "two"]
    counts = sink.ends[0].counts
    assert counts[FrameStatus.DROPPED] > 0
    assert counts[FrameStatus.RECEIVED] + counts[FrameStatus.DROPPED] == sink.ends[0].expected == 50
    assert pipeline.report.exit_code == 1


def test_a_failing_required_sink_is_told_and_the_other_sinks_go_on() -> None:
    bad, good = Kept(fail_at=5), Kept()
    pipeline = play([scan(), *map(frame, range(50)), ScanEnd("one")], bad, good)
    assert good.indices == list(range(50))
    assert "disk full" in pipeline.report.summary()
    assert pipeline.report.exit_code == 1


def test_a_resumed_scan_processes_only_what_some_file_lacks() -> None:
    full = Stored(np.ones(10, np.uint8))
    partly = Stored(np.array([1, 1, 0, 1, 6, 0], np.uint8))
    sinks = Kept(full), Kept(partly)
    play([scan(), *map(frame, range(12)), ScanEnd("one", announced=12)], *sinks, processors=[Mean()])
    for sink in sinks:
        assert sink.indices == [2, 4, 5, 6, 7, 8, 9, 10, 11]
        assert sum(sink.ends[0].counts[status] for status in FrameStatus if status.has_data) == 12


def test_a_scan_that_falls_silent_is_ended() -> None:
    sink = Kept()
    pipeline = Pipeline([Chain([])], {"sink": (sink, True)}, RunOptions(scan_timeout_s=0.01))
    pipeline.put(scan())
    with sink.got:
        assert sink.got.wait_for(lambda: sink.ends, timeout=30)
    pipeline.close()
    assert sink.ends[0].status is EndStatus.SILENT
    assert "fell silent without an end message" in pipeline.report.summary() and pipeline.report.exit_code == 1
    assert "no message for" in sink.ends[0].notes[0]


def test_notes_are_counted_and_reach_the_file() -> None:
    sink = Kept()
    told = Note("two datasets", harmless=True)
    pipeline = play([scan(), told, Note("an unreadable message"), frame(0), ScanEnd("one")], sink)
    assert pipeline.report.notes == 1
    assert pipeline.report.exit_code == 1
    assert sink.ends[0].notes == ("two datasets", "an unreadable message")
    assert play([scan(), told, frame(0), ScanEnd("one")], Kept()).report.exit_code == 0


def test_a_processor_that_breaks_at_the_end_leaves_complete_files() -> None:
    class Breaks(Mean):
        def finish(self, end: ScanEnd) -> None:
            raise ZeroDivisionError("nothing to divide by")

    sink = Kept()
    events = [scan(), frame(0), ScanEnd("one"), scan("two"), frame(0, "two"), ScanEnd("two")]
    pipeline = play(events, sink, processors=[Breaks()], workers=1)
    assert [end.scan for end in sink.ends] == ["one", "two"]
    assert "mean: ZeroDivisionError: nothing to divide by" in sink.ends[0].notes[0]
    assert pipeline.report.exit_code == 1


def test_a_good_copy_of_a_frame_that_failed_is_patched_in() -> None:
    failed = np.array([1, FrameStatus.FAILED, FrameStatus.FAILED], np.uint8)
    sink = Kept(Stored(failed))
    pipeline = play(
        [scan(), *map(frame, range(3)), ScanEnd("one", announced=3)], sink, processors=[Mean(bad=2)], workers=1
    )
    assert [(kept.index, kept.status) for kept in sink.frames] == [(1, FrameStatus.LATE)]
    assert sink.ends[0].counts[FrameStatus.LATE] == sink.ends[0].counts[FrameStatus.FAILED] == 1
    assert pipeline.report.scans[0].repeats == 0


def test_what_an_earlier_process_noted_of_a_hole_is_kept_if_all_files_say_so() -> None:
    states = np.array([1, FrameStatus.CORRUPT, 1, FrameStatus.DROPPED, 1, FrameStatus.FAILED], np.uint8)
    other = states.copy()
    other[3] = FrameStatus.MISSING
    sinks = Kept(Stored(states)), Kept(Stored(other))
    play([scan(), frame(6), ScanEnd("one", announced=7)], *sinks)
    counts = sinks[0].ends[0].counts
    assert counts[FrameStatus.CORRUPT] == counts[FrameStatus.FAILED] == counts[FrameStatus.MISSING] == 1
    assert counts[FrameStatus.DROPPED] == 0
    assert counts[FrameStatus.RECEIVED] == 4


def test_counting_a_long_scan_costs_no_memory_of_its_length() -> None:
    ledger = Ledger(50_000_000)
    ledger.record(49_999_999, FrameStatus.RECEIVED)
    ledger.record(5, FrameStatus.CORRUPT)
    ledger.record(5, FrameStatus.LATE)
    tracemalloc.start()
    counts = ledger.counts()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (counts[FrameStatus.RECEIVED], counts[FrameStatus.LATE], counts[FrameStatus.CORRUPT]) == (1, 1, 0)
    assert sum(counts.values()) == ledger.expected == 50_000_000
    assert peak < 1_000_000


def test_what_waits_for_a_slow_worker_is_bounded_and_the_source_waits() -> None:
    gate, sink, fed = Mean(slow=0), Kept(), threading.Event()
    room = 20 * frame(0).nbytes / 1e6
    pipeline = Pipeline(
        [Chain([Step("mean", gate)]) for _ in range(3)],
        {"sink": (sink, True)},
        RunOptions(reorder_ms=60_000, inbox_mb=room, sink_mb=room),
    )

    def feed() -> None:
        for event in (scan(), *map(frame, range(1000)), ScanEnd("one")):
            pipeline.put(event)
        fed.set()

    source = threading.Thread(target=feed, name="inbeam-test-source")
    source.start()
    assert not fed.wait(2.0), "a thousand frames were taken while the first one was in hand"
    gate.gate.set()
    source.join(30)
    pipeline.close()
    assert sink.indices == list(range(1000))
    assert pipeline.report.exit_code == 0


def test_a_new_file_beside_a_complete_one_gets_every_frame() -> None:
    full, new, monitor = Kept(Stored(np.ones(10, np.uint8))), Kept(Stored.nothing()), Kept()
    pipeline = play([scan(), *map(frame, range(10)), ScanEnd("one", announced=10)], full, new, monitor)
    assert new.indices == list(range(10))
    assert pipeline.report.exit_code == 0


def test_a_sink_without_a_file_asks_for_no_frame_again() -> None:
    full, monitor = Kept(Stored(np.ones(10, np.uint8))), Kept()
    play([scan(), *map(frame, range(12)), ScanEnd("one", announced=12)], full, monitor)
    assert full.indices == monitor.indices == [10, 11]


class Wide(Mean):
    """Gives a megabyte for every frame."""

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        return (Product("mean", (Field("value", (125_000,), np.dtype("f8")),), signal="value"),)

    def process(self, work: Work) -> None:
        work.results["mean"] = {"value": np.zeros(125_000)}


class Stuck(Kept):
    """A sink that waits for its gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def write(self, frame: Frame) -> None:
        assert self.gate.wait(30)
        super().write(replace(frame, results={}))


def test_results_count_towards_what_waits_for_a_slow_sink() -> None:
    sink, fed = Stuck(), threading.Event()
    room = 20 * frame(0).nbytes / 1e6
    pipeline = Pipeline(
        [Chain([Step("wide", Wide())])],
        {"sink": (sink, True)},
        RunOptions(reorder_ms=60_000, inbox_mb=room, sink_mb=5.0),
    )

    def feed() -> None:
        for event in (scan(), *map(frame, range(200)), ScanEnd("one")):
            pipeline.put(event)
        fed.set()

    source = threading.Thread(target=feed, name="inbeam-test-source")
    source.start()
    assert not fed.wait(1.0), "200 MB of results were queued where 5 are allowed"
    sink.gate.set()
    source.join(30)
    pipeline.close()
    assert sink.indices == list(range(200))


def test_a_sink_that_is_not_required_never_holds_up_the_frames() -> None:
    slow, fast = Stuck(), Kept()
    pipeline = Pipeline(
        [Chain([])],
        {"slow": (slow, False), "fast": (fast, True)},
        RunOptions(reorder_ms=60_000, sink_mb=20 * frame(0).nbytes / 1e6),
    )
    for event in (scan(), *map(frame, range(200))):
        pipeline.put(event)
    with fast.got:
        assert fast.got.wait_for(lambda: len(fast.frames) == 200, 20)
    slow.gate.set()
    pipeline.put(ScanEnd("one"))
    pipeline.close()
    assert slow.indices == list(range(200))
    lost = [kept for kept in slow.frames if kept.status is FrameStatus.DROPPED]
    assert 100 < len(lost) < 200 and not any(kept.payloads for kept in lost)
    assert f"slow could not keep up: {len(lost)} frames were given up there" in pipeline.report.summary()
    assert pipeline.report.exit_code == 1


def test_a_result_that_is_not_what_was_declared_is_the_processors_failure() -> None:
    for value, words in (
        (np.zeros(3), r"has the shape \(3,\), but \(\) was declared"),
        ("seven", "is 'seven', not a number"),
    ):

        class Wrong(Mean):
            def process(self, work: Work, value: object = value) -> None:
                work.results["mean"] = {"value": value}  # type: ignore[dict-item]

        sink = Kept()
        pipeline = play([scan(), frame(0), ScanEnd("one")], sink, processors=[Wrong()], workers=1)
        assert [kept.status for kept in sink.frames] == [FrameStatus.FAILED]
        assert re.search(f"mean: the result 'value' {words}", sink.frames[0].problem)
        assert pipeline.report.exit_code == 1
