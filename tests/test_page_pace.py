"""What the page takes from a machine whose cores are wanted by others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import wait_for
from page_client import frame, page, viewer

from sinks.browser.messages import View
from sinks.browser.pace import LONGEST_S, Pace, usage
from sinks.browser.picture import Source
from sinks.browser.state import State
from stream import Counters
from stream.pipeline.lane import Lane
from stream.pipeline.report import STEP_S, Meter


class Machine:
    """A clock, and what a process has had of a core and waited for one."""

    now = ran = waited = 0.0

    def spend(self, ran: float, waited: float) -> None:
        """An update that takes so long of a core, and waits for it so long."""
        self.now, self.ran, self.waited = self.now + ran + waited, self.ran + ran, self.waited + waited

    def pace(self, share: float, cores: int) -> Pace:
        return Pace(share, lambda: (self.ran, self.waited), lambda: self.now, cores)


def test_on_a_busy_machine_the_page_keeps_to_its_share_of_all_cores() -> None:
    machine = Machine()
    pace = machine.pace(0.004, 2)
    for _ in range(100):
        pace.begin()
        machine.spend(0.012, 0.05)
        machine.now += pace.pause()
    assert machine.ran / machine.now == pytest.approx(0.008)


def test_on_a_machine_with_room_or_with_many_cores_the_page_waits_for_nothing() -> None:
    machine = Machine()
    for share, cores, waited in ((0.004, 2, 0.011), (0.004, 64, 0.05), (1.0, 1, 10.0)):
        pace = machine.pace(share, cores)
        pace.begin()
        machine.spend(0.012, waited)
        assert pace.pause() == 0


def test_what_takes_very_long_does_not_stop_the_page() -> None:
    machine = Machine()
    pace = machine.pace(0.004, 1)
    pace.begin()
    machine.spend(3.0, 30.0)
    assert pace.pause() == 0
    machine.now -= 33.0
    assert pace.pause() == LONGEST_S


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no Linux that counts it")
def test_waiting_for_a_core_is_seen() -> None:
    script = (
        "import os, time; from sinks.browser.pace import usage\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.fork(); before = usage()\n"
        "while usage()[0] < before[0] + 0.2: pass\n"
        "ran, waited = usage(); assert waited - before[1] > 0.05, waited - before[1]"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    ran, waited = usage()
    assert ran > 0 and waited >= 0


def test_the_process_that_serves_has_the_lowest_priority_and_loads_no_decoder_while_nobody_looks() -> None:
    with page() as sink:
        with viewer(sink) as browser:
            browser.hello()
            browser.until("turn")
            maps = Path(f"/proc/{sink.sink.child.pid}/maps")
            assert os.getpriority(os.PRIO_PROCESS, sink.sink.child.pid) == 19
            assert "bshuf" not in maps.read_text()
            sink.write(frame(3))
            browser.watch()
            browser.image(3)
            assert "bshuf" in maps.read_text()
        tasks = Path(f"/proc/{sink.sink.child.pid}/task")
        normal = [int(task.name) for task in tasks.iterdir() if os.getpriority(os.PRIO_PROCESS, int(task.name)) < 19]
        assert len(normal) == 1  # the thread that loads the kernels, once


def test_viewers_of_the_same_picture_share_it_whatever_the_size_of_their_screens() -> None:
    source = Source(frame(0).payloads["threshold_1"], None, {"source": "image threshold_1"})
    one = source.answer(View(source="image threshold_1", size=900), 128)
    assert source.answer(View(source="image threshold_1", size=131, rows=(0, 256)), 128) is one
    assert source.answer(View(source="image threshold_1", size=100), 128) is not one


def test_viewers_who_were_told_the_same_so_far_share_every_message() -> None:
    state = State()
    row = [1, 0.0, {"a": 2.0}]
    state.apply({"counters": {"received": 1}, "options_serial": 0, "rows": [row], "scan": {"uid": "one"}}, [])
    messages = [
        lambda: state.scan_message(),
        lambda: state.rows_since(0),
        lambda: state.curves_message(),
        lambda: state.turn_message(["counters"]),
    ]
    before = [make() for make in messages]
    assert all(make() is one for make, one in zip(messages, before, strict=True))
    state.apply({"counters": {"received": 2}, "options_serial": 0, "rows": [[2, 0.0, {"a": 3.0}]]}, [])
    assert state.rows_since(0) != before[1] and state.rows_since(1) != state.rows_since(0)
    assert '"received": 2' in state.turn_message(["counters"])


def test_the_rate_is_known_however_often_it_is_asked_for() -> None:
    meter = Meter()
    meter.begin(0)
    began = time.monotonic()
    for _ in range(2000):
        meter.snapshot(Counters())
    assert len(meter._window) <= 1 + (time.monotonic() - began) / STEP_S


def test_a_lane_that_looks_often_counts_seldom() -> None:
    asked = 0

    def count() -> Counters:
        nonlocal asked
        asked += 1
        return Counters(received=asked)

    ticks: list[Counters] = []

    class Sink:
        def tick(self, counters: Counters) -> None:
            ticks.append(counters)

        def close(self) -> None:
            pass

    began = time.monotonic()
    lane = Lane(
        "page",
        Sink(),  # type: ignore[arg-type]
        policy="latest",
        capacity_bytes=1,
        required=False,
        counters=count,
        failed=lambda lane, error: None,
    )
    wait_for(lambda: len(ticks) > 10, "the lane")
    lane.close()
    assert asked <= 2 + 10 * (time.monotonic() - began)
