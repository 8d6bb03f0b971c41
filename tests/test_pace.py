"""How often a source looks for messages that come at this rate or that."""

import math

import pytest

from stream.wire.pace import GATHER_S, Pace


def looked(arrivals: list[float]) -> tuple[int, float]:
    """How often the source was woken for messages that arrived at these times, and the longest that one waited, s."""
    pace, now, at, wakes, longest = Pace(), 0.0, 0, 1, 0.0
    while at < len(arrivals):
        if arrivals[at] <= now:
            longest = max(longest, now - arrivals[at])
            pace.came(now)
            at += 1
        elif pace.gathering:
            now += pace.nap() or 1e-6
            wakes += pace.gathering
        else:
            now, wakes = arrivals[at], wakes + 1
    return wakes, longest


def at_rate(hz: float, seconds: float = 1.0) -> list[float]:
    return [index / hz for index in range(round(hz * seconds))]


@pytest.mark.parametrize("hz", [1500, 3000, 10_000])
def test_messages_that_come_fast_are_taken_several_at_a_time(hz: float) -> None:
    wakes, longest = looked(at_rate(hz))
    assert wakes < min(1.1 / GATHER_S, 0.55 * hz)
    assert longest <= GATHER_S * 1.01


@pytest.mark.parametrize("hz", [10, 100, 560, 900])
def test_messages_of_a_large_detector_are_taken_as_they_come(hz: float) -> None:
    assert looked(at_rate(hz)) == (pytest.approx(hz, abs=2), pytest.approx(0, abs=1e-9))


def test_a_burst_among_slow_messages_costs_one_nap() -> None:
    burst = [*at_rate(100), *(1 + index * 1e-5 for index in range(50)), *(1.1 + time for time in at_rate(100))]
    wakes, longest = looked(burst)
    assert wakes <= 206 and longest <= GATHER_S * 1.01


def test_a_reader_that_lags_behind_never_naps() -> None:
    pace = Pace()
    for number in range(1000):
        pace.came(number * 1e-4)
    assert pace.gathering
    assert math.isclose(pace.nap(), GATHER_S), "and does once it has caught up"
