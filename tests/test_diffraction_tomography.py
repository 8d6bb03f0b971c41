"""Sinograms and slices of a turning sample: against what is known of it, in whatever order its frames come."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import pytest
from phantoms import phantom
from pydantic import ValidationError
from turning import ANGLES, BINS, CENTRE, SIZE, Rows, frame, frames, gathered, options, sample, start

from processors import diffraction_tomography as tomography
from processors.tomography.backprojection import fbp, seen
from stream import Context
from stream.errors import ConfigError
from stream.events import EMPTY
from stream.testing import GathererConformance
from stream.testing.gathered import Gathered

INSIDE = seen(SIZE, SIZE, CENTRE)


class Conformance(GathererConformance):
    changes: Mapping[str, Any] = EMPTY

    def make(self) -> Any:
        small = {"slow": {"motor": "rot", "first": 0, "step": 45, "points": 4}, "fast": 2, "centre": 0.5}
        return tomography.create(tomography.Config(**{**options(), **small, **self.changes}), Context(trouble=print))

    def earlier(self) -> Any:
        return [Rows()]

    def scan(self, uid: str) -> Any:
        return start(uid, expected=8)

    def frame(self, index: int) -> Any:
        pattern = np.arange(BINS) * (index % 3) + 5.0 + index
        return frame(index, pattern, "01-first", rot=45.0 * (index // 2), diode=0.5 + 0.01 * index)


class TestDiffractionTomography(Conformance):
    pass


class TestWithAllOptions(Conformance):
    changes: Mapping[str, Any] = MappingProxyType(
        {
            "centre": None,
            "angles": "readings",
            "centre_from": "diode",
            "outliers": 5,
            "air": {"points": 1, "by": "divide"},
            "volume": True,
        }
    )


class TestWithTheRotationAsFastDirection(Conformance):
    changes: Mapping[str, Any] = MappingProxyType(
        {
            "rotation": "fast",
            "fast": {"motor": "rot", "first": 0, "step": 45, "points": 4},
            "slow": 2,
            "frames_per_point": 1,
            "volume": True,
        }
    )


def wanted(share: np.ndarray, angles: np.ndarray = ANGLES, centre: float = CENTRE) -> np.ndarray:
    return fbp(sample(angles, centre).astype(float) @ share, angles, centre=centre)


def test_each_region_has_its_sinogram_and_its_slice() -> None:
    points = sample()
    found = gathered(frames(points), centre=CENTRE)
    made = found.fields("tomogram_slices")
    for name, bins in (("alpha_sum", slice(0, 4)), ("beta_sum", slice(4, 8)), ("total", slice(0, 8))):
        np.testing.assert_allclose(made[f"{name}_sinogram"], points[..., bins].sum(axis=2), rtol=1e-6)
        slice_ = fbp(points[..., bins].astype(float).sum(axis=2), ANGLES, centre=CENTRE)
        np.testing.assert_allclose(made[name][INSIDE], slice_[INSIDE], rtol=1e-5, atol=1e-5 * slice_.max())
        assert np.isnan(made[name][~INSIDE]).all() and not made[f"{name}_marks"].any()
    truth = 800 * phantom(SIZE)[INSIDE]
    assert np.corrcoef(made["alpha_sum"][INSIDE], truth)[0, 1] > 0.97
    assert np.nanmean(made["alpha_sum"][INSIDE]) == pytest.approx(truth.mean(), rel=0.01)
    assert np.abs(made["alpha_net"][INSIDE]).max() > 0 and "spare_1_sum" not in made
    np.testing.assert_array_equal(made["angle"], ANGLES)
    np.testing.assert_allclose(made["weight"], 3)
    assert float(made["covered"]) == pytest.approx(180) and float(made["centre"]) == CENTRE
    assert made["summary"].item().decode() == (
        "60 angles cover 180.0 of 180 degrees, largest gap 3; axis at column 18.300 (given)"
    )
    product = next(each for each in found.products if each.name == "tomogram_slices")
    assert [axis.name for axis in product.axes] == ["y", "x"] and product.signal == "total"
    assert found.covered["tomogram"] == found.covered["tomogram_slices"] == set(range(60 * SIZE))


def test_the_slice_is_there_after_every_projection_and_equal_to_a_full_reconstruction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tomography, "BUSY", 0)  # these frames come faster than any detector's
    config = tomography.Config(**options(centre=CENTRE))
    found = Gathered(tomography.create(config), [Rows()], start())
    points = sample()
    total = points.astype(float).sum(axis=2)
    for number, each in enumerate(frames(points[:20])):
        updates = found.take(each)
        whole, rest = divmod(number + 1, SIZE)
        assert any(update.product == "tomogram_slices" for update in updates) == (rest == 0)
        if rest == 0 and whole in (1, 2, 7, 20):
            made = found.fields("tomogram_slices")
            weights = np.full(whole, np.deg2rad(3))
            now = fbp(total[:whole], ANGLES[:whole], centre=CENTRE, weights=weights)
            assert np.abs(made["total"] - now)[INSIDE].max() <= 1e-6 * np.abs(now).max()
            assert (
                float(made["covered"]) == pytest.approx(3 * whole)
                and len(found.covered["tomogram_slices"]) == number + 1
            )
            assert made["summary"].item().decode().startswith(f"{whole} angles cover {3 * whole:.1f} of 180 degrees")


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True], ids=["rotation slow", "rotation fast"])
def test_the_centre_is_found_from_the_absorption_or_the_intensity(turned: bool) -> None:
    points = sample()
    diode = np.exp(-points[..., :4].sum(axis=2) / 20_000) * 1e5
    directions = {"rotation": "fast" if turned else "slow"}
    if turned:
        directions |= {"fast": options()["slow"], "slow": options()["fast"]}
    points *= 1 + 0.3 * np.cos(np.deg2rad(2 * ANGLES))[:, None, None] * (np.arange(SIZE) > 18)[None, :, None]
    order = np.random.default_rng(5).permutation(60 * SIZE)
    given = frames(points, turned=turned, diode=diode)
    found = gathered([given[number] for number in order], centre_from="diode", **directions)
    made = found.fields("tomogram_slices")
    assert float(made["centre"]) == pytest.approx(CENTRE, abs=0.02) and float(made["centre_uncertainty"]) < 0.05
    np.testing.assert_allclose(made["absorption_sinogram"], -np.log(diode / diode.max()), atol=1e-6)
    assert np.corrcoef(made["absorption"][INSIDE], phantom(SIZE)[INSIDE])[0, 1] > 0.97
    told: list[str] = []
    textured = gathered(given, told=told, **directions).fields("tomogram_slices")
    assert float(textured["centre_uncertainty"]) > 1
    assert len(told) == 1 and "the centre of rotation is unsure" in told[0] and "`centre_from`" in told[0]


def test_angles_come_from_readings_that_jitter_and_go_round() -> None:
    jitter = np.random.default_rng(3).uniform(-1, 1, 60)
    angles = 270 + np.cumsum(np.full(60, 3.0)) + jitter
    points = sample(angles)
    noise = np.random.default_rng(4).normal(0, 0.01, (60, SIZE))
    given = frames(points, rot=np.mod(angles[:, None] + noise, 360))
    slow = {"motor": "rot", "points": 60}
    found = gathered(given, slow=slow, angles="readings", centre=CENTRE).fields("tomogram_slices")
    turned = np.mod(found["angle"] - angles + 180, 360) - 180
    assert np.abs(turned).max() < 0.01 and found["weight"].sum() == pytest.approx(180)
    assert np.ptp(found["weight"]) > 1
    exact = fbp(points.astype(float).sum(axis=2), angles, centre=CENTRE)
    np.testing.assert_allclose(found["total"][INSIDE], exact[INSIDE], atol=3e-3 * exact.max())


def test_a_list_of_angles_in_golden_order_shows_the_sample_early() -> None:
    golden = np.mod(np.arange(60) * 111.24611797498108, 180)
    slow = {"motor": "rot", "points": 60}
    alike, covered = {}, {}
    for name, angles in (("golden", golden), ("sequence", ANGLES)):
        given = frames(sample(angles)[:30])
        found = gathered(given, slow=slow, angles=tuple(angles), centre=CENTRE).fields("tomogram_slices")
        alike[name] = np.corrcoef(found["alpha_sum"][INSIDE], phantom(SIZE)[INSIDE])[0, 1]
        covered[name] = float(found["covered"]), float(found["largest_gap"])
    assert alike["golden"] > 0.95 > 0.8 > alike["sequence"]
    assert covered["golden"][0] == pytest.approx(180) and covered["golden"][1] < 11
    assert covered["sequence"] == (pytest.approx(90), pytest.approx(93))


def test_what_is_missing_is_interpolated_or_left_out_and_marked() -> None:
    points, told = sample(), list[str]()
    given = [
        each
        for each in frames(points, ic=np.full((60, SIZE), 2.0))
        if each.index not in (5 * SIZE + 10, 5 * SIZE + 11) and not 20 * SIZE + 5 <= each.index < 20 * SIZE + 15
    ]
    given[30 * SIZE] = frame(given[30 * SIZE].index, points[30, 12], ic=0.0)
    row, column = divmod(given[30 * SIZE].index, SIZE)
    found = gathered(given, told=told, normalize_by="ic", centre=CENTRE).fields("tomogram_slices")
    marks = np.zeros((60, SIZE), np.uint8)
    marks[5, 10:12] = marks[row, column] = 1
    marks[20] = 3
    np.testing.assert_array_equal(found["total_marks"], marks)
    half = points.sum(axis=2) / 2
    assert np.isnan(found["total_sinogram"][20]).all()
    np.testing.assert_allclose(
        found["total_sinogram"][5, 10:12], np.interp([10, 11], [9, 12], half[5, [9, 12]]), rtol=1e-6
    )
    assert found["weight"][[19, 20, 21]] == pytest.approx([4.5, 0, 4.5])
    words = found["summary"].item().decode()
    assert "59 angles" in words and "largest gap 6" in words and "1 projections left out" in words
    assert "points interpolated" in words
    assert any("1 projections lack too many points, and are in no slice: 20" in each for each in told)
    assert any("1 frames have no usable reading 'ic'" in each for each in told)


def test_a_large_grain_is_replaced_and_marked_only_if_wanted() -> None:
    points = sample() + 20
    points[17, 15] *= 8
    plain = gathered(frames(points), centre=CENTRE).fields("tomogram_slices")
    clean = gathered(frames(points), centre=CENTRE, outliers=10).fields("tomogram_slices")
    assert not plain["total_marks"].any() and clean["total_marks"][17, 15] == 2
    truth = gathered(frames(sample() + 20), centre=CENTRE).fields("tomogram_slices")["total"]
    assert np.nanmax(np.abs(plain["total"] - truth)) > 10 * np.nanmax(np.abs(clean["total"] - truth))
    assert "outliers replaced" in clean["summary"].item().decode()


@pytest.mark.parametrize("by", ["subtract", "divide"])
def test_air_beside_the_sample_is_taken_away_or_divided_by(by: str) -> None:
    beam = np.random.default_rng(6).uniform(0.8, 1.2, 60)[:, None, None]
    points = beam * (sample() + 20) if by == "divide" else sample() + 30 * beam
    found = gathered(frames(points), centre=CENTRE, air={"points": 2, "by": by}).fields("tomogram_slices")
    truth = sample().sum(axis=2)
    level = truth / 160 + 1 if by == "divide" else truth
    np.testing.assert_allclose(found["total_sinogram"], level, atol=1e-5 * level.max())


def test_a_full_turn_with_the_axis_near_an_edge_is_one_sample() -> None:
    angles, columns, centre = np.arange(0, 360, 3.0), 26, 5.4
    points = sample(angles, centre, columns)
    found = gathered(
        frames(points),
        angles=tuple(angles),
        slow={"points": 120, "motor": "rot"},
        fast={"points": columns},
        half_acquisition=True,
        centre=centre,
    ).fields("tomogram_slices")
    size = len(found["total"])
    assert size == 41 and found["summary"].item().decode().startswith("120 angles cover 360.0 of 360 degrees")
    whole = fbp(sample(angles, 20.0, 41).astype(float)[..., :4].sum(axis=2), angles)
    inside = seen(41, 41, 19.0)
    assert np.corrcoef(found["alpha_sum"][inside], whole[inside])[0, 1] > 0.98
    assert found["alpha_sum"][inside].mean() == pytest.approx(whole[inside].mean(), rel=0.01)


def test_the_volume_has_a_slice_for_every_bin() -> None:
    points = sample()
    points[7, 20:30] = np.nan
    points[:, :, 3] = np.nan
    given = [each for each in frames(points) if not 7 * SIZE + 20 <= each.index < 7 * SIZE + 30]
    found = gathered(given, centre=CENTRE, volume=True, air={"points": 2})
    volume = found.fields("tomogram_volume")["I"]
    assert volume.shape == (SIZE, SIZE, BINS) and found.covered["tomogram_volume"] == found.covered["tomogram"]
    weights = np.deg2rad(np.where(np.isin(np.arange(60), (6, 8)), 4.5, 3.0)) * (np.arange(60) != 7)
    for number in (0, 1, 2, 6):
        exact = fbp(np.nan_to_num(points[..., number].astype(float)), ANGLES, centre=CENTRE, weights=weights)
        np.testing.assert_allclose(volume[INSIDE, number], exact[INSIDE], atol=2e-6 * exact.max())
    assert np.isnan(volume[..., 3]).all() and np.isnan(volume[~INSIDE]).all()
    assert not found.fields("tomogram_volume")["replaced"].any()


def test_projections_that_do_not_end_beside_the_sample_are_told() -> None:
    for points, cut in ((sample()[:, 12:30], True), (sample(), False), (sample() + 60, False)):
        found = gathered(frames(points), fast=points.shape[1], centre=6.3).fields("tomogram_slices")
        assert ("60 projections do not end in air" in found["summary"].item().decode()) == cut


def test_projections_that_nobody_has_measured_yet_are_not_called_left_out() -> None:
    golden = [0, 37, 14, 51, 28]
    rows = np.concatenate([np.arange(SIZE) + row * SIZE for row in golden])
    given, told = frames(sample()), list[str]()
    found = gathered([given[number] for number in rows], told=told, centre=CENTRE).fields("tomogram_slices")
    assert (
        found["summary"].item().decode().startswith("5 angles") and "left out" not in found["summary"].item().decode()
    )
    assert not told and np.flatnonzero(np.nan_to_num(found["weight"])).tolist() == sorted(golden)


def test_surplus_projections_are_in_the_slices_and_surplus_translations_are_told() -> None:
    angles, told = np.arange(0, 198, 3.0), list[str]()
    found = gathered(frames(sample(angles)), centre=CENTRE).fields("tomogram_slices")
    assert len(found["angle"]) == 66 and float(found["covered"]) == pytest.approx(180)
    fast = {"rotation": "fast", "fast": options()["slow"], "slow": {"motor": "y", "points": SIZE - 2}, "centre": CENTRE}
    made = gathered(frames(sample(), turned=True), told=told, **fast).fields("tomogram_slices")
    assert made["total_sinogram"].shape == (60, SIZE - 2)
    assert told == ["tomogram: 2 lines lie beyond the last translation: they are in no slice"]


def test_regions_that_change_have_all_their_slices_made_anew() -> None:
    old = tomography.Config(**options(centre=CENTRE))
    new = old.model_copy(update={"rois": tomography.Config(**options(rois={"alpha": {"range": (3.5, 7.5)}})).rois})
    gatherer = tomography.create(old)
    found = Gathered(gatherer, [Rows()], start())
    given = frames(sample())
    for each in given[: 30 * SIZE]:
        found.take(each)
    found._work.hand(new)
    for each in given[30 * SIZE :]:
        found.take(each)
    found.finish(len(given))
    made = found.fields("tomogram_slices")
    beta = gathered(given, centre=CENTRE).fields("tomogram_slices")["beta_sum"]
    np.testing.assert_array_equal(made["alpha_sum"], beta)
    assert np.isnan(made["beta_sum"]).all()


def test_slices_are_made_no_oftener_than_wanted() -> None:
    config = tomography.Config(**options(centre=CENTRE, picture_s=3600))
    found = Gathered(tomography.create(config), [Rows()], start())
    made = [each for each in frames(sample()[:10]) for update in found.take(each) if "slices" in update.product]
    assert len(made) == 1 and not any(update.product == "tomogram_slices" for update in found.tick())
    config = tomography.Config(**options(centre=CENTRE, picture_s=0.02))
    found = Gathered(tomography.create(config), [Rows()], start())
    for each in frames(sample()[:3]):
        found.take(each)
    deadline = time.monotonic() + 20
    while float(found.fields("tomogram_slices")["covered"]) < 9 and time.monotonic() < deadline:
        found.tick()
    assert float(found.fields("tomogram_slices")["covered"]) == pytest.approx(9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slow": {"points": 60}}, "the angles are not known: give slow a first and a step"),
        ({"angles": (0.0, 1.0)}, "2 angles for 60 projections"),
        ({"angles": "readings", "slow": {"points": 60}}, "its name is needed"),
        ({"slow": {"first": 0, "step": 0.1, "points": 60, "unit": "rad"}}, "angles are in degrees, not 'rad'"),
        ({"centre": 40}, "column 40 is none of 0 to 39"),
        ({"rotation": "fast", "fast": {"first": 0, "step": 3, "points": 60}, "slow": {}}, "how many translations"),
        ({"centre_from": "diode"}, "no reading is called 'diode' .there are: rot"),
        ({"angles": "readings", "slow": {"points": 60, "motor": "phi"}}, "no reading is called 'phi'"),
    ],
)
def test_what_cannot_be_reconstructed_is_refused_with_what_to_do(changes: dict[str, Any], words: str) -> None:
    config = tomography.Config(**options(**changes))
    with pytest.raises(ConfigError, match=words):
        Gathered(tomography.create(config), [Rows()], start(readings={"rot": "deg"}))
    with pytest.raises(ValidationError, match="half_acquisition needs `centre`"):
        tomography.Config(**options(half_acquisition=True))


@pytest.mark.shared
def test_the_counts_of_a_savu_scan_are_all_in_its_sinograms(shared: Path) -> None:
    with h5py.File(shared / "xrdct" / "savu_i18_xrd_test.nxs") as file:
        images = file["entry1/xrd_entry/instrument/detector/data"][()].reshape(2, 4, 100, 1000)
    points = images.sum(axis=2, dtype=float)
    config = tomography.Config(slow={"first": 0, "step": 90, "points": 2}, fast=4, centre=1.5, volume=True)
    found = Gathered(tomography.create(config), [Rows(1000)], start(bins=1000))
    for each in frames(points):
        found.take(each)
    found.finish(8)
    made = found.fields("tomogram_slices")
    assert made["total_sinogram"].sum() == pytest.approx(807241101, rel=1e-6)
    assert found.fields("tomogram_volume")["I"].shape == (4, 4, 1000)
    assert "2 projections do not end in air" in made["summary"].item().decode()


@pytest.mark.shared
def test_a_ti64_slice_is_put_on_its_axis_by_its_absorption(shared: Path) -> None:
    """60 projections of 48 translations, 72 azimuths each, in shuffled order, placed by the motors."""
    with h5py.File(shared / "xrdct" / "odftomo_Ti64_smallslice_binned_100.h5") as file:
        data = np.array([file[f"projections/{n}/data"][:, 0] for n in range(60)])
        diode = np.array([file[f"projections/{n}/diode"][:, 0] for n in range(60)])
    angles = np.arange(-88.5, 89, 3)
    config = tomography.Config(
        slow={"motor": "rot", "first": -88.5, "last": 88.5, "step": 3},
        fast={"motor": "y", "first": -23.5, "step": 1, "points": 48},
        place_by="readings",
        centre_from="diode",
        rois={"part": {"range": (10, 30)}},
        volume=True,
    )
    given = frames(data, rot=angles[:, None], y=np.arange(48) - 23.5, diode=diode)
    told: list[str] = []
    gatherer = tomography.create(config, Context(trouble=told.append))
    found = Gathered(gatherer, [Rows(72)], start(bins=72))
    for number in np.random.default_rng(4).permutation(len(given)):
        found.take(given[number])
    found.finish(len(given))
    assert found.fields("tomogram")["I"].sum(dtype=float) == pytest.approx(207360, rel=1e-6) and not told
    made = found.fields("tomogram_slices")
    assert float(made["centre"]) == pytest.approx(23.500, abs=0.001) and float(made["centre_uncertainty"]) < 0.01
    np.testing.assert_allclose(made["angle"], angles)
    np.testing.assert_allclose(made["total_sinogram"], data.sum(axis=2), rtol=1e-5, atol=1e-5)
    inside = seen(48, 48, 23.5)
    absorbed = made["absorption"]
    assert np.nansum(absorbed) == pytest.approx(-np.log(diode).sum(axis=1).mean(), rel=0.01)
    solid = absorbed > 0.5 * np.nanmax(absorbed)  # the alloy is the same everywhere
    assert absorbed[solid].std() < 0.1 * absorbed[solid].mean() and 300 < solid.sum() < 800
    volume = found.fields("tomogram_volume")["I"]
    np.testing.assert_allclose(
        volume[inside].sum(axis=1, dtype=float), made["total"][inside], atol=1e-5 * np.nanmax(made["total"])
    )
