"""Filtered back-projection against a slice that is known, and against scikit-image; what the angles cover."""

import numpy as np
import pytest
from phantoms import phantom, sinogram, well_inside

from processors.tomography import backprojection, filters
from processors.tomography.angles import coverage, weights_of
from processors.tomography.backprojection import fbp, padded, seen
from processors.tomography.growing import Slice
from processors.tomography.half import feathered

SIZE = 200
SEQUENCE = np.arange(0, 180, 0.75)
GOLDEN = np.mod(np.arange(240) * 111.24611797498108, 180)
JITTERED = SEQUENCE + np.random.default_rng(8).uniform(-0.3, 0.3, len(SEQUENCE))


def bias(picture: np.ndarray) -> float:
    """The largest relative error of the mean value of a part."""
    return max(abs(picture[part].mean() - value) / value for part, value in well_inside(SIZE))


def alike(picture: np.ndarray) -> float:
    """Correlation with the truth, within what every projection sees."""
    inside = seen(SIZE, SIZE, (SIZE - 1) / 2)
    return float(np.corrcoef(picture[inside], phantom(SIZE)[inside])[0, 1])


@pytest.mark.parametrize("window", ["ramp", "shepp-logan", "cosine", "hamming", "hann"])
def test_the_values_of_a_slice_are_the_true_ones(window: filters.Window) -> None:
    picture = fbp(sinogram(SIZE, SEQUENCE), SEQUENCE, window=window)
    assert bias(picture) <= 0.002
    inside = seen(SIZE, SIZE, (SIZE - 1) / 2)
    assert picture[inside].sum() == pytest.approx(sinogram(SIZE, SEQUENCE).sum(axis=1).mean(), rel=0.005)


@pytest.mark.parametrize(
    ("angles", "centre"),
    [
        (np.arange(0, 360, 1.5), 99.5),
        (np.arange(0, 181, 0.75), 99.5),
        (np.arange(-90, 90, 0.75)[::-1], 104.3),
        (JITTERED, 99.5),
        (GOLDEN, 93.25),
        (np.delete(SEQUENCE, [17, 100, 101]), 99.5),
        (np.repeat(SEQUENCE, 3), 99.5),
    ],
    ids=["360", "both ends of 180", "backwards, off centre", "jitter", "golden, off centre", "gaps", "three times"],
)
def test_they_are_so_for_all_kinds_of_angles_and_any_centre(angles: np.ndarray, centre: float) -> None:
    assert bias(fbp(sinogram(SIZE, angles, centre), angles, centre=centre)) <= 0.002


def test_a_slice_is_that_of_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    size = 151  # odd: its axis is in the middle of pixel size // 2
    angles = np.arange(0, 180, 1.0)
    measured = sinogram(size, angles)
    inside = seen(size, size, size // 2) & (np.hypot(*(np.indices((size, size)) - size // 2)) < size // 2 - 1)
    for window in ("ramp", "shepp-logan", "cosine", "hamming", "hann"):
        ours = fbp(measured, angles, window=window)  # type: ignore[arg-type]
        theirs = transform.iradon(measured.T, theta=-angles, filter_name=window, circle=True)
        tolerance = {"ramp": 1e-6, "shepp-logan": 1e-5}.get(window, 5e-3)  # their other windows are not symmetric
        assert np.abs(ours - theirs)[inside].max() <= tolerance * theirs.max(), window


def test_adding_projections_one_by_one_gives_the_same_slice() -> None:
    measured, weights = sinogram(SIZE, GOLDEN), weights_of(GOLDEN)
    ready = padded(filters.filtered(measured, filters.response(SIZE)) * weights[:, None])
    picture = np.zeros((SIZE, SIZE))
    for number in np.random.default_rng(1).permutation(len(GOLDEN)):
        backprojection.add(picture, ready[[number]], GOLDEN[[number]], 99.5)
    whole = fbp(measured, GOLDEN)
    assert np.abs(picture - whole).max() <= 1e-12 * whole.max()


def test_many_slices_at_once_and_several_threads_change_nothing() -> None:
    many = np.stack([sinogram(60, SEQUENCE) * factor for factor in (1.0, 2.0, -0.5)], axis=2)
    found = fbp(many, SEQUENCE, centre=31.2, threads=3)
    for number in range(3):
        np.testing.assert_allclose(found[..., number], fbp(many[..., number], SEQUENCE, centre=31.2), atol=1e-12)


def test_half_of_the_angles_in_golden_order_show_the_whole_and_in_sequence_do_not() -> None:
    half = len(SEQUENCE) // 2
    found = {}
    for name, angles in (("sequence", SEQUENCE[:half]), ("golden", GOLDEN[:half])):
        found[name] = alike(fbp(sinogram(SIZE, angles), angles)), coverage(angles)
    (sequence, part), (golden, whole) = found["sequence"], found["golden"]
    assert sequence < 0.85 < 0.97 < golden
    assert part.covered_deg == pytest.approx(90) and part.largest_gap_deg == pytest.approx(90.75)
    assert whole.covered_deg == pytest.approx(180) and whole.largest_gap_deg < 3
    assert part.words == "120 angles cover 90.0 of 180 degrees, largest gap 90.8"


def test_weights_are_what_each_angle_stands_for() -> None:
    np.testing.assert_allclose(weights_of(np.arange(0, 180, 10)), np.deg2rad(10))
    np.testing.assert_allclose(weights_of(np.arange(0, 360, 10)), np.deg2rad(5))
    np.testing.assert_allclose(weights_of(np.array([0, 60.0, 120, 180])), np.deg2rad([30, 60, 60, 30]))
    np.testing.assert_allclose(weights_of(np.array([0, 50, 100.0, np.nan])), np.deg2rad([65, 50, 65, 0]))
    for angles in (JITTERED, GOLDEN, GOLDEN[:7], np.arange(0, 361.0), np.tile(SEQUENCE, 4)):
        assert weights_of(angles).sum() == pytest.approx(np.pi)


def test_nobody_stands_for_a_missing_wedge() -> None:
    found = coverage(np.arange(0.0, 60, 2))
    np.testing.assert_allclose(found.weights, np.deg2rad(2))
    assert (found.covered_deg, found.largest_gap_deg, found.angles) == (pytest.approx(60), pytest.approx(122), 30)
    two = coverage(np.concatenate([np.arange(0.0, 50), np.arange(90.0, 140)]))
    assert two.covered_deg == pytest.approx(100)


def test_where_both_sides_are_needed_half_a_turn_is_half_of_it() -> None:
    half, full = (coverage(np.arange(0.0, last, 10), turn_deg=360) for last in (180, 360))
    assert (half.covered_deg, half.largest_gap_deg) == (pytest.approx(180), pytest.approx(190))
    assert half.words == "18 angles cover 180.0 of 360 degrees, largest gap 190"
    np.testing.assert_allclose(full.weights, np.deg2rad(5))
    assert full.covered_deg == pytest.approx(360)


def test_the_first_angle_stands_for_one_step() -> None:
    assert coverage(np.array([7.0, np.nan]), spacing_deg=-3).weights == pytest.approx([np.deg2rad(3), 0])
    assert coverage(np.full(3, np.nan)).angles == 0
    assert coverage(np.full(3, np.nan)).words == "no angle covered yet"


def test_what_not_every_projection_sees_is_known() -> None:
    assert seen(5, 5, 2.0).tolist() == [
        [False, True, True, True, False],
        [True] * 5,
        [True] * 5,
        [True] * 5,
        [False, True, True, True, False],
    ]
    assert seen(5, 5, 1.0).sum() == 9 and seen(5, 5, 1.0, half_turn_only=False).sum() == 25


def test_a_full_turn_with_the_axis_near_an_edge_shows_the_whole_sample() -> None:
    angles = np.arange(0, 360, 0.75)
    columns, centre = 120, 19.6
    measured = sinogram(SIZE, angles, centre, columns)
    wide, middle = feathered(measured, centre)
    picture = fbp(wide, angles, centre=middle, size=SIZE)
    assert bias(picture) <= 0.002 and alike(picture) > 0.98
    wide, middle = feathered(measured[:, ::-1], columns - 1 - centre)
    turned = fbp(wide, angles + 180, centre=middle, size=SIZE)
    assert np.abs(turned - picture).max() < 1e-9


def test_a_slice_that_grows_is_always_the_full_one() -> None:
    """In golden order each projection takes weight from its neighbours; rows change, the centre moves, some go away."""
    measured, angles = sinogram(SIZE, GOLDEN), GOLDEN
    growing, worked = Slice(SIZE, SIZE), []
    for count in range(1, 101):
        weights = weights_of(angles[:count])
        worked.append(growing.show(measured[:count], angles[:count], weights, 99.5))
        if count in (1, 2, 30, 100):
            whole = fbp(measured[:count], angles[:count])
            assert np.abs(growing.picture - whole).max() <= 1e-6 * np.abs(whole).max()
    assert max(worked[20:]) < 30 and np.median(worked) <= 5
    measured[40] *= 1.5
    assert growing.show(measured[:100], angles[:100], weights_of(angles[:100]), 99.5) == 1
    np.testing.assert_allclose(growing.picture, fbp(measured[:100], angles[:100]), atol=1e-12)
    growing.show(measured[:100], angles[:100], weights_of(angles[:100]), 98.5)
    np.testing.assert_allclose(growing.picture, fbp(measured[:100], angles[:100], centre=98.5), atol=1e-12)
    without = np.where(np.arange(100) == 7, np.nan, angles[:100])
    rows = np.where(np.isnan(without)[:, None], np.nan, measured[:100])
    growing.show(rows, without, weights_of(without), 98.5)
    found = fbp(np.delete(measured[:100], 7, axis=0), np.delete(angles[:100], 7), centre=98.5)
    np.testing.assert_allclose(growing.picture, found, atol=1e-12)


def test_a_scan_in_sequence_costs_one_projection_each() -> None:
    measured, growing, worked = sinogram(SIZE, SEQUENCE), Slice(SIZE, SIZE), []
    for count in range(1, 60):
        weights = coverage(SEQUENCE[:count], spacing_deg=0.75).weights
        worked.append(growing.show(measured[:count], SEQUENCE[:count], weights, 99.5))
    assert worked == [1] * 59


def test_a_projection_at_exactly_a_quarter_turn_is_added_everywhere() -> None:
    """The bounds of its lines were beyond what an integer holds: the process died, from some 600 columns on."""
    projection = np.random.default_rng(2).random((1, 1000)) + 1
    picture = np.zeros((1000, 1000))
    backprojection.add(picture, padded(projection), np.array([90.0]), 499.5)
    np.testing.assert_allclose(picture[1:-1], np.tile(projection[0, 1:-1, None], (1, 1000)))
