"""Where `map` puts the frames: by their own numbers or their motors, in whatever order they come."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from patterns import Patterns, gathered, pattern
from pydantic import ValidationError

from processors import map as mapping
from processors.mapping.described import command, described
from stream import Context, FrameStatus
from stream.errors import ConfigError
from stream.testing import GathererConformance, examples
from stream.testing.gathered import Gathered

FAST, SLOW = 4, 3
FLAGS = ("offset", "zigzag", "missing", "duplicate", "late", "surplus")


class TestMap(GathererConformance):
    def make(self) -> Any:
        return mapping.create(mapping.Config(fast={"points": 3}, rois={"peak": {"range": (10, 20)}}))

    def earlier(self) -> Any:
        return [Patterns(errors=True)]


class TestMapOfSeveralFramesPerPoint(GathererConformance):
    exact = 1e-6  # the errors' squares are not exact in float64

    def make(self) -> Any:
        return mapping.create(mapping.Config(fast={"points": 2}, frames_per_point=2, zigzag=True))

    def earlier(self) -> Any:
        return [Patterns(errors=True)]


def test_a_map_that_begins_behind_the_last_frame_is_told() -> None:
    told: list[str] = []
    for offset in (6, 7):
        options = mapping.Config(fast={"points": 3}, offset=offset)
        found = Gathered(mapping.create(options, Context(trouble=told.append)), [Patterns()], examples.scan("01", 7))
        for number in range(7):
            found.take(examples.frame(number))
        found.finish(7)
    assert told == ["map: all 7 frames lie before offset 7: nothing is in the map"]


@pytest.mark.parametrize("flags", list(product((False, True), repeat=len(FLAGS))))
def test_every_frame_lies_at_its_own_number(flags: tuple[bool, ...]) -> None:
    """The oracle walks over the points as the motors do, the map computes from the number."""
    has = dict(zip(FLAGS, flags, strict=True))
    offset = 2 if has["offset"] else 0
    count = offset + FAST * SLOW + (6 if has["surplus"] else 0)
    walk = [
        (row, column)
        for row in range(SLOW + 2)
        for column in (reversed(range(FAST)) if has["zigzag"] and row % 2 else range(FAST))
    ]
    numbers = [number for number in range(count) if not (has["missing"] and number in (offset, offset + 6))]
    if has["late"]:
        numbers = [*(number for number in numbers if number != offset + 5), offset + 5]
    frames = [examples.frame(number) for number in numbers]
    if has["late"]:
        frames[-1] = replace(frames[-1], status=FrameStatus.LATE)
    if has["duplicate"]:
        again = examples.frame(offset + 3)
        frames += [again, replace(again, payloads={}, status=FrameStatus.DUPLICATE)]
    found = gathered(frames, fast={"points": FAST}, slow={"points": SLOW}, offset=offset, zigzag=has["zigzag"])
    rows = SLOW + 2 if has["surplus"] else SLOW
    wanted = np.full((rows, FAST), -1)
    for number in numbers:
        if number >= offset:
            wanted[walk[number - offset]] = number
    cube = found.fields("map")
    np.testing.assert_array_equal(cube["frame_index"], wanted)
    np.testing.assert_array_equal(cube["frames"], (wanted >= 0).astype(int))
    for row, column in np.ndindex(wanted.shape):
        number = wanted[row, column]
        expected = pattern(number) if number >= 0 else np.full(examples.SHAPE[1], np.nan)
        np.testing.assert_array_equal(cube["I"][row, column], expected)
    assert found.covered["map"] == found.covered["map_images"] == set(numbers)


def test_one_line_ignores_zigzag_also_where_surplus_frames_make_another() -> None:
    found = gathered([examples.frame(n) for n in range(6)], fast={"points": 4}, slow={"points": 1}, zigzag=True)
    assert found.fields("map")["frame_index"].tolist() == [[0, 1, 2, 3], [4, 5, -1, -1]]


def test_a_slow_direction_of_unknown_length_grows_and_its_positions_with_it() -> None:
    slow = {"motor": "dty", "first": -1.0, "step": 0.5}
    found = gathered([examples.frame(n) for n in range(7)], fast={"points": 2}, slow=slow)
    assert found.fields("map")["I"].shape[0] == 4
    assert found.fields("map")["dty"].tolist() == [-1.0, -0.5, 0.0, 0.5]
    assert found.fields("map_images")["dty"].tolist() == [-1.0, -0.5, 0.0, 0.5]


def test_several_frames_of_a_point_are_their_mean_exactly() -> None:
    found = gathered([examples.frame(n) for n in (7, 2, 0, 1, 3, 4, 6, 5)], fast={"points": 2}, frames_per_point=4)
    means = [np.mean([pattern(n).astype(float) for n in numbers], axis=0) for numbers in (range(4), range(4, 8))]
    np.testing.assert_array_equal(found.fields("map")["I"][0], np.array(means, np.float32))
    assert found.fields("map")["frames"].tolist() == [[4, 4]]
    assert found.fields("map")["frame_index"].tolist() == [[0, 4]]


GRID = {"fast": {"motor": "x", "first": 0.0, "step": 0.1, "points": 4}, "slow": {"motor": "y", "first": 5, "step": -1}}


def moved(index: int, y: float, x: float) -> Any:
    return examples.frame(index, readings={"x": x, "y": y})


def test_motors_that_jitter_are_never_compared_for_equality() -> None:
    dice = np.random.default_rng(3)
    points = list(np.ndindex(3, 4))
    dice.shuffle(points)
    frames = [
        moved(number, 5 - row + dice.uniform(-0.35, 0.35), 0.1 * column + dice.uniform(-0.035, 0.035))
        for number, (row, column) in enumerate(points)
    ]
    found = gathered(frames, place_by="readings", **GRID).fields("map")
    for number, (row, column) in enumerate(points):
        assert found["frame_index"][row, column] == number
        np.testing.assert_array_equal(found["I"][row, column], pattern(number))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (moved(0, 5, 0.05), "lies between two points of x"),
        (moved(0, 5, 0.41), "lies beside the grid"),
        (moved(0, 6, 0.1), "lies beside the grid"),
        (moved(0, -5e6, 0.1), "check `fast` and `slow`"),
        (moved(0, -20, 0.1), "`memory_gb` has no room"),
        (examples.frame(0, readings={"x": 0.1}), "has no reading 'y'"),
        (moved(0, float("nan"), 0.1), "has no reading 'y'"),
    ],
)
def test_a_frame_without_a_certain_place_is_refused(frame: Any, words: str) -> None:
    found = Gathered(
        mapping.create(mapping.Config(place_by="readings", memory_gb=4 * 4 * 48 / 1e9, **GRID)),
        [Patterns()],
        examples.scan(examples.UID),
    )
    if "memory" in words:
        found.take(moved(1, 5, 0.1))
    with pytest.raises(ValueError, match=words):
        found.take(frame)
    found.finish(1)
    assert 0 not in found.covered["map"]


def test_an_encoder_that_tells_nonsense_makes_no_giant_map() -> None:
    config = mapping.Config(place_by="readings", fast=GRID["fast"], slow={**GRID["slow"], "points": 3})
    found = Gathered(mapping.create(config), [Patterns()], examples.scan(examples.UID))
    found.take(moved(0, 1, 0.1))  # one line more than there should be
    with pytest.raises(ValueError, match="lies beside the grid"):
        found.take(moved(1, -20_000, 0.1))
    found.finish(2)
    assert found.fields("map")["I"].shape[0] == 5


def test_a_spiral_fills_the_nearest_points_with_means() -> None:
    turn = np.linspace(0, 6 * np.pi, 90)
    x, y = 0.15 + turn / 130 * np.cos(turn), 4 + turn / 13 * np.sin(turn)
    frames = [moved(number, y[number], x[number]) for number in range(len(turn))]
    found = gathered(frames, place_by="nearest", **GRID).fields("map")
    row, column = np.floor(5 - y + 0.5).astype(int), np.floor(x / 0.1 + 0.5).astype(int)
    for point in np.ndindex(found["frames"].shape):
        here = np.flatnonzero((row == point[0]) & (column == point[1]))
        assert found["frames"][point] == len(here)
        if len(here):
            mean = np.mean([pattern(number).astype(float) for number in here], axis=0)
            np.testing.assert_array_equal(found["I"][point], mean.astype(np.float32))
    assert found["frames"].max() > 3 and found["frames"].sum() == 90


def test_a_point_without_beam_is_nan_and_told() -> None:
    told: list[str] = []
    frames = [examples.frame(n, readings={"ic": ic}) for n, ic in enumerate((2.0, 0.0, float("nan"), 4.0))]
    frames.append(examples.frame(4))
    found = gathered(frames, context=Context(trouble=told.append), fast={"points": 5}, normalize_by="ic")
    cube = found.fields("map")
    np.testing.assert_array_equal(cube["I"][0, 0], pattern(0) / 2)
    np.testing.assert_array_equal(cube["I"][0, 3], pattern(3) / 4)
    assert np.isnan(cube["I"][0, [1, 2, 4]]).all()
    assert np.isnan(found.fields("map_images")["total"][0, 1])
    assert cube["frame_index"].tolist() == [[0, 1, 2, 3, 4]] and cube["frames"].tolist() == [[1, 0, 0, 1, 0]]
    assert told == [
        "map: 3 frames have no usable reading 'ic' (the first: frame 1): they are in no mean, and points without any "
        "other frame are NaN"
    ]


def test_the_source_may_describe_the_grid_and_the_user_has_the_last_word() -> None:
    scan = examples.scan(examples.UID)
    told = {"user_data": {"map": {"fast": {"points": 3, "motor": "x", "first": 1, "step": 2}, "slow": 2}}}
    scan = replace(scan, detector=replace(scan.detector, metadata=told))
    found = Gathered(mapping.create(mapping.Config(slow={"points": 4})), [Patterns()], scan)
    fields = {field.name: field for field in found.products[0].fields}
    assert fields["I"].shape == (4, 3, examples.SHAPE[1])
    assert found.products[0].axes[1].name == "x" and found.products[0].axes[1].values.tolist() == [1, 3, 5]


def test_commands_of_bliss_scans_are_understood() -> None:
    mesh = command("amesh samx 0 1 10 samy -1 1 4 0.1")
    assert (mesh["fast"].motor, mesh["fast"].points, mesh["slow"].motor, mesh["slow"].points) == ("samx", 11, "samy", 5)
    fly = command("fscan2d chi -1 0.08 62 diffrz -1.5 0.08 43 0.1 0.100419")
    assert (fly["slow"].points, fly["fast"].points, fly["fast"].first) == (62, 43, pytest.approx(-1.46))
    assert not command("amesh samx zero 1 10 samy -1 1 4 0.1") and not command("ct 1") and not command("")
    assert not described(examples.scan()).sides


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "how many points a line has"),
        ({"fast": 4, "slow": 100, "memory_gb": 1e-6}, "the map needs 7.68e-05 GB of memory: set memory_gb higher"),
        ({"fast": 4, "place_by": "readings"}, "the motor, its first position"),
        ({"fast": 4, "rois": {"far": {"range": (1e6, 2e6)}}}, "has no bin of the radial axis"),
        ({"fast": 4, "of": "other"}, "one called 'other' must stand before the map .there is: patterns"),
        ({"fast": 4, "ratios": {"r": {"of": "a", "by": "b"}}}, "asks for a region 'a' that is not there"),
    ],
)
def test_a_map_that_cannot_be_made_is_refused_with_what_to_do(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Gathered(mapping.create(mapping.Config(**options)), [Patterns()], examples.scan(examples.UID))


@pytest.mark.parametrize(
    "options",
    [
        {"fast": {"points": 3, "first": 0, "last": 1, "step": 0.1}},
        {"fast": {"step": 0.1}},
        {"fast": {"first": 0, "last": 1}},
        {"fast": {"points": 3, "first": 1, "step": 0}},
        {"fast": 0},
        {"fast": 3, "rois": {"a": {"range": (2, 1)}}},
        {"fast": 3, "rois": {"a/b": {"range": (1, 2)}}},
        {"fast": 3, "rois": {"spare_1": {"range": (1, 2)}}},
        {"fast": 3, "rois": {"a": {"range": (1, 2)}}, "ratios": {"a_sum": {"of": "a", "by": "a"}}},
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        mapping.Config(**options)
