"""Rings of a tomogram while the sample turns: some pixels answer otherwise than their flat says."""

from typing import Any

import numpy as np
import pytest
from projected import ANGLES, CENTRE, DARK, ROWS, SIZE, begun, counts, gains, gathered, lines, scan

from processors import tomogram
from processors.reconstruction import planes
from processors.reconstruction.ringless import FEWEST
from processors.reconstruction.width import Width
from processors.tomography import gridding, rings
from processors.tomography.angles import weights_of
from processors.tomography.backprojection import seen

INSIDE = seen(SIZE, SIZE, CENTRE)
NAME = "tomography"
STRIPES = np.where(np.isin(np.arange(SIZE), (9, 18, 30, 35)), 0.05, 0.0)
"""What the pixels of these columns add to a line integral."""
ROW = 3


def striped(angles: np.ndarray = ANGLES, **options: int) -> list[Any]:
    return scan(angles, images=counts(lines(angles) + STRIPES), **options)


def measured(angles: np.ndarray) -> np.ndarray:
    """(angles, columns): the sinogram of the middle row, of counts, which are whole numbers."""
    found = (counts(lines(angles) + STRIPES) - DARK) / (np.round(DARK + gains()) - DARK)
    return -np.log(found[:, ROW])


def full(angles: np.ndarray, method: rings.Method, weights: np.ndarray | None = None) -> np.ndarray:
    """What is made of all projections, in one go."""
    sinogram = rings.without_rings(measured(angles), method, angles)
    return gridding.fbp(sinogram, angles, centre=CENTRE, weights=weights)


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted)[INSIDE].max() / np.abs(wanted[INSIDE]).max())


@pytest.mark.parametrize("method", rings.METHODS)
@pytest.mark.parametrize("order", ["one after the other", "golden"])
def test_the_slice_of_the_whole_scan_is_that_of_a_full_reconstruction_without_rings(
    method: rings.Method, order: str
) -> None:
    angles = ANGLES if order != "golden" else np.mod(np.arange(89) * 111.246117975, 360)
    found = gathered(striped(angles), centre=CENTRE, rings=method)
    made = found.fields(NAME)
    assert error(made["slice_1"], full(angles, method, weights_of(angles))) < 1e-3
    with_rings = gridding.fbp(measured(angles), angles, centre=CENTRE, weights=weights_of(angles))
    assert error(made["slice_1"], with_rings) > 0.01
    assert made["ring_projections"].tolist() == [len(angles)]
    assert f"rings removed by {method}, of {len(angles)} projections" in made["summary"].item().decode()
    np.testing.assert_allclose(made["sinogram_1"][5:], measured(angles), atol=1e-5)  # which is as measured


def test_every_slice_of_the_volume_is_without_rings_too() -> None:
    found = gathered(striped(), centre=CENTRE, rings="sorting", volume=True, slices=(2,))
    volume = found.fields(f"{NAME}_volume")["I"]
    assert error(volume[ROW], full(ANGLES, "sorting")) < 1e-3
    np.testing.assert_array_equal(volume[2], found.fields(NAME)["slice_1"])


def test_the_vertical_planes_are_at_the_end_those_of_projections_without_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "BLOCK_BYTES", 8 * len(ANGLES) * SIZE * 4)  # four rows, then two
    found = gathered(striped(), centre=CENTRE, rings="wavelet-fourier")
    given = -np.log((counts(lines() + STRIPES) - DARK) / (np.round(DARK + gains()) - DARK))
    smooth = np.stack([rings.without_rings(given[:, row], "wavelet-fourier", ANGLES) for row in range(ROWS)], axis=1)
    wanted = planes.Planes((ROWS, SIZE), Width(SIZE), 256, np.zeros((ROWS, SIZE), bool), "ramp", None)
    for index, image in enumerate(smooth):
        wanted.put(index, image)
    assert wanted.show(ANGLES, weights_of(ANGLES), CENTRE, None, float("inf"))
    for name, plane in (("vertical_x", wanted.along_x), ("vertical_y", wanted.along_y)):
        np.testing.assert_allclose(found.fields(NAME)[name], plane, atol=1e-5 * np.abs(plane).max())


def test_live_slices_say_of_which_projections_their_rings_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomogram, "BUSY", 0)
    found = begun(centre=CENTRE, picture_s=0, rings="sorting")
    for number, each in enumerate(striped(), 1):
        found.take(each)
        count, made = number - 5, found.fields(NAME)
        if count in (5, 29):  # nobody could tell them from a sample that has hardly turned
            weights = np.full(count, np.deg2rad(3))
            now = gridding.fbp(measured(ANGLES[:count]), ANGLES[:count], centre=CENTRE, weights=weights)
            assert made["ring_projections"].tolist() == [0] and error(made["slice_1"], now) < 1e-3
            assert f"rings not removed yet: it takes {FEWEST} projections" in made["summary"].item().decode()
        if count in (30, 31, 60):
            now = full(ANGLES[:count], "sorting", np.full(count, np.deg2rad(3)))
            assert made["ring_projections"].tolist() == [count] and error(made["slice_1"], now) < 1e-3
            words = f"rings removed by sorting, of {count} projections, in the vertical planes at the end"
            assert words in made["summary"].item().decode()


def test_what_comes_late_or_is_divided_by_later_flats_is_in_the_removal_too() -> None:
    frames = striped(after=3)
    late = [*frames[:20], *frames[21:40], frames[20], *frames[40:]]
    found = gathered(late, centre=CENTRE, rings="titarenko")
    np.testing.assert_array_equal(
        found.fields(NAME)["slice_1"], gathered(frames, centre=CENTRE, rings="titarenko").fields(NAME)["slice_1"]
    )
    missing = gathered([*frames[:20], *frames[21:]], centre=CENTRE, rings="sorting")
    angles = np.delete(ANGLES, 15)
    assert error(missing.fields(NAME)["slice_1"], full(angles, "sorting", weights_of(angles))) < 1e-3
    assert missing.fields(NAME)["ring_projections"].tolist() == [59]


def test_a_slice_that_was_moved_without_its_past_says_that_it_had_fewer_projections() -> None:
    options: dict[str, Any] = {"centre": CENTRE, "rings": "sorting", "most": 2, "keep": False, "vertical": False}
    found = begun(picture_s=0, slices=(2,), **options)
    for each in striped()[:25]:
        found.take(each)
    found._work.hand(tomogram.Config(slices=(2, ROW), **options))
    for each in striped()[25:]:
        found.take(each)
    found.finish(65)
    made = found.fields(NAME)
    assert made["ring_projections"].tolist() == [60, 40]
    assert "of 40 to 60 projections" in made["summary"].item().decode()


def test_rings_may_be_removed_and_left_in_again_while_the_scan_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomogram, "BUSY", 0)
    found, frames = begun(centre=CENTRE, picture_s=0), striped()
    for each in frames[:63]:
        found.take(each)
    found._work.hand(tomogram.Config(centre=CENTRE, picture_s=0, rings="sorting"))
    found.take(frames[63])
    count = 59
    assert error(found.fields(NAME)["slice_1"], full(ANGLES[:count], "sorting", weights_of(ANGLES[:count]))) < 1e-3
    found._work.hand(tomogram.Config(centre=CENTRE, picture_s=0))
    found.take(frames[64])
    found.finish(65)
    made = found.fields(NAME)
    assert error(made["slice_1"], gridding.fbp(measured(ANGLES), ANGLES, centre=CENTRE)) < 1e-3
    assert made["ring_projections"].tolist() == [0] and "rings" not in made["summary"].item().decode()


def test_a_scan_that_ends_before_rings_can_be_told_keeps_them_and_is_no_success() -> None:
    told: list[str] = []
    found = gathered(striped(ANGLES[:25]), told, centre=CENTRE, rings="sorting", volume=True)
    weights = np.full(25, np.deg2rad(3))
    now = gridding.fbp(measured(ANGLES[:25]), ANGLES[:25], centre=CENTRE, weights=weights)
    for picture in (found.fields(NAME)["slice_1"], found.fields(f"{NAME}_volume")["I"][ROW]):
        assert error(picture, now) < 1e-3
    assert any("rings are left in" in each for each in told)
