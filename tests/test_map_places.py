"""Any scan, however it was disturbed: the map is that of a reference that walks over the points as the motors do."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patterns import gathered, pattern

from stream import Frame, FrameStatus
from stream.testing import examples


@dataclass(frozen=True)
class Disturbed:
    fast: int
    slow: int | None
    per_point: int
    offset: int
    zigzag: bool
    numbers: list[int]
    """Frame numbers in the order of their arrival: some missing, some late, some twice, some beyond the last point."""


@st.composite
def scans(draw: st.DrawFn) -> Disturbed:
    fast, slow, per_point = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    offset, surplus = draw(st.integers(0, 5)), draw(st.integers(0, 8))
    numbers = list(range(offset + fast * slow * per_point + surplus))
    missing = draw(st.sets(st.sampled_from(numbers), max_size=6))
    numbers = [number for number in numbers if number not in missing]
    for _ in range(draw(st.integers(0, 4)) if numbers else 0):  # late
        numbers.append(numbers.pop(draw(st.integers(0, len(numbers) - 1))))
    for _ in range(draw(st.integers(0, 3)) if numbers else 0):  # again
        numbers.insert(draw(st.integers(0, len(numbers))), draw(st.sampled_from(numbers)))
    known = draw(st.booleans())
    return Disturbed(fast, slow if known else None, per_point, offset, draw(st.booleans()), numbers)


def walk(scan: Disturbed) -> Iterator[tuple[int, int]]:
    """The point of every frame, one after the other, as the motors move."""
    row = 0
    while True:
        back = scan.zigzag and row % 2 == 1 and scan.slow != 1
        for column in range(scan.fast - 1, -1, -1) if back else range(scan.fast):
            for _ in range(scan.per_point):
                yield row, column
        row += 1


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scans())
def test_every_frame_is_in_its_point_once_and_nowhere_else(scan: Disturbed) -> None:
    frames: list[Frame] = []
    seen: set[int] = set()
    for number in scan.numbers:
        frame = examples.frame(number)
        if number in seen:
            frame = replace(frame, payloads={}, status=FrameStatus.DUPLICATE)
        elif seen and number < max(seen):
            frame = replace(frame, status=FrameStatus.LATE)
        seen.add(number)
        frames.append(frame)
    slow = {} if scan.slow is None else {"points": scan.slow}
    found = gathered(
        frames,
        fast={"points": scan.fast},
        slow=slow,
        offset=scan.offset,
        zigzag=scan.zigzag,
        frames_per_point=scan.per_point,
    )
    places = dict(zip(range(scan.offset, scan.offset + 500), walk(scan), strict=False))
    points: dict[tuple[int, int], list[int]] = {}
    for number in sorted(seen):
        if number >= scan.offset:
            points.setdefault(places[number], []).append(number)
    cube = found.fields("map")
    rows = max([scan.slow or 0, *(row + 1 for row, _ in points)])
    assert not rows or cube["frames"].shape == cube["frame_index"].shape == (rows, scan.fast)
    total = found.fields("map_images").get("total")
    for point in np.ndindex(rows, scan.fast):
        here = points.get(point, [])
        assert cube["frames"][point] == len(here)
        assert cube["frame_index"][point] == (here[0] if here else -1)
        if here:
            mean = np.mean([pattern(number).astype(np.float64) for number in here], axis=0).astype(np.float32)
            np.testing.assert_array_equal(cube["I"][point], mean)
            assert total is not None and total[point] == mean.sum(dtype=np.float64)
        elif total is not None and point[0] < len(total):
            assert np.isnan(cube["I"][point]).all() and np.isnan(total[point])
    assert found.covered["map"] == seen
