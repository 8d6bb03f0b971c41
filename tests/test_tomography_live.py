"""Slices of a turning sample while its projections come: against what is known of it, in whatever order they come."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from projected import ANGLES, CENTRE, DARK, ROWS, SHAPE, SIZE, begun, counts, frame, gathered, lines, scan, start, truth
from pydantic import ValidationError

from processors import tomogram
from processors.reconstruction import axis, planes
from processors.tomography import gridding
from processors.tomography.angles import weights_of
from processors.tomography.backprojection import fbp, seen
from processors.tomography.search import search
from stream import Context
from stream.codec.payload import decode
from stream.errors import ConfigError
from stream.events import EMPTY, ScanEnd
from stream.testing import GathererConformance, examples
from stream.work import Work

INSIDE = seen(SIZE, SIZE, CENTRE)
NAME = "tomography"


class Conformance(GathererConformance):
    changes: Mapping[str, Any] = EMPTY
    frames = scan(np.arange(0, 225, 45.0), darks=1, flats=2)

    def make(self) -> Any:
        return tomogram.create(tomogram.Config(**{"picture_s": 0, **self.changes}), Context(trouble=print))

    def scan(self, uid: str) -> Any:
        return start(uid, expected=8)

    def frame(self, index: int) -> Any:
        return self.frames[index]


class TestTomography(Conformance):
    pass


@pytest.mark.slow
class TestWithAllOptions(Conformance):
    changes: Mapping[str, Any] = MappingProxyType(
        {"volume": True, "slices": (1, 4), "most": 3, "flat": "nearest", "vertical_px": 20, "window": "hann"}
    )


@pytest.mark.slow
class TestWithoutKeepingProjections(Conformance):
    changes: Mapping[str, Any] = MappingProxyType({"keep": False, "vertical": False, "centre": 22.0})


def error(found: np.ndarray, wanted: np.ndarray, inside: np.ndarray = INSIDE) -> float:
    """The largest difference, of the largest value."""
    return float(np.abs(found - wanted)[inside].max() / np.abs(wanted[inside]).max())


def full(angles: np.ndarray = ANGLES, row: int = 3, centre: float = CENTRE, **options: Any) -> np.ndarray:
    return gridding.fbp(lines(angles)[:, row], angles, centre=centre, **options)


def words(found: Any) -> str:
    return str(found.fields(NAME)["summary"].item().decode())


def test_the_slice_of_the_whole_scan_is_that_of_a_full_reconstruction() -> None:
    told: list[str] = []
    found = gathered(scan(), told, centre=CENTRE)
    made = found.fields(NAME)
    assert error(made["slice_1"], full()) < 1e-3
    direct = fbp(lines()[:, 3], ANGLES, centre=CENTRE)
    assert np.sqrt(np.mean((made["slice_1"] - direct)[INSIDE] ** 2)) < 0.03 * direct[INSIDE].max()
    assert np.corrcoef(made["slice_1"][INSIDE], truth(3)[INSIDE])[0, 1] > 0.97
    assert made["slice_1"][INSIDE].mean() == pytest.approx(truth(3)[INSIDE].mean(), rel=0.02)
    assert np.isnan(made["slice_1"][~INSIDE]).all() and made["row"].tolist() == [3]
    np.testing.assert_allclose(made["sinogram_1"][5:], lines()[:, 3], atol=2e-4)
    assert np.isnan(made["sinogram_1"][:5]).all() and np.isnan(made["angle"][:5]).all()
    np.testing.assert_array_equal(made["angle"][5:], ANGLES)
    assert words(found) == (
        "60 projections; 60 angles cover 180.0 of 180 degrees, largest gap 3; axis at column 22.700 (given); 3 flats, "
        "2 darks"
    )
    assert not told and found.covered[NAME] == set(range(65))


def test_after_each_projection_there_is_the_slice_of_all_that_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomogram, "BUSY", 0)
    found = begun(centre=CENTRE, picture_s=0)
    for number, each in enumerate(scan()[:30]):
        updates = found.take(each)
        assert [update.product for update in updates] == [NAME] and updates[0].covers == (number,)
        count = number - 4
        if count in (1, 2, 9, 25):
            now = full(ANGLES[:count], weights=np.full(count, np.deg2rad(3) if count > 1 else np.pi))
            assert error(found.fields(NAME)["slice_1"], now) < 1e-3
            assert found.fields(NAME)["projections"] == count


@pytest.mark.parametrize("order", ["golden", "interlaced", "random"])
def test_angles_in_any_order_are_weighted_by_what_they_stand_for(order: str) -> None:
    angles = {
        "golden": np.mod(np.arange(89) * 111.246117975, 360),
        "interlaced": np.concatenate([np.arange(first, 180, 12.0) for first in (0, 6, 3, 9)]),
        "random": np.sort(np.random.default_rng(3).uniform(0, 180, 90)),
    }[order]
    found = gathered(scan(angles), centre=CENTRE)
    wanted = full(angles, weights=weights_of(angles))
    assert error(found.fields(NAME)["slice_1"], wanted) < 1e-3
    assert found.fields(NAME)["slice_1"][INSIDE].mean() == pytest.approx(truth(3)[INSIDE].mean(), rel=0.02)


def test_golden_angles_live_are_those_of_a_full_reconstruction_at_every_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every projection takes weight from the neighbours that it comes between."""
    monkeypatch.setattr(tomogram, "BUSY", 0)
    angles = np.mod(np.arange(40) * 111.246117975, 360)
    found = begun(centre=CENTRE, picture_s=0, vertical=False)
    for number, each in enumerate(scan(angles)):
        found.take(each)
        if number in (8, 20, 44):
            now = angles[: number - 4]
            assert error(found.fields(NAME)["slice_1"], full(now, weights=weights_of(now))) < 1e-3


def test_the_axis_is_found_from_projections_half_a_turn_apart() -> None:
    told: list[str] = []
    angles = np.arange(0, 195, 3.0)
    found = gathered(scan(angles), told)
    made = found.fields(NAME)
    assert float(made["centre"]) == pytest.approx(CENTRE, abs=0.05) and made["centre_pairs"] == 5
    assert float(made["centre_uncertainty"]) < 0.2 and float(made["centre_searched"]) == pytest.approx(CENTRE, abs=0.1)
    assert "by 5 pairs half a turn apart; search: 22.7" in words(found) and not told


def test_the_axis_is_found_while_the_scan_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interface of old had one at the end; whoever sees it drift stops the run."""
    monkeypatch.setattr(tomogram, "BUSY", 0)
    angles = np.concatenate([np.array([0.0, 180.0]), np.arange(3, 180, 3.0)])
    found = begun(picture_s=0)
    for each in scan(angles)[:7]:
        found.take(each)
    assert float(found.fields(NAME)["centre"]) == pytest.approx(CENTRE, abs=0.1)
    assert float(found.fields(NAME)["centre_uncertainty"]) < 0.5


def wide(angles: np.ndarray, columns: int = 30, centre: float = 12.4) -> Any:
    """Of a sample that is wider than the detector: centres of mass tell nothing."""
    shape = (ROWS, columns)
    of = lines(angles, centre, columns)
    images = np.round(DARK + 40_000 * np.exp(-of)).astype("u2")
    parts = [(np.full(shape, DARK, "u2"), 2, 0.0), (np.full(shape, DARK + 40_000, "u2"), 1, 0.0)]
    parts += [(image, 0, angle) for image, angle in zip(images, angles, strict=True)]
    return start(shape=shape), [frame(index, *each) for index, each in enumerate(parts)]


def test_without_a_pair_half_a_turn_apart_the_centre_is_the_middle_and_flagged() -> None:
    told: list[str] = []
    begin, frames = wide(np.arange(0, 150, 3.0))
    found = begun(told, begin)
    for each in frames:
        found.take(each)
    found.finish(len(frames))
    made = found.fields(NAME)
    assert float(made["centre"]) == 14.5 and np.isinf(made["centre_uncertainty"]) and made["centre_pairs"] == 0
    assert "not known yet, no pair half a turn apart: the middle" in words(found)
    assert len(told) == 1 and "the centre of rotation is not known" in told[0] and told[0].endswith("give `centre`")


def test_a_sample_wider_than_the_detector_has_its_axis_by_pairs() -> None:
    begin, frames = wide(np.arange(0, 183, 3.0))
    found = begun(given=begin)
    for each in frames:
        found.take(each)
    found.finish(len(frames))
    assert float(found.fields(NAME)["centre"]) == pytest.approx(12.4, abs=0.15)


def test_pairs_are_spread_over_the_scan_and_none_is_farther_than_two_degrees() -> None:
    pairs, off = axis.pairs_of(np.arange(0, 360, 1.0))
    assert len(pairs) == 8 and off == 0 and all(other - one == 180 for one, other in pairs)
    assert pairs[0][0] == 0 and pairs[-1][0] == 179
    assert axis.pairs_of(np.arange(0, 170, 1.0)) == ([], pytest.approx(np.nan, nan_ok=True))
    one, off = axis.pairs_of(np.array([10.0, 191.5, 50.0]))
    assert one == [(0, 1)] and off == pytest.approx(1.5)


def test_where_pairs_are_noisy_more_of_them_tell_the_axis() -> None:
    angles = np.arange(0, 360, 1.0)
    exact = lines(angles)
    noisy = exact + np.random.default_rng(2).normal(0, 0.25 * exact.max(), exact.shape)
    found = axis.find(noisy, angles)
    assert found.how == "pairs" and found.pairs > 50 and found.uncertainty < 0.3
    assert found.column == pytest.approx(CENTRE, abs=0.2)
    assert axis.find(exact, angles).pairs == 8


def test_an_axis_that_the_search_contradicts_is_told_at_the_end() -> None:
    """The only pair half a turn apart is of no use: the sample had moved."""
    angles, told = np.append(ANGLES, 180.0), list[str]()
    images = counts(lines(angles))
    images[-1] = np.roll(images[-1], 6, axis=1)
    found = gathered(scan(angles, images=images), told)
    assert float(found.fields(NAME)["centre"]) == pytest.approx(CENTRE + 3, abs=0.5)
    assert float(found.fields(NAME)["centre_searched"]) == pytest.approx(CENTRE, abs=0.5)
    assert any("the search finds the axis elsewhere" in each for each in told)


def test_without_a_flat_there_is_a_raw_preview_and_it_is_said() -> None:
    told: list[str] = []
    found = gathered(scan(flats=0), told, centre=CENTRE)
    assert "no flat field yet: a raw preview, whose values mean nothing" in words(found)
    assert told == ["tomography: no flat field has come: the slices are a raw preview, whose values mean nothing"]
    assert np.corrcoef(found.fields(NAME)["slice_1"][INSIDE], truth(3)[INSIDE])[0, 1] > 0.5


def test_flats_that_come_last_are_in_every_picture_that_was_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomogram, "BUSY", 0)
    frames = scan(flats=0, after=3)
    found = begun(centre=CENTRE, picture_s=0)
    for each in frames[:-3]:
        found.take(each)
    assert "raw preview" in words(found)
    for each in frames[-3:]:
        found.take(each)
    assert "raw preview" not in words(found) and error(found.fields(NAME)["slice_1"], full()) < 1e-3
    np.testing.assert_allclose(found.fields(NAME)["sinogram_1"][2:62], lines()[:, 3], atol=2e-4)


def test_pixels_whose_flat_is_not_above_the_dark_are_counted_and_interpolated() -> None:
    frames = scan()
    for number in range(5):
        image = np.full(SHAPE, DARK, "u2") if number < 2 else np.round(gathers(frames[number])).astype("u2")
        image[3, 20] = image[0, 0] = 77
        frames[number] = frame(number, image, 2 if number < 2 else 1, 0.0)
    found = gathered(frames, centre=CENTRE)
    made = found.fields(NAME)
    assert made["unusable_pixels"] == 2
    assert "2 pixels whose flat is not above the dark are interpolated" in words(found)
    sinogram = made["sinogram_1"][5:]
    np.testing.assert_allclose(sinogram[:, 20], (sinogram[:, 19] + sinogram[:, 21]) / 2, rtol=1e-5)


def test_such_pixels_are_counted_too_where_a_projection_stands_before() -> None:
    from processors import projection

    frames = scan()
    flat, dark = np.round(gathers(frames[3])).astype("u2"), np.full(SHAPE, DARK, "u2")
    flat[3, 20] = dark[3, 20] - 1
    for number in range(2, 5):
        frames[number] = frame(number, flat, 1, 0.0)
    found = begun(earlier=[projection.create(projection.Config(from_scan=True))], centre=CENTRE)
    for each in frames:
        found.take(each)
    found.finish(len(frames))
    assert found.fields(NAME)["unusable_pixels"] == 1 and "1 pixels whose flat is not above the dark" in words(found)


def gathers(each: Any) -> np.ndarray:
    return decode(next(iter(each.payloads.values())))


def test_a_flat_below_its_dark_everywhere_is_refused_in_words() -> None:
    exchanged = [frame(0, np.full(SHAPE, 90, "u2"), 1, 0.0), frame(1, np.full(SHAPE, 900, "u2"), 2, 0.0), scan()[10]]
    with pytest.raises(ValueError, match="no pixel of the flat is above the dark"):
        gathered(exchanged, centre=CENTRE, picture_s=0)


def test_the_nearest_flats_divide_a_projection_or_the_mean_of_all() -> None:
    """The beam has halved at the end of the scan."""
    frames = scan(after=3)
    half = [frame(65 + number, (gathers(frames[-1]) // 2), 1, 177.0) for number in range(3)]
    near = gathered([*frames[:-3], *half], centre=CENTRE, flat="nearest").fields(NAME)["sinogram_1"]
    mean = gathered([*frames[:-3], *half], centre=CENTRE).fields(NAME)["sinogram_1"]
    np.testing.assert_allclose(near[5:30], lines()[:25, 3], atol=2e-4)
    np.testing.assert_allclose(near[45:65] - lines()[40:, 3], np.log(0.5), atol=3e-3)
    np.testing.assert_allclose(mean[5:65] - lines()[:, 3], np.log(0.75), atol=3e-3)


def test_a_slice_that_is_moved_has_its_past() -> None:
    old = tomogram.Config(centre=CENTRE, most=2, picture_s=0)
    new = old.model_copy(update={"slices": (1, 5)})
    found = begun(centre=CENTRE, most=2, picture_s=0)
    frames = scan()
    for each in frames[:40]:
        found.take(each)
    found._work.hand(new)
    for each in frames[40:]:
        found.take(each)
    found.finish(len(frames))
    made = found.fields(NAME)
    assert made["row"].tolist() == [1, 5]
    for number, row in ((1, 1), (2, 5)):
        assert error(made[f"slice_{number}"], full(row=row)) < 1e-3
        np.testing.assert_allclose(made[f"sinogram_{number}"][5:], lines()[:, row], atol=2e-4)


def test_without_kept_projections_a_moved_slice_begins_when_it_is_moved() -> None:
    options: dict[str, Any] = {"centre": CENTRE, "keep": False, "vertical": False}
    found = begun(**options)
    frames = scan()
    for each in frames[:40]:
        found.take(each)
    found._work.hand(tomogram.Config(**options, slices=(1,)))
    for each in frames[40:]:
        found.take(each)
    found.finish(len(frames))
    made = found.fields(NAME)
    later = ANGLES[35:]
    assert np.isnan(made["sinogram_1"][:40]).all()
    assert (
        error(made["slice_1"], gridding.fbp(lines(later)[:, 1], later, centre=CENTRE, weights=weights_of(later))) < 1e-3
    )


def test_a_slice_that_is_taken_away_is_gone_and_one_that_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomogram, "BUSY", 0)
    told: list[str] = []
    found = begun(told, centre=CENTRE, most=2, slices=(1, 2), picture_s=0)
    frames = scan()
    for each in frames[:20]:
        found.take(each)
    found._work.hand(tomogram.Config(centre=CENTRE, most=2, slices=(2,)))
    for each in frames[20:40]:
        found.take(each)
    found._work.hand(tomogram.Config(centre=99, most=2, slices=(2,)))
    for each in frames[40:]:
        found.take(each)
    found.finish(len(frames))
    made = found.fields(NAME)
    assert made["row"].tolist() == [2, -1] and np.isnan(made["slice_2"]).all() and np.isnan(made["sinogram_2"]).all()
    assert told == ["tomography: the centre 99 is none of the columns 0 to 47; what was set before stays"]


def test_the_centre_may_be_set_while_the_scan_runs_and_a_late_frame_does_not_set_it_back() -> None:
    found = begun(centre=10.0, picture_s=0)
    frames = scan()
    for each in frames[:40]:
        found.take(each)
    found._work.hand(tomogram.Config(centre=CENTRE))
    for each in frames[41:]:
        found.take(each)
    found._work.hand(tomogram.Config(centre=10.0))
    found.take(frames[40])
    found.finish(len(frames))
    assert float(found.fields(NAME)["centre"]) == CENTRE and error(found.fields(NAME)["slice_1"], full()) < 1e-3


def test_a_projection_that_never_came_is_stood_for_by_its_neighbours() -> None:
    frames = scan()
    found = gathered([*frames[:20], *frames[21:]], centre=CENTRE)
    there = np.delete(ANGLES, 15)
    wanted = gridding.fbp(lines(there)[:, 3], there, centre=CENTRE, weights=weights_of(there))
    assert error(found.fields(NAME)["slice_1"], wanted) < 1e-3
    assert words(found).startswith("59 projections; 59 angles cover 180.0 of 180 degrees, largest gap 6")


def test_a_projection_that_came_twice_counts_once() -> None:
    frames = scan()
    again = [*frames[:30], frames[29], frames[12], *frames[30:]]
    found, once = gathered(again, centre=CENTRE).fields(NAME), gathered(frames, centre=CENTRE).fields(NAME)
    np.testing.assert_array_equal(found["slice_1"], once["slice_1"])


def test_a_projection_without_an_angle_is_left_out() -> None:
    frames = scan()
    nameless = frame(20, gathers(frames[20]), 0)
    found = begun(centre=CENTRE)
    with pytest.raises(ValueError, match="no angle"):
        found.take(nameless)
    for each in (*frames[:20], *frames[21:]):
        found.take(each)
    found.finish(len(frames))
    assert 20 not in found.covered[NAME] and found.fields(NAME)["projections"] == 59


def test_a_list_of_angles_that_turns_out_to_be_too_long_is_told() -> None:
    told: list[str] = []
    angles = [*([0.0] * 10), *ANGLES.tolist()]
    found = begun(
        told, start(readings=None), centre=CENTRE, turn={"angles": angles, "darks": ["0-1"], "flats": ["2-4"]}
    )
    for each in scan():
        found.take(each)
    found.finish(65)
    assert any("70 angles for 60 projections: each may be that of another one" in text for text in told)


def test_what_viewers_are_shown_is_the_whole_slice_with_its_sinogram_and_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those who come late: on the monitor and on the page."""
    monkeypatch.setattr(tomogram, "BUSY", 0)
    from sinks.live.whole import Wholes

    found = begun(centre=CENTRE, picture_s=0)
    wholes = Wholes(found.products, 1 << 24)
    for each in scan()[:20]:
        for update in found.take(each):
            wholes.take(update)
    shown, _ = wholes.of(NAME)
    made = found.fields(NAME)
    for name in ("slice_1", "sinogram_1", "vertical_x", "vertical_y", "centre", "summary"):
        np.testing.assert_array_equal(shown[name], made[name])


@pytest.mark.slow
def test_half_acquisition_shows_the_whole_sample() -> None:
    """The axis at column 10.4 of 30, a full turn: slices and planes as of a detector that is wide enough."""
    angles, columns, centre = np.arange(0, 360, 3.0), 30, 10.4
    begin, frames = wide(angles, columns, centre)
    told: list[str] = []
    options: dict[str, Any] = {"centre": centre, "half_acquisition": True, "volume": True}
    found = begun(told, begin, **options)
    for each in frames:
        found.take(each)
    found.finish(len(frames))
    made = found.fields(NAME)
    size = len(made["slice_1"])
    assert size == 39 and not told and "angles cover 360.0 of 360 degrees" in words(found)
    whole = gridding.fbp(lines(angles, (size - 1) / 2, size)[:, 3], angles)
    inside = seen(size, size, 17.0)
    assert np.corrcoef(made["slice_1"][inside], whole[inside])[0, 1] > 0.98
    assert made["slice_1"][inside].mean() == pytest.approx(whole[inside].mean(), rel=0.01)
    volume = found.fields(f"{NAME}_volume")["I"]
    np.testing.assert_allclose(volume[3][inside], made["slice_1"][inside], atol=1e-6)
    assert made["vertical_x"].shape == (ROWS, size)
    cut = volume[:, size // 2]
    there = np.isfinite(cut) & (np.abs(np.arange(size) - size // 2) < 15)
    assert np.corrcoef(made["vertical_x"][there], cut[there])[0, 1] > 0.97
    found = begun(told, begin, **options)
    found.take(frames[0])
    found._work.hand(tomogram.Config(**{**options, "centre": 11.0}))
    found.take(frames[1])
    assert told and "in half-acquisition the centre decides on the size of the slices" in told[0]


def test_a_detector_that_announces_far_too_many_frames_costs_little() -> None:
    found = begun(given=start(expected=10**9), centre=CENTRE)
    fields = {each.name: each.shape for each in found.products[0].fields}
    assert fields["angle"] == (None,) and fields["sinogram_1"] == (None, SIZE)


def test_planes_that_are_made_anew_are_finished_though_no_frame_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The centre was moved: all projections are added once more, some at each picture."""
    monkeypatch.setattr(tomogram, "BUSY", 0)
    now = [0.0]
    monkeypatch.setattr(planes.time, "monotonic", lambda: now.append(now[-1] + 0.01) or now[-1])  # ten per picture
    found = begun(centre=10.0, picture_s=0)
    frames = scan()
    for each in frames[:45]:
        found.take(each)
    found._work.hand(tomogram.Config(centre=CENTRE, picture_s=0))
    found.take(frames[45])
    stale = found.fields(NAME)["vertical_x"].copy()
    for _ in range(10):
        found.tick()
    exact = gathered(frames[:46], centre=CENTRE).fields(NAME)["vertical_x"]
    np.testing.assert_allclose(found.fields(NAME)["vertical_x"], exact, atol=1e-6)
    assert np.abs(stale - exact).max() > 1e-3
    assert not found.tick()


def test_a_projection_of_another_size_or_a_wider_type_is_left_out() -> None:
    found = begun(centre=CENTRE)
    frames = scan()
    for each in frames[:20]:
        found.take(each)
    for wrong in (np.zeros((ROWS, SIZE + 1), "u2"), np.full(SHAPE, 70_000, "u4")):
        with pytest.raises(ValueError, match="it is in no slice"):
            found.take(frame(20, wrong, 0, 45.0))
    found.take(frames[20])
    found.finish(21)
    assert found.fields(NAME)["projections"] == 16


def test_the_volume_has_a_slice_for_every_row_and_the_planes_are_cuts_through_it() -> None:
    found = gathered(scan(), centre=CENTRE, volume=True)
    volume = found.fields(f"{NAME}_volume")["I"]
    assert volume.shape == (ROWS, SIZE, SIZE) and found.covered[f"{NAME}_volume"] == set(range(65))
    for row in range(ROWS):
        assert error(volume[row], full(row=row)) < 1e-3
        assert np.isnan(volume[row][~INSIDE]).all()
    made = found.fields(NAME)
    size = made["vertical_x"].shape
    assert size == (ROWS, SIZE)
    middle = slice(SIZE // 2 - 1, SIZE // 2 + 1)  # the axis lies between two rows of pixels
    for name, cut in (
        ("vertical_x", volume[:, middle].mean(axis=1)),
        ("vertical_y", volume[:, :, middle].mean(axis=2)),
    ):
        there = np.isfinite(cut)
        assert np.corrcoef(made[name][there], cut[there])[0, 1] > 0.97
        assert made[name][there].mean() == pytest.approx(cut[there].mean(), rel=0.03)


def test_coarser_vertical_planes_are_means_of_finer_ones() -> None:
    fine, coarse = (gathered(scan(), centre=CENTRE, vertical_px=size).fields(NAME)["vertical_x"] for size in (64, 24))
    assert coarse.shape == (ROWS, 24)
    blocks = fine.reshape(ROWS, 24, 2).mean(axis=2)[:, 4:-4]
    assert np.corrcoef(coarse[:, 4:-4].ravel(), blocks.ravel())[0, 1] > 0.95
    assert coarse[:, 4:-4].mean() == pytest.approx(blocks.mean(), rel=0.03)


def test_what_the_processors_have_made_of_the_counts_is_taken() -> None:
    """The same flats, from the scan; the workers leave line integrals on the bench."""
    from processors import projection

    def made(**steps: Any) -> Any:
        config = projection.Config(**steps)
        found = begun(earlier=[projection.create(config)], centre=CENTRE)
        for each in scan():
            found.take(each)
        found.finish(65)
        assert not steps["from_scan"] or "3 flats, 2 darks" in words(found)
        return found.fields(NAME)["slice_1"]

    assert error(made(from_scan=True), full()) < 1e-3
    assert error(made(from_scan=True, logarithm=False), full()) < 1e-3
    with pytest.raises(ConfigError, match="the projections are counts"):
        made(from_scan=False, logarithm=False)


def test_two_tomographies_behind_one_projection_have_their_own_flats() -> None:
    from processors import projection

    bench = Work()
    projection.create(projection.Config(from_scan=True)).start(start(), bench)
    made = [tomogram.create(tomogram.Config(name=name, centre=CENTRE)) for name in ("one", "two")]
    for each in made:
        each.start(start(), bench.beside())
    told = []
    for each in made:
        work = bench.beside()
        for given in scan():
            work.take(given)
            list(each.take(work))
        told += list(each.finish(ScanEnd(examples.UID, announced=65, expected=65)))
    for update in told:
        assert [int(update.pieces[name].values) for name in ("flats", "darks")] == [3, 2]


@pytest.mark.parametrize(
    ("given", "changes", "words"),
    [
        ({"slices": [6]}, {}, "slice 6 is none of the rows 0 to 5"),
        ({"centre": 50}, {}, "the centre 50 is none of the columns 0 to 47"),
        ({"turn": {"angles": [0.0, 1.0]}}, {"expected": 6, "readings": {}}, "2 angles for 6 projections"),
        ({}, {"readings": {"phi": "deg"}}, "no reading is called 'rotation_angle'"),
        ({"channel": "other"}, {}, "other"),
    ],
)
def test_what_cannot_be_reconstructed_is_refused(given: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        begun(given=start(**changes), **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"slices": [1, 2]}, "there is room for 1: set `most`"),
        ({"slices": [-1]}, "rows count from 0"),
        ({"keep": False, "volume": True}, "need `keep: true`"),
        ({"keep": False}, "need `keep: true`"),
        ({"half_acquisition": True}, "half_acquisition needs `centre`"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        tomogram.Config(**given)


@pytest.mark.slow
def test_memory_holds_the_slices_and_not_the_scan() -> None:
    """64 MB of projections; what is kept are six rows of each."""
    shape, angles = (512, 64), np.arange(0, 180, 0.36)
    image = np.full(shape, 20_000, "u2")
    begin = start(shape=shape)
    tracemalloc.start()
    try:
        found = begun(given=begin, centre=31.0, slices=(7,), picture_s=0.2)
        found.take(frame(0, np.full(shape, 90, "u2"), 2, 0.0))
        found.take(frame(1, np.full(shape, 40_000, "u2"), 1, 0.0))
        base = tracemalloc.get_traced_memory()[0]
        for number, angle in enumerate(angles, 2):
            found.take(frame(number, image, 0, angle))
        grown = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()
    assert image.nbytes * len(angles) > 30e6 and grown < 6e6
    found.finish(len(angles) + 2)


@pytest.mark.slow
@pytest.mark.shared
def test_savus_projections_have_their_axis_where_an_offline_search_finds_it(shared: Path) -> None:
    """Diamond's 24737: a sample that is wider than the detector, 91 projections; angles.txt has 20 too many."""
    folder = shared / "tomo" / "savu_24737_tiff"
    angles = np.loadtxt(folder / "angles.txt")[10:101]
    images = [fabio.open(folder / "tiffs" / f"raw_{number:05d}.tiff").data for number in range(91)]
    flat, dark = (fabio.open(folder / f"{name}_00001.tiff").data for name in ("flat", "dark"))
    begin = start(shape=(135, 160), readings={"image_key": "", "rotation_angle": "deg"})
    found = begun(given=begin, slices=(67,))
    parts = [(np.round(dark).astype("u2"), 2), (np.round(flat).astype("u2"), 1), *((image, 0) for image in images)]
    for number, (image, key) in enumerate(parts):
        found.take(frame(number, image, key, angles[max(0, number - 2)]))
    found.finish(93)
    made = found.fields(NAME)
    assert float(made["centre"]) == pytest.approx(85.85, abs=0.1) and float(made["centre_uncertainty"]) < 0.1
    assert float(made["centre_searched"]) == pytest.approx(85.85, abs=0.1)
    values = made["sinogram_1"][2:].astype(float)
    inside = np.isfinite(made["slice_1"])
    wanted = gridding.fbp(values, angles, centre=float(made["centre"]), weights=weights_of(angles))
    assert error(made["slice_1"], wanted, inside) < 1e-3


@pytest.mark.slow
@pytest.mark.shared
def test_the_tooth_has_its_axis_by_centres_of_mass_and_it_is_said_that_there_is_no_pair(shared: Path) -> None:
    with h5py.File(shared / "tomo" / "tomopy_tooth.h5") as file:
        parts = [
            (file[f"exchange/{name}"][()], key) for name, key in (("data_dark", 2), ("data_white", 1), ("data", 0))
        ]
        theta = file["exchange/theta"][()]
    begin = start(shape=(2, 640), dtype=np.dtype("f4"))
    found, told, index = begun(told := [], begin, slices=(0,), vertical=False), told, 0
    for stack, key in parts:
        for number, image in enumerate(stack):
            found.take(frame(index, image, key, theta[number] if key == 0 else 0.0))
            index += 1
    found.finish(index)
    made = found.fields(NAME)
    assert float(made["centre"]) == pytest.approx(295.58, abs=0.1) and float(made["centre_uncertainty"]) < 1
    assert "by centres of mass: no pair half a turn apart" in words(found) and not told
    wanted = gridding.fbp(made["sinogram_1"][20:], theta, centre=float(made["centre"]), weights=weights_of(theta))
    assert error(made["slice_1"], wanted, np.isfinite(made["slice_1"])) < 1e-3


@pytest.mark.parametrize("centre", [19.6, 23.5, 27.2])
def test_the_search_finds_the_axis_from_far_off_and_by_golden_angles(centre: float) -> None:
    golden = np.mod(np.arange(55) * 111.246117975, 180)
    for angles in (ANGLES, golden):
        found, contrast = search(lines(angles, centre)[:, 2], angles, 23.5)
        assert found == pytest.approx(centre, abs=0.1) and contrast > 0.2


def test_the_search_says_nothing_of_less_than_half_a_turn() -> None:
    assert search(lines(ANGLES[:50])[:, 2], ANGLES[:50], 23.0) == (pytest.approx(np.nan, nan_ok=True), 0.0)
