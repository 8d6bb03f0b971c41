"""`mosaicity` against plain NumPy: every pixel's moments over the motors, in whatever order the frames come."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tilted import CHI, FWHM, RZ, SHAPE, a_scan, assert_as_numpy, begun, by_numpy, frame, gathered, start

from processors import mosaicity
from stream import Context, Frame, FrameStatus
from stream.errors import ConfigError
from stream.products import shown
from stream.testing import GathererConformance, examples


class TestMosaicity(GathererConformance):
    """The positions are multiples of 1/2, so that all sums are exact."""

    def make(self) -> Any:
        motors = (
            {"motor": "mu", "first": 0, "step": 0.5, "points": 4},
            {"motor": "phi", "first": 3, "last": 4, "points": 2},
        )
        return mosaicity.create(mosaicity.Config(motors=motors))

    def frame(self, index: int) -> Frame:
        return examples.frame(index, readings={"mu": 0.5 * (index % 4), "phi": 3.0 + index // 4})


class TestMosaicityAtEachOmega(GathererConformance):
    exact = 1e-9

    def make(self) -> Any:
        motors = ({"motor": "mu", "first": 0, "step": 0.1, "points": 2},)
        omega = {"motor": "omega", "first": 0, "step": 45, "points": 4}
        return mosaicity.create(mosaicity.Config(motors=motors, omega=omega, background_lowest=1))

    def frame(self, index: int) -> Frame:
        return examples.frame(index, readings={"mu": 0.1 * (index % 2) + 0.003, "omega": 45.0 * (index // 2) + 0.1})


def test_the_moments_are_those_of_numpy_in_any_order() -> None:
    frames, signal, where = a_scan()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(frames))
        found = gathered(start(), [frames[n] for n in order], motors=(CHI, RZ))
        assert_as_numpy(found.fields("mosaicity"), signal, where)
        assert found.fields("mosaicity")["frame_index"].tolist() == np.arange(35).reshape(7, 5).tolist()
        assert found.covered["mosaicity"] == set(range(35))


@pytest.mark.parametrize("count", [1, 3])
def test_a_rocking_curve_and_three_motors_are_the_same_thing(count: int) -> None:
    dice = np.random.default_rng(5)
    steps = np.indices((4,) * count).reshape(count, -1)
    where = 1e3 + 0.25 * steps
    images = dice.poisson(20, (steps.shape[1], *SHAPE)).astype(np.uint16)
    names = ("a", "b", "c")[:count]
    motors = tuple({"motor": name, "first": 1e3, "step": 0.25, "points": 4} for name in names)
    frames = [frame(n, image, **dict(zip(names, where[:, n], strict=True))) for n, image in enumerate(images)]
    found = gathered(start(), frames, motors=motors).fields("mosaicity")
    assert_as_numpy(found, images.astype(float), where, names)


def test_each_omega_has_images_of_its_own_and_what_is_missing_is_told() -> None:
    told: list[str] = []
    frames, signal, where = a_scan()
    turned = [replace(each, readings={**each.readings, "om": 30.02}) for each in frames[:-2]]
    turned += [replace(each, index=each.index + 35, readings={**each.readings, "om": -0.02}) for each in frames]
    omega = {"motor": "om", "first": 0, "step": 30, "points": 3, "unit": "deg"}
    found = gathered(start(), turned, Context(trouble=told.append), motors=(CHI, RZ), omega=omega).fields("mosaicity")
    assert_as_numpy({name: values[0] for name, values in found.items()}, signal, where)
    assert_as_numpy({name: values[1] for name, values in found.items()}, signal[:-2], where[:, :-2])
    assert np.isnan(found["sum"][2]).all() and found["frames"].tolist() == [35, 33, -1]
    assert found["frame_index"][1, 6].tolist() == [30, 31, 32, -1, -1]
    assert told == [
        "mosaicity: at om = 30 2 of 35 positions have no frame: chi = -0.52, diffrz = 1.85; chi = -0.52, diffrz = 1.8",
        "mosaicity: at om = 60 35 of 35 positions have no frame: chi = -1, diffrz = 2; chi = -1, diffrz = 1.95; "
        "chi = -1, diffrz = 1.9; chi = -1, diffrz = 1.85; chi = -1, diffrz = 1.8 ...",
    ]


def test_of_two_frames_at_a_position_the_higher_number_counts_whichever_comes_first() -> None:
    """To the bit: the sums are made again without the frame that was replaced, and its largest signal goes too."""
    frames, signal, where = a_scan()
    bright = replace(frame(0, np.full(SHAPE, 60_000, np.uint16)), readings=frames[17].readings)
    shifted = [replace(each, index=each.index + 1) for each in frames]
    wanted = gathered(start(), shifted, motors=(CHI, RZ))
    for place in (0, 10, 25, 35):
        taken = [*shifted[:place], bright, *shifted[place:]]
        found = gathered(start(), taken, motors=(CHI, RZ))
        for name, values in wanted.fields("mosaicity").items():
            np.testing.assert_allclose(found.fields("mosaicity")[name], values, rtol=1e-12, atol=1e-13, err_msg=name)
        assert found.covered["mosaicity"] == set(range(36))
        assert_as_numpy(found.fields("mosaicity"), signal, where)


def test_a_frame_that_cannot_be_replaced_any_more_stays_and_the_new_one_is_refused() -> None:
    frames, signal, where = a_scan()
    found = begun(start(), motors=(CHI, RZ), keep_gb=0)
    for each in frames:
        found.take(each)
    with pytest.raises(ValueError, match=r"frame 35 is at the position of frame 3 .chi = -1, diffrz = 1.85.*keep_gb"):
        found.take(replace(frames[3], index=35))
    found.finish(36)
    assert_as_numpy(found.fields("mosaicity"), signal, where)
    assert 35 not in found.covered["mosaicity"]


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        ({"chi": -0.96, "diffrz": 2.0}, "frame 0 lies between two steps .chi = -0.96."),
        ({"chi": -1.0, "diffrz": 1.7}, "frame 0 lies outside of the scan .diffrz = 1.7."),
        ({"chi": -1.0}, "frame 0 has no reading 'diffrz' .it has: chi."),
        ({"chi": -1.0, "diffrz": float("nan")}, "has no reading 'diffrz'"),
    ],
)
def test_a_frame_off_the_steps_is_refused_with_the_motor_that_is(readings: dict[str, float], words: str) -> None:
    found = begun(start(), motors=(CHI, RZ))
    with pytest.raises(ValueError, match=words):
        found.take(frame(0, np.ones(SHAPE, np.uint16), **readings))
    found.finish(1)
    assert not found.covered["mosaicity"]


def test_placed_by_number_the_last_motor_is_the_fastest() -> None:
    _, signal, _ = a_scan()
    chi, rz = (each.ravel() for each in np.meshgrid(np.arange(7), np.arange(5), indexing="ij"))
    nominal = np.array([-1 + 0.08 * chi, 2 - 0.05 * rz])
    frames = [frame(n + 3, image.astype(np.uint16)) for n, image in enumerate(signal)]
    before = frame(1, np.ones(SHAPE, np.uint16))
    found = gathered(start(), [before, *frames], motors=(CHI, RZ), place_by="number", offset=3)
    assert_as_numpy(found.fields("mosaicity"), signal, nominal)
    assert found.covered["mosaicity"] == {1, *range(3, 38)}


def test_region_background_and_threshold_are_those_of_the_original(tmp_path: Any) -> None:
    """mean of the background files, negatives to 0, the region [x - nx/2, x + nx/2)."""
    frames, signal, where = a_scan()
    backgrounds = np.random.default_rng(1).integers(0, 6, (2, *SHAPE)).astype(np.float64)
    for number, image in enumerate(backgrounds):
        np.save(tmp_path / f"{number}.npy", image)
    files = tuple(str(tmp_path / f"{number}.npy") for number in range(2))
    found = gathered(
        start(), frames, motors=(CHI, RZ), background_files=files, threshold=0, roi={"center": (6, 4), "size": (8, 5)}
    )
    wanted = np.maximum(signal - backgrounds.mean(0), 0)[:, 2:7, 2:10]
    assert_as_numpy(found.fields("mosaicity"), wanted, where)
    assert found.products[0].axes[0].values.tolist() == [2, 3, 4, 5, 6]
    assert found.products[0].axes[1].values.tolist() == list(range(2, 10))


@pytest.mark.parametrize("order", [1, -1])
def test_the_weakest_frames_are_the_background_of_each_omega(order: int) -> None:
    frames, signal, where = a_scan()
    found = gathered(start(), frames[::order], motors=(CHI, RZ), background_lowest=2).fields("mosaicity")
    weakest = np.argsort(signal.sum((1, 2)), kind="stable")[:2]
    wanted = by_numpy(signal - signal[weakest].mean(0), where)
    for name in ("sum", "maximum"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-11)
    there = wanted["sum"] > 0
    assert 10 < there.sum() < there.size
    assert np.isnan(found["com_chi"][~there]).all() and np.isnan(found["cov_chi_diffrz"][~there]).all()
    np.testing.assert_allclose(found["com_chi"][there], wanted["com"][0][there], rtol=1e-10)
    variances, cov = wanted["cov"][[0, 1], [0, 1]], wanted["cov"][0, 1]
    real = there & (variances > 0).all(axis=0) & (cov**2 <= variances.prod(axis=0))
    assert 10 < real.sum() < there.sum(), "negative signals: not each has a covariance"
    np.testing.assert_allclose(found["cov_chi_diffrz"][real], cov[real], rtol=1e-9, atol=1e-14)
    assert np.isnan(found["cov_chi_diffrz"][there & ~real]).all()


def test_pixels_that_are_bad_are_nan_also_where_it_was_in_one_frame() -> None:
    frames, signal, where = a_scan()
    images = signal.astype(np.uint16)
    images[12, 4, 5] = 65535
    mask = np.zeros(SHAPE, np.uint32)
    mask[0, 1] = 1
    scan = start(pixel_mask={"ch": mask}, saturation_value=65000)
    frames = [replace(frame(n, images[n]), readings=each.readings) for n, each in enumerate(frames)]
    found = gathered(scan, frames, motors=(CHI, RZ)).fields("mosaicity")
    bad = [(0, 1), (4, 5)]
    for name in ("sum", "com_chi", "width_diffrz", "cov_chi_diffrz", "skew_chi", "kurtosis_chi", "peak_chi", "maximum"):
        assert sorted(map(tuple, np.argwhere(np.isnan(found[name])).tolist())) == bad, name
    assert found["bad_frames"][4, 5] == 1 and found["bad_frames"].sum() == 1
    told = gathered(scan, frames, motors=(CHI, RZ), bad_frames=1).fields("mosaicity")
    assert told["sum"][4, 5] == signal[:, 4, 5].sum() - signal[12, 4, 5]
    del where


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_bad_frame_is_never_the_largest_signal_even_where_all_good_ones_are_negative(dtype: str) -> None:
    """Less its background each good signal is negative; a frame that counted as 0 would be above all of them."""
    frames, signal, _ = a_scan()
    images = signal.astype(dtype)
    images[12, 4, 5] = images[:, 6, 7] = 65535 if dtype == "u2" else np.inf
    scan = start(dtype, saturation_value=65000) if dtype == "u2" else start(dtype)
    frames = [replace(frame(n, images[n]), readings=each.readings) for n, each in enumerate(frames)]
    found = gathered(scan, frames, motors=(CHI, RZ), bad_frames=35, background=1000).fields("mosaicity")
    wanted = np.where(images < 65000, images - 1000.0, np.nan)
    wanted[:, 6, 7] = -np.inf
    highest = np.nanmax(wanted, axis=0)
    highest[6, 7] = np.nan
    np.testing.assert_array_equal(found["maximum"], highest)
    assert found["bad_frames"][4, 5] == 1 and found["bad_frames"][6, 7] == 35 and found["bad_frames"].sum() == 36
    assert found["sum"][4, 5] == (np.delete(signal[:, 4, 5], 12) - 1000).sum()
    assert np.isnan(found["sum"][6, 7]), "no frame is good"
    dark = gathered(scan, frames, motors=(CHI, RZ), bad_frames=34).fields("mosaicity")
    assert dark["maximum"][4, 5] == np.delete(signal[:, 4, 5], 12).max()


def test_covariances_that_no_distribution_has_are_nan() -> None:
    """Negative signals: a pixel with a negative variance of one motor, one with |covariance| above both widths."""
    images = np.full((9, *SHAPE), 100, np.uint16)
    images[4, 0] += 50  # the middle of 3 x 3 positions
    images[[0, 8], 0, 1] += 20
    images[[0, 1, 2, 6, 7, 8], 0, 2] -= np.uint16(5)
    images[[0, 8], 0, 3] += 60
    images[[2, 6], 0, 3] -= np.uint16(50)
    motors = ({"motor": "a", "first": 0, "step": 1, "points": 3}, {"motor": "b", "first": 5, "step": -1, "points": 3})
    frames = [frame(n, image, a=n // 3, b=5 - n % 3) for n, image in enumerate(images)]
    found = gathered(start(), frames, motors=motors, background=100).fields("mosaicity")
    where = np.array([[n // 3, 5 - n % 3] for n in range(9)], float).T
    signal = images[:, 0, :4] - 100.0
    away = where[:, :, None] - (where @ signal / signal.sum(0))[:, None]
    wanted = np.einsum("np,knp,lnp->klp", signal, away, away) / signal.sum(0)
    assert wanted[0, 0, 2] < 0 < wanted[1, 1, 1] and wanted[0, 1, 3] ** 2 > wanted[0, 0, 3] * wanted[1, 1, 3] > 0
    np.testing.assert_allclose(found["cov_a_a"][0, :4], np.where([1, 1, 0, 1], wanted[0, 0], np.nan), atol=1e-14)
    np.testing.assert_allclose(found["cov_a_b"][0, :4], np.where([1, 1, 0, 0], wanted[0, 1], np.nan), atol=1e-14)
    assert np.isnan(found["width_a"][0, 2]) and np.isnan(found["skew_a"][0, 2])
    assert found["cov_a_b"][0, 1] == pytest.approx(-np.sqrt(found["cov_a_a"] * found["cov_b_b"])[0, 1]), "fully bound"


def test_a_pixel_that_is_lit_once_has_no_width_and_no_skew() -> None:
    """Nothing is made of the rounding, far from the middle of the range."""
    images = np.zeros((60, *SHAPE), np.uint16)
    images[59, 3, 3] = 7
    images[[58, 59], 4, 4] = 9
    motors = ({"motor": "mu", "first": 17.3, "step": 0.001, "points": 60},)
    frames = [frame(n, image, mu=17.3 + 0.001 * n) for n, image in enumerate(images)]
    found = gathered(start(), frames, motors=motors).fields("mosaicity")
    assert found["com_mu"][3, 3] == found["peak_mu"][3, 3] == pytest.approx(17.359, abs=1e-12)
    assert found["width_mu"][3, 3] == 0 and np.isnan(found["skew_mu"][3, 3]) and np.isnan(found["kurtosis_mu"][3, 3])
    assert found["width_mu"][4, 4] == pytest.approx(FWHM * 0.0005, rel=1e-9)
    assert found["skew_mu"][4, 4] == pytest.approx(0, abs=1e-6)
    assert found["kurtosis_mu"][4, 4] == pytest.approx(-2, abs=1e-6)
    assert np.isnan(found["com_mu"][0, 0]) and found["sum"][0, 0] == 0


def test_the_pictures_show_orientation_in_colours_that_can_be_read_back() -> None:
    frames, _, _ = a_scan()
    found = gathered(start(), frames, motors=(CHI, RZ))
    images = found.fields("mosaicity")
    seen = {**found.fields("mosaicity_images"), **found.fields("mosaicity_orientation")}
    np.testing.assert_array_equal(seen["intensity"], images["sum"].astype(np.float32))
    np.testing.assert_array_equal(seen["width_chi"], images["width_chi"].astype(np.float32))
    from colorsys import hsv_to_rgb

    for point in np.ndindex(SHAPE):
        away = [
            (images[f"com_{name}"][point] - seen["colour_middle"][n]) / seen["colour_radius"][n]
            for n, name in enumerate(("chi", "diffrz"))
        ]
        hue = np.arctan2(away[1], away[0]) / (2 * np.pi) % 1
        wanted = np.array(hsv_to_rgb(hue, min(np.hypot(*away), 1), 1)) * 255
        np.testing.assert_allclose(seen["orientation"][point], wanted, atol=0.5001)
    assert len(np.unique(seen["orientation"].reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "the motors of the scan are not known"),
        ({"motors": ({"motor": "chi", "points": 3},)}, "the motor, its first position"),
        ({"motors": (CHI,), "omega": {"motor": "chi", "first": 0, "step": 1, "points": 2}}, "among the motors already"),
        ({"motors": (CHI,), "roi": {"center": (0, 4), "size": (4, 4)}}, "columns -2 to 1, rows 2 to 5 are not all"),
        ({"motors": (CHI,), "memory_gb": 1e-9}, "set memory_gb higher, or choose a smaller roi"),
        ({"motors": (CHI,), "background_files": ("none.edf",)}, "no such file"),
    ],
)
def test_a_scan_that_cannot_be_summed_is_refused_with_what_to_do(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        begun(start(), **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"motors": (CHI, CHI)}, "a name .motor. of its own"),
        ({"motors": ({"first": 0, "step": 1, "points": 3},)}, "a name .motor. of its own"),
        ({"background": 3, "background_lowest": 2}, "only one of them"),
        ({"background_lowest": 2, "threshold": 0}, "cannot go with it"),
        ({"motors": (CHI, RZ), "offset": 3}, "give `place_by: number` too"),
        ({"roi": {"center": (3, 3), "size": (0, 3)}}, "must be 1 or more"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mosaicity.Config(**options)


def test_a_frame_that_failed_is_a_hole() -> None:
    frames, signal, where = a_scan()
    failed = replace(frames[4], payloads={}, status=FrameStatus.FAILED)
    found = gathered(start(), [*frames[:4], failed, *frames[5:]], Context(trouble=lambda text: None), motors=(CHI, RZ))
    assert_as_numpy(found.fields("mosaicity"), np.delete(signal, 4, 0), np.delete(where, 4, 1))
    assert 4 not in found.covered["mosaicity"] and found.fields("mosaicity")["frame_index"][0, 4] == -1


def test_nobody_is_shown_the_sums_that_are_there_to_be_merged() -> None:
    part = begun(replace(start(), part=0), motors=(CHI, RZ))
    whole = begun(start(), motors=(CHI, RZ))
    assert any(field.partial for product in part.products for field in product.fields)
    names = [[field.name for field in product.fields] for product in shown(part.products)]
    assert names == [[field.name for field in product.fields] for product in whole.products]
