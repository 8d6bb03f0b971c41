"""What is done to one projection, against tomopy's recorded results and against what is known."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from processors.projections import air, phase, pixels, shape
from processors.projections.normalise import Series, averaged, chosen, grouped, open_beam

DICE = np.random.default_rng(11)


def golden(shared: Path, name: str) -> np.ndarray:
    return np.load(shared / "tomo" / "tomopy_normalize_golden" / f"{name}.npy")


def test_transmission_is_tomopys(shared: Path) -> None:
    beam = open_beam(averaged(golden(shared, "flat")), averaged(golden(shared, "dark")))
    found = np.stack([beam.transmission(image) for image in golden(shared, "tomo")])
    assert np.abs(found - golden(shared, "normalize")).max() <= 3e-8


def test_each_projection_has_the_nearest_flats_as_tomopys(shared: Path) -> None:
    flats, dark = golden(shared, "flat_1"), averaged(golden(shared, "dark"))
    series = [Series(4 * n, averaged(flats[2 * n : 2 * n + 2], "median"), 2) for n in range(5)]
    wanted = golden(shared, "normalize_nf")
    for number, image in enumerate(golden(shared, "tomo")):
        beam = open_beam(chosen(series, number, "nearest").flat, dark)
        assert np.abs(beam.transmission(image) - wanted[number]).max() <= 3e-8


def test_rows_are_divided_by_the_air_at_their_ends_as_tomopys(shared: Path) -> None:
    found = np.stack([air.by_edges(image) for image in golden(shared, "tomo")])
    assert np.abs(found - golden(shared, "normalize_bg")).max() <= 3e-8


def test_where_the_flat_is_not_above_the_dark_nothing_is_known_and_it_is_counted() -> None:
    flat, dark = np.full((4, 5), 100.0), np.full((4, 5), 10.0)
    dark[1, 2], dark[3, 4] = 100.0, 120.0
    beam = open_beam(flat, dark)
    found = beam.transmission(np.full((4, 5), 55, np.uint16))
    assert beam.unusable == 2
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2], [3, 4]]
    assert found[0, 0] == np.float32(0.5)


def test_flats_and_darks_that_are_exchanged_are_refused() -> None:
    with pytest.raises(ValueError, match="exchanged"):
        open_beam(np.full((2, 2), 10.0), np.full((2, 2), 100.0))


def test_the_monitor_takes_out_what_the_beam_has_lost() -> None:
    beam = open_beam(np.full((2, 2), 100.0), monitor=200.0)
    assert beam.transmission(np.full((2, 2), 25.0), 100.0) == pytest.approx(0.5)
    for reading in (0.0, float("nan")):
        with pytest.raises(ValueError, match="nothing to divide by"):
            beam.transmission(np.full((2, 2), 25.0), reading)


def test_flats_are_chosen_by_when_they_were_taken() -> None:
    early = Series(1.0, np.full((1, 1), 10.0, np.float32), 3, 5.0)
    late = Series(100.0, np.full((1, 1), 20.0, np.float32), 1, 9.0)
    both = [early, late]
    assert chosen(both, 20, "mean").flat == pytest.approx(12.5)
    assert chosen(both, 20, "mean").monitor == pytest.approx(6.0)
    assert chosen(both, 20, "nearest") is early
    assert chosen(both, 80, "nearest") is late
    assert chosen(both, 80, "before") is early
    assert chosen(both, 20, "after") is late
    with pytest.raises(ValueError, match="no flat field after frame 120"):
        chosen(both, 120, "after")


def test_frame_numbers_without_a_gap_are_one_series_of_flats() -> None:
    assert grouped([0, 1, 2, 50, 51, 99]) == [[0, 1, 2], [3, 4], [5]]


def test_air_becomes_one() -> None:
    image = np.full((6, 8), 0.2, np.float32)
    image[:2] = 0.8
    found, level = air.by_region(image, (slice(0, 2), slice(None)))
    assert level == pytest.approx(0.8)
    assert found[0, 0] == 1.0 and found[5, 5] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="nothing ever covers"):
        air.by_region(-image, (slice(0, 2), slice(None)))


def test_the_cut_off_is_a_part_of_the_range() -> None:
    assert pixels.cut_off(np.array([[0.0, 2.9, 3.1, 10.0]]), 0.3, 0.0, 10.0).tolist() == [
        [0.0, 0.0, np.float32(3.1), 10.0]
    ]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("kind", "wrong"), [("bright", {(5, 5)}), ("dark", {(2, 7)}), ("both", {(5, 5), (2, 7)})])
def test_outliers_become_the_median_around_them(size: int, kind: pixels.Outlier, wrong: set[tuple[int, int]]) -> None:
    image = np.full((12, 14), 10.0, np.float32)
    image[5, 5], image[2, 7], image[9, 9] = 500.0, -300.0, 12.0
    found, count = pixels.without_outliers(image, 50.0, size, kind)
    assert count == len(wrong)
    assert {(int(y), int(x)) for y, x in np.argwhere(found != image)} == wrong
    assert all(found[place] == 10.0 for place in wrong)


def test_the_edges_of_the_median_are_mirrored_as_mantids() -> None:
    image = np.array([[9.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
    assert pixels.median(image, 3)[0, 0] == 4.0  # of 9, 1 twice, 3 twice, 4 four times


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (33, 50)])
def test_medians_are_scipys(size: int, shape: tuple[int, int]) -> None:
    for image in (DICE.normal(size=shape).astype("f4"), DICE.integers(0, 4, shape).astype("f4")):
        np.testing.assert_array_equal(pixels.median(image, size), median_filter(image, size, mode="mirror"))
        around = median_filter(image, size, mode="reflect")
        found, count = pixels.without_outliers(image, 1e-6, size, "both")
        np.testing.assert_array_equal(found, around)
        assert count == (image != around).sum()


def test_pixels_that_are_no_numbers_are_put_between_their_neighbours_and_counted() -> None:
    image = np.tile(np.arange(5.0), (4, 1)) + 10 * np.arange(4.0)[:, None]
    wanted = image.copy()
    image[0, 1:3], image[1, 4], image[2] = np.nan, np.inf, np.nan
    wanted[1, 4] = 13.0
    wanted[2] = (wanted[1] + wanted[3]) / 2
    found, count = pixels.mended(image)
    assert count == 8
    np.testing.assert_allclose(found, wanted)
    with pytest.raises(ValueError, match="no pixel"):
        pixels.mended(np.full((2, 2), np.nan))


def test_pixels_between_good_ones_are_on_numpys_line() -> None:
    image = DICE.normal(size=(40, 70)).astype("f4")
    holes = DICE.random(image.shape) < np.linspace(0, 0.97, 40)[:, None]
    holes[:, 33] = False
    wanted = image.copy()
    for row, bad in zip(wanted, holes, strict=True):
        row[bad] = np.interp(np.flatnonzero(bad), np.flatnonzero(~bad), row[~bad])
    image[holes] = np.nan
    found, count = pixels.mended(image)
    assert count == holes.sum()
    np.testing.assert_array_equal(found, wanted)


def test_line_integrals_are_minus_the_logarithm_and_never_infinite() -> None:
    found, low = pixels.line_integrals(np.array([[1.0, 0.5, 0.0, -0.1, np.nan]], np.float32))
    assert low == 2
    np.testing.assert_allclose(found[0], [0.0, np.log(2), -np.log(1e-6), -np.log(1e-6), np.nan], rtol=1e-6)


def test_quarter_turns_are_clockwise_and_keep_all_of_an_image_that_is_not_square() -> None:
    image = np.arange(6).reshape(2, 3)
    assert shape.rotated(image, 1).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert shape.rotated(image, 3).shape == shape.rotated_shape((2, 3), 3) == (3, 2)
    np.testing.assert_array_equal(shape.rotated(shape.rotated(image, 1), 3), image)


def test_scaling_down_means_or_really_sums() -> None:
    image = np.arange(35, dtype=np.uint16).reshape(5, 7)
    assert shape.scaled_down(image, 2).tolist() == [[4.0, 6.0, 8.0], [18.0, 20.0, 22.0]]
    assert shape.scaled_down(image, 2, "sum").tolist() == [[16.0, 24.0, 32.0], [72.0, 80.0, 88.0]]
    assert shape.scaled_shape((5, 7), 2) == (2, 3)
    assert shape.scaled_centre(2.5, 2) == 1.0  # between columns 2 and 3: in the middle of the block of both


def test_the_circle_has_the_ratio_of_the_shorter_side() -> None:
    found = shape.circle((10, 20), 0.8)
    assert found.shape == (10, 20)
    assert found[5].sum() == 8 and found[:, 10].sum() == 8
    assert not found[0, 10]


def test_phase_retrieval_damps_each_frequency_by_paganins_factor() -> None:
    columns = np.arange(512)
    wave = np.tile(1 + 0.2 * np.cos(2 * np.pi * 16 * columns / 512), (40, 1))
    made = phase.Paganin((40, 512), pixel_m=1e-6, distance_m=0.05, energy_kev=20.0, delta_beta=300.0)
    found = made(wave)
    strength = np.pi * (1.239841984e-9 / 20) * 0.05 * 300 / 1e-12
    middle = slice(128, 384)
    wanted = 1 + 0.2 / (1 + strength * (16 / 512) ** 2) * np.cos(2 * np.pi * 16 * columns / 512)
    np.testing.assert_allclose(found[20, middle], wanted[middle], atol=2e-4)
    np.testing.assert_allclose(made(np.full((40, 512), 0.7)), 0.7, rtol=1e-5)
    with pytest.raises(ValueError, match="mend"):
        made(np.full((40, 512), np.nan))
