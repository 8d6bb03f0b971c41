"""`topotomo`: phantoms through the forward model of the white paper, frame by frame, and back to voxels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from grain_scans import FRAME, OMEGAS, SCALE, SIZE, TILTS, VOXELS, error, gathered, grains, options, scanned
from tilted import frame, start
from turned_grains import AL_THETA_DEG, layered, moments

from processors import topotomo
from processors.moments.positions import positions_of
from processors.topotomography.gathered import Images, Recipe
from processors.topotomography.projecting import Plan
from stream import Context, Frame
from stream.errors import ConfigError
from stream.testing import GathererConformance, examples
from stream.testing.gathered import Gathered


class TestTopotomo(GathererConformance):
    """Positions are multiples of 1/2 and counts are whole: all is exact."""

    def make(self) -> Any:
        return topotomo.create(
            topotomo.Config(
                motors=({"motor": "mu", "first": 0, "step": 0.5, "points": 2},),
                omega={"motor": "om", "first": 0, "step": 45, "points": 4, "unit": "deg"},
                geometry={"theta_deg": 10, "magnification": 2},
                volume={"steps": (5, 6, 7), "size_um": (20, 20, 20)},
                iterations=3,
                picture_s=0,
            ),
            Context(trouble=lambda text: None),
        )

    def frame(self, index: int) -> Frame:
        return examples.frame(index, readings={"mu": 0.5 * (index % 2), "om": 45.0 * (index // 2)})


def test_a_layered_grain_comes_back_out_of_its_frames() -> None:
    found = gathered(scanned())
    volume, truth = found.fields("topotomo_volume"), grains().truth
    inside = np.isfinite(truth[0])
    assert error(volume, truth, "mu", 0) < 0.011 and error(volume, truth, "gamma", 1) < 0.011
    live = gathered(scanned(), method="moments").fields("topotomo_volume")
    for place, name in enumerate(("mu", "gamma")):
        assert error(volume, truth, name, place) < 0.6 * error(live, truth, name, place)
    assert volume["density"][inside].mean() == pytest.approx(27, rel=0.1)  # points of a voxel
    outside = ~inside & ~np.isnan(volume["mu"])
    assert outside.sum() < 0.35 * inside.sum()
    assert volume["completeness"][inside].min() > 0.9
    assert found.covered["topotomo_volume"] == set(range(len(scanned())))
    assert volume["used"].tolist() == [1] * len(OMEGAS) and volume["omega_range"] == 180
    assert b"sirt, 10 iterations of 10 subsets; 15 of 15 projections over 180 degrees" in volume["summary"].item()


def test_the_frames_may_come_in_any_order_and_the_slices_are_those_of_the_volume() -> None:
    straight = gathered(scanned())
    order = np.random.default_rng(1).permutation(len(scanned()))
    mixed = gathered([scanned()[n] for n in order])
    for product in straight.products:
        for name, values in straight.fields(product.name).items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(mixed.fields(product.name)[name], values, rtol=1e-5, err_msg=name)
    volume = straight.fields("topotomo_volume")
    for axis, name in enumerate("xyz"):
        for field in ("density", "mu", "gamma", "completeness"):
            shown = straight.fields(f"topotomo_slice_{name}")[field]
            np.testing.assert_array_equal(shown, volume[field].take(VOXELS // 2, axis))


def test_while_the_sample_turns_the_complete_projections_are_seen() -> None:
    config = topotomo.Config(**options())
    found = Gathered(topotomo.create(config), [], start("u2", FRAME))
    seen = []
    topotomo.BUSY, busy = 0, topotomo.BUSY
    try:
        for each in scanned()[:65]:
            given = [update for update in found.take(each) if update.product == "topotomo_slice_y"]
            seen += [(each.index, sorted(update.covers)) for update in given]
    finally:
        topotomo.BUSY = busy
    assert seen == [(19, list(range(20))), (39, list(range(20, 40))), (59, list(range(40, 60)))]
    assert np.isfinite(found.fields("topotomo_slice_y")["mu"]).any()
    assert not found.fields("topotomo_volume")


def test_a_wrong_bragg_angle_or_a_wrong_centre_is_seen_in_the_error() -> None:
    """Against the forward model alone: twice theta, a pixel beside the axis."""
    wanted = error(gathered(scanned()).fields("topotomo_volume"), grains().truth, "mu", 0)
    for geometry in ({"theta_deg": 2 * AL_THETA_DEG}, {"center": (14, 13)}, {"sense": -1}, {"transposed": True}):
        given = {"theta_deg": AL_THETA_DEG, "magnification": SCALE, **geometry}
        volume = gathered(scanned(), geometry=given, least_completeness=0, least_density=0)
        wrong = volume.fields("topotomo_volume")["mu"]
        inside = np.isfinite(grains().truth[0])
        assert np.nanmean(np.abs(wrong - 0.032 * grains().truth[0])[inside]) > 1.3 * wanted, geometry


def test_recon3d_has_the_centre_of_mass_of_the_nearest_pixels() -> None:
    """The original's loop, voxel by voxel, over the five-dimensional array; its bugs corrected, and with them."""
    data = b"".join(each.payloads["ch"].data for each in scanned())
    images = np.frombuffer(data, np.uint16).reshape(-1, *FRAME).astype(float)
    big = images.reshape(len(OMEGAS), *TILTS, *FRAME).transpose(1, 2, 0, 3, 4)
    found = gathered(scanned(), method="recon3d", least_completeness=0, least_density=0, positions="steps")
    volume = found.fields("topotomo_volume")
    compat = gathered(scanned(), method="recon3d", bug_compat=True, positions="steps").fields("topotomo_volume")
    theta = np.radians(AL_THETA_DEG)
    mus = 0.032 * np.arange(TILTS[0])
    place = SIZE / VOXELS * (np.arange(VOXELS) - (VOXELS - 1) / 2)
    tilts = np.indices(TILTS).reshape(2, -1)
    mean = np.full((2, VOXELS, VOXELS, VOXELS), np.nan)
    old = np.zeros((3, VOXELS, VOXELS, VOXELS))
    for voxel in np.ndindex(VOXELS, VOXELS, VOXELS):
        x, y, z = place[list(voxel)]
        for which in (0, 1):
            mu = -theta if which == 0 else np.radians(mus[0] - (mus[-1] - mus[0]) / 2) - theta
            total = np.zeros(TILTS)
            for number, omega in enumerate(np.radians(OMEGAS)):
                turned = x * np.cos(omega) + z * np.sin(omega)
                row = np.rint(SCALE * -(np.sin(mu) * turned + np.cos(mu) * y) + FRAME[0] / 2)
                column = np.rint(SCALE * (x * np.sin(omega) - z * np.cos(omega)) + FRAME[1] / 2)
                row, column = int(row), int(column)
                if which:
                    row, column = min(max(row, 0), FRAME[0] - 1), min(max(column, 0), FRAME[1] - 1)
                if 0 <= row < FRAME[0] and 0 <= column < FRAME[1]:
                    total += big[:, :, number, row, column]
            if total.sum() == 0:
                continue
            index = (tilts * total.ravel()).sum(1) / total.sum()
            if which:
                step = 0.032 * (np.array(TILTS) - 1) / TILTS
                old[(slice(None), *voxel)] = [*(index * step), total.sum() / 3]
            else:
                mean[(slice(None), *voxel)] = 0.032 * index
    old[0, 0, 0, 0] = old[0, 1:5, 1:5].mean()
    for place_, name in enumerate(("mu", "gamma")):
        np.testing.assert_allclose(volume[name], mean[place_], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(compat[name], old[place_], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(compat["density"], old[2], rtol=1e-6)


def test_voxels_that_are_never_seen_are_nan_and_pixels_that_are_bad_are_left_out() -> None:
    """A volume larger than the frame; a stripe of dead pixels through it."""
    mask = np.zeros(FRAME, np.uint32)
    mask[:, 17] = 1
    config = topotomo.Config(**options(volume={"steps": (24, 32, 24), "size_um": (24, 32, 24)}, least_density=0))
    scan = start("u2", FRAME, pixel_mask={"ch": mask})
    found = Gathered(topotomo.create(config, Context(trouble=lambda text: None)), [], scan)
    for each in scanned():
        found.take(each)
    found.finish(len(scanned()))
    volume = found.fields("topotomo_volume")
    assert np.isnan(volume["density"][1:-1, 0]).all() and np.isnan(volume["mu"][:, :2]).all()
    inner = {name: volume[name][4:20, 8:24, 4:20] for name in ("mu", "gamma")}
    inside = np.isfinite(grains().truth[0])
    known = inside & np.isfinite(inner["mu"])
    assert known.sum() > 0.99 * inside.sum()
    for place, name in enumerate(("mu", "gamma")):
        assert np.abs(inner[name] - 0.032 * grains().truth[place])[known].mean() < 0.013


def test_a_projection_that_lacks_tilts_is_left_out_and_told() -> None:
    told: list[str] = []
    kept = [each for each in scanned() if not (100 <= each.index < 103)]
    found = gathered(kept, Context(trouble=told.append))
    assert found.fields("topotomo_volume")["used"].tolist() == [1] * 5 + [0] + [1] * 9
    assert told[0].startswith("topotomo: at omega = 60 3 of 20 positions have no frame: mu = 0, gamma = 0; mu = 0")
    assert told[1] == ("topotomo: 1 of 15 projections have too few tilts and are not in the volume: omega = 60")
    whole = gathered(scanned()).fields("topotomo_volume")["used"]
    assert whole.all()
    given = gathered(kept, least_tilts=0.8).fields("topotomo_volume")
    assert given["used"].all()


def test_a_scan_that_ends_after_half_of_its_turn_gives_no_volume_unless_forced() -> None:
    """It was reconstructed, the missing cone not said."""
    told: list[str] = []
    found = gathered(scanned()[:150], Context(trouble=told.append)).fields("topotomo_volume")
    assert np.isnan(found["density"]).all() and np.isnan(found["mu"]).all() and not found["used"].any()
    assert found["omega_range"] == 84
    assert "the projections that came cover 84 degrees only: no volume is made of them" in told[-1]
    forced = gathered(scanned()[:150], force=True).fields("topotomo_volume")
    assert np.isfinite(forced["mu"]).any() and b"less than 180 degrees" in forced["summary"].item()
    none = gathered(scanned()[:5]).fields("topotomo_volume")
    assert np.isnan(none["density"]).all() and none["omega_range"] == 0


def test_a_region_of_larger_frames_is_where_the_user_says() -> None:
    """`center` counts in the whole frame; without it the middle is the pixel of the region's center."""
    wide = []
    for each in scanned():
        image = np.full((40, 50), 9, np.uint16)
        image[7 : 7 + FRAME[0], 11 : 11 + FRAME[1]] = np.frombuffer(each.payloads["ch"].data, np.uint16).reshape(FRAME)
        wide.append(frame(each.index, image, **each.readings))
    roi = {"center": (11 + FRAME[1] // 2, 7 + FRAME[0] // 2), "size": FRAME[::-1]}
    wanted = gathered(scanned()).fields("topotomo_volume")
    geometry = {"theta_deg": AL_THETA_DEG, "magnification": SCALE, "center": roi["center"]}
    for found in (gathered(wide, roi=roi), gathered(wide, roi=roi, geometry=geometry)):
        for name in ("density", "mu", "gamma"):
            np.testing.assert_array_equal(found.fields("topotomo_volume")[name], wanted[name])


def test_a_frame_that_comes_again_replaces_the_earlier_one() -> None:
    bright = replace(frame(0, np.full(FRAME, 900, np.uint16)), readings=scanned()[107].readings)
    later = [replace(each, index=each.index + 1) for each in scanned()]
    found, wanted = gathered([bright, *later]), gathered(later)
    for name, values in wanted.fields("topotomo_volume").items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found.fields("topotomo_volume")[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_cleaning_takes_away_a_slope_what_is_no_sample_and_a_beam_that_varies() -> None:
    """A sloping background under every frame, a bright speck, and half the beam at some omegas."""
    row, column = np.mgrid[: FRAME[0], : FRAME[1]]
    slope = (3 + 0.5 * row + 0.25 * column)[None]
    dirty = []
    for each in scanned():
        image = np.frombuffer(each.payloads["ch"].data, np.uint16).reshape(FRAME) * 16
        image = np.rint(image * (0.5 if each.readings["omega"] in (24.0, 96.0) else 1.0) + slope[0])
        image[1:3, 1:3] += 2000
        dirty.append(frame(each.index, image.astype(np.uint16), **each.readings))
    plain = gathered(dirty).fields("topotomo_volume")
    options_ = {"border": 1, "level": 60.0, "least_area": 10, "equalise": True}
    found = gathered(dirty, cleaning=options_).fields("topotomo_volume")
    inside = np.isfinite(grains().truth[0])
    assert plain["completeness"][~inside].mean() > 0.9 > 1.5 * found["completeness"][~inside].mean()
    assert error(found, grains().truth, "mu", 0) < 0.011 and error(found, grains().truth, "gamma", 1) < 0.011
    assert found["density"][inside].mean() == pytest.approx(27 * 16 * 14 / 15, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cleaning": {"border": 12}}, "are all of a frame"),
        ({"omega": {"motor": "omega", "first": 0, "step": 6, "points": 15, "unit": "deg"}}, "covers 90 degrees.*force"),
        ({"omega": {"motor": "omega", "first": 0, "step": 60, "points": 3, "unit": "mm"}}, "must be an angle"),
        ({"memory_gb": 1e-4}, "memory_gb higher"),
    ],
)
def test_a_scan_that_gives_no_volume_is_refused_with_what_to_do(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Gathered(topotomo.create(topotomo.Config(**options(**changes))), [], start("u2", FRAME))


def test_a_missing_cone_is_reconstructed_only_by_force_and_said_in_the_file() -> None:
    omega = {"motor": "omega", "first": 0, "step": 12, "points": 8, "unit": "deg"}
    volume = gathered(scanned()[:160], omega=omega, force=True).fields("topotomo_volume")
    assert volume["omega_range"] == 96
    assert b"less than 180 degrees: a cone of directions is not seen" in volume["summary"].item()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"omega": None}, "needs omega"),
        ({"bug_compat": True}, "belongs to `method: recon3d`"),
        ({"bug_compat": True, "method": "recon3d"}, "positions: steps"),
        ({"volume": {"steps": (0, 1, 1), "size_um": (1, 1, 1)}}, "1 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        topotomo.Config(**options(**changes))


@pytest.mark.slow
def test_sirt_is_several_times_as_exact_as_back_projection() -> None:
    """40 voxels across, tilts at random in 31 steps: what docs/topotomo.md says."""
    tilts, voxels, size, side = (31, 31), 40, 20.0, 60
    grain, omegas = layered(voxels, size, tilts), 3.0 * np.arange(60)
    scale = side / size / 1.15
    config = topotomo.Config(
        motors=[{"motor": name, "first": 0, "step": 0.032, "points": 31} for name in ("mu", "gamma")],
        omega={"motor": "omega", "first": 0, "step": 3, "points": 60, "unit": "deg"},
        geometry={"theta_deg": AL_THETA_DEG, "magnification": scale},
        volume={"steps": (voxels,) * 3, "size_um": (size,) * 3},
    )
    positions = positions_of(config, start(), {})
    images = Images.empty(("mu", "gamma"), positions, (side, side))
    for number, found in enumerate(moments(grain, omegas, AL_THETA_DEG, scale, (side, side))):
        with np.errstate(invalid="ignore"):
            given = {"sum": found[0], "frames": np.int32(961)}
            given |= {f"com_{name}": 0.032 * found[1 + k] / found[0] for k, name in enumerate(("mu", "gamma"))}
        images.take(number, given)
    geometry = config.geometry.made()
    plan = Plan.of(geometry, config.volume.made(), omegas, (side, side), (side / 2, side / 2))
    recipe = Recipe(config, plan, 961)
    used = recipe.used(images, complete=True)
    live, final = recipe.live(images, used), recipe.final(images, used)
    for place, name in enumerate(("mu", "gamma")):
        assert error(final, grain.truth, name, place) < 0.052
        assert error(final, grain.truth, name, place) < 0.35 * error(live, grain.truth, name, place)
