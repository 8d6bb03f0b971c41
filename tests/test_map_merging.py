"""Maps of several processes that had frames in common: once in the means, or refused."""

from collections.abc import Sequence

import numpy as np
import pytest

from processors.mapping.merging import merged
from stream.errors import InbeamError
from stream.events import Array
from stream.ledger import Partial


def part(covered: Sequence[int], frames: int, value: float) -> Partial:
    """Of a map of one point with two bins: the mean of so many of the frames, the others have no usable monitor."""
    fields = {
        "I": np.full((1, 1, 2), value, np.float32),
        "frames": np.array([[frames]], np.int32),
        "frame_index": np.array([[min(covered)]], np.int64),
    }
    return Partial(np.array(covered, np.int64), fields, ("slow", "fast", "radial"))


def mean_of(*parts: Partial) -> tuple[Array, int]:
    lines, _ = merged(parts, 1e9, 0)
    line = lines[0]
    return line.values[0], int(line.frames[0])


def test_frames_of_several_processes_have_one_mean() -> None:
    values, frames = mean_of(part([0], 1, 4.0), part([1, 2], 2, 1.0))
    assert values.tolist() == [2.0, 2.0] and frames == 3


def test_a_frame_that_three_processes_had_alone_is_taken_once() -> None:
    values, frames = mean_of(part([0], 1, 4.0), part([0], 1, 4.0), part([0], 1, 4.0))
    assert values.tolist() == [4.0, 4.0] and frames == 1


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((part([0], 1, 4.0), part([0], 1, 4.0), part([0, 1], 2, 3.0)), id="a third one has it in a mean"),
        pytest.param((part([0, 1], 1, 4.0), part([0, 2], 1, 5.0)), id="without a monitor, beside other frames"),
        pytest.param((part([0], 1, 4.0), part([0], 1, 5.0)), id="with other pixels"),
    ],
)
def test_a_frame_that_may_be_twice_in_a_mean_is_refused(parts: tuple[Partial, ...]) -> None:
    with pytest.raises(InbeamError, match=r"1 frames came to two processes \(the first: frame 0\)"):
        merged(parts, 1e9, 0)
