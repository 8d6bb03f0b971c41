"""Regions of interest on single frames: against NumPy and SciPy, and against recorded detectors."""

from typing import Any

import numpy as np
import pytest
from measured_regions import ENTRY, box, measured
from scipy import ndimage

from processors.roi import Config, create
from processors.shared.announce import tell
from stream import ConfigError, Context, Detector, Encoding, Frame, Payload, ScanEnd, ScanStart
from stream.events import Array
from stream.work import Work

NOISE = np.random.default_rng(7).poisson(20, (60, 80)).astype("u2")
X, Y = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)


def test_sum_mean_largest_and_centre_of_mass_are_those_of_numpy_and_scipy() -> None:
    found = measured(NOISE, {"a": box((10, 30), (5, 25)), "b": box((0, 80), (0, 60))})
    part = NOISE[5:25, 10:30].astype(float)
    assert found["pixels"][:3].tolist() == [400, 4800, 0]
    assert found["sum"][0] == found["counts"][0] == part.sum() and found["mean"][0] == part.mean()
    assert found["max"][:2].tolist() == [part.max(), NOISE.max()]
    assert found["sum_errors"][0] == pytest.approx(np.sqrt(part.sum()), rel=1e-12)
    middle = np.add(ndimage.center_of_mass(part), (5, 10))
    np.testing.assert_allclose([found["com_y"][0], found["com_x"][0]], middle, rtol=1e-12)
    assert np.isnan(found["sum"][2:]).all() and np.isnan(found["com_x"][2:]).all()


def test_the_error_of_the_centre_of_mass_is_what_its_spread_over_many_frames_says() -> None:
    dice = np.random.default_rng(1)
    peak = 200 * np.exp(-((X - 40) ** 2 + (Y - 30) ** 2) / 50)
    each = [measured(dice.poisson(peak).astype("u2"), {"a": box((20, 60), (10, 50))}) for _ in range(200)]
    for name in ("com_x", "com_y", "sum"):
        values, told = np.array([one[name][0] for one in each]), each[0][f"{name}_errors"][0]
        assert values.std() == pytest.approx(told, rel=0.2), name


SHAPES = {
    "ellipse": (
        {"kind": "ellipse", "center": [40, 30], "radii": [20, 8], "angle": 30},
        lambda u, v: (u / 20) ** 2 + (v / 8) ** 2 <= 1,
    ),
    "rectangle": (
        {"kind": "rectangle", "x": [20, 60], "y": [22, 38], "angle": 30},
        lambda u, v: (abs(u) < 20) & (abs(v) < 8),
    ),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_a_turned_region_has_the_pixels_whose_centre_is_inside(kind: str) -> None:
    region, inside = SHAPES[kind]
    turn = np.radians(30)
    u = (X - 40) * np.cos(turn) + (Y - 30) * np.sin(turn)
    v = (Y - 30) * np.cos(turn) - (X - 40) * np.sin(turn)
    wanted = inside(u, v)
    found = measured(NOISE, {"a": region})
    assert found["pixels"][0] == wanted.sum() and found["counts"][0] == NOISE[wanted].sum()


def test_a_polygon_has_the_pixels_inside_an_odd_number_of_times() -> None:
    found = measured(NOISE, {"a": {"kind": "polygon", "points": [[10, 10], [50, 10], [10, 50]]}})
    wanted = (X > 10) & (Y > 10) & (X + Y < 60)
    assert found["pixels"][0] == wanted.sum() and found["counts"][0] == NOISE[wanted].sum()
    star = measured(NOISE, {"a": {"kind": "polygon", "points": [[10.2, 10], [50.2, 10], [10.2, 50], [50.2, 50]]}})
    both = (Y > 10) & (Y < 50) & (abs(X - 30.2) < abs(Y - 30))
    assert star["pixels"][0] == both.sum()


def test_ring_and_sector_in_pixels_are_cut_by_radius_and_azimuth() -> None:
    radius, chi = np.hypot(X - 35.5, Y - 28), np.degrees(np.arctan2(Y - 28, X - 35.5))
    ring = {"kind": "ring", "center": [35.5, 28], "radius": [8, 20]}
    sector = {**ring, "kind": "sector", "azimuth": [150, 200]}
    found = measured(NOISE, {"ring": ring, "sector": sector})
    inside = (radius >= 8) & (radius < 20)
    within = inside & ((chi >= 150) | (chi < -160))
    assert found["counts"][:2].tolist() == [NOISE[inside].sum(), NOISE[within].sum()]
    weights = NOISE[within].astype(float)
    assert found["com_x"][1] == pytest.approx((radius[within] * weights).sum() / weights.sum(), rel=1e-6)
    assert found["com_y"][1] == pytest.approx((np.mod(chi[within], 360) * weights).sum() / weights.sum(), rel=1e-6)


def test_a_line_has_the_pixels_within_its_width_and_a_profile_along_it() -> None:
    image = np.zeros((60, 80), "u2")
    image[30, 20:60] = 3
    image[30, 42] = 90
    line = {"kind": "line", "start": [10, 30.5], "end": [70, 30.5], "width": 5}
    found = measured(image, {"a": line}, profiles=70)
    assert found["pixels"][0] == 5 * 60
    along, across = found["profile_x"][0], found["profile_y"][0]
    np.testing.assert_allclose(along[:60], image[28:33, 10:70].mean(0))
    np.testing.assert_allclose(across[:5], image[28:33, 10:70].mean(1))
    assert np.isnan(along[60:]).all() and np.isnan(across[5:]).all() and np.isnan(found["profile_x"][1:]).all()
    slanted = measured(NOISE, {"a": {**line, "end": [60, 55]}})
    assert slanted["pixels"][0] == pytest.approx(5 * np.hypot(50, 24.5), rel=0.05)


def gaussian(sigma: float, size: int = 64) -> Array:
    places = np.arange(size) - size / 2
    return np.round(1e6 * np.exp(-(places**2) / (2 * sigma**2))).astype("u4")


def test_the_width_of_a_gaussian_is_its_full_width_at_half_maximum() -> None:
    image = np.tile(gaussian(4), (5, 1))
    found = measured(image, {"a": box((0, 64), (0, 5))})
    assert found["fwhm_x"][0] == pytest.approx(9.42, abs=0.02)
    assert np.isnan(found["fwhm_y"][0])  # flat: it does not fall to half of its maximum


def test_compat_sp2014_gives_the_widths_of_the_original() -> None:
    image = np.tile(gaussian(4), (5, 1))
    found = measured(image, {"a": box((0, 64), (0, 5))}, compat="sp2014")
    assert found["fwhm_x"][0] == pytest.approx(8.70, abs=0.005)
    assert found["fwhm_x_raw"][0] == pytest.approx(9 * 64 / 63, abs=1e-9)


def test_masked_and_flagged_pixels_never_count_but_are_counted() -> None:
    image = NOISE.copy()
    image[10, 12], image[11, 13] = 65535, 60000
    mask = np.zeros((60, 80), "u4")
    mask[12, 14] = 1
    detector = Detector(pixel_mask={"data": mask}, saturation_value=50_000)
    found = measured(image, {"a": box((10, 20), (8, 18))}, detector=detector, profiles=10)
    good = np.ones((10, 10), bool)
    good[2, 2] = good[3, 3] = good[4, 4] = False
    part = image[8:18, 10:20]
    assert (found["pixels"][0], found["masked"][0]) == (97, 3)
    assert found["counts"][0] == part[good].sum() and found["max"][0] == part[good].max()
    wanted = np.ma.array(part, mask=~good).mean(0)
    np.testing.assert_allclose(found["profile_x"][0], wanted)


def test_a_region_off_the_detector_is_clipped_and_an_empty_one_is_nan(caplog: pytest.LogCaptureFixture) -> None:
    found = measured(
        NOISE, {"corner": box((-10, 5), (-3, 4)), "off": box((100, 120), (0, 9)), "thin": box((3.6, 4.4), (0, 9))}
    )
    assert found["pixels"][:3].tolist() == [20, 0, 0]
    assert found["counts"][0] == NOISE[:4, :5].sum()
    for name, values in found.items():
        if values.dtype.kind == "f":
            assert np.isnan(values[1]).all() and np.isnan(values[2]).all(), name
    everything = np.ones((60, 80), "u4")
    everything[30:] = 0
    masked = measured(NOISE, {"a": box((0, 5), (0, 5))}, detector=Detector(pixel_mask={"data": everything}))
    assert (masked["pixels"][0], masked["masked"][0]) == (0, 25) and np.isnan(masked["sum"][0])


REACHING: list[tuple[dict[str, Any], str]] = [
    (box((-10, 5), (-3, 4)), "(x -10 to 5 of 0 to 80, y -3 to 4 of 0 to 60): 20 of"),
    (box((70, 500), (0, 60)), "(x 70 to 500 of 0 to 80): 600 of"),
    (box((0, 80), (0, 60)), ""),
    (box((20, 40), (5, 15), angle=90), ""),
    (box((20, 60), (5, 15), angle=90), "(y -10 to 30 of 0 to 60): 300 of"),
    ({"kind": "ellipse", "center": [40, 55], "radii": [10, 4], "angle": 0}, ""),
    ({"kind": "ellipse", "center": [40, 55], "radii": [10, 4], "angle": 90}, "(y 45 to 65 of 0 to 60):"),
    ({"kind": "polygon", "points": [[70, 10], [90, 10], [70, 30]]}, "(x 70 to 90 of 0 to 80):"),
    ({"kind": "line", "start": [10, 2], "end": [50, 2], "width": 6}, "(y -1 to 5 of 0 to 60):"),
    ({"kind": "ring", "center": [40, 30], "radius": [5, 30]}, ""),
    ({"kind": "ring", "center": [40, 30], "radius": [5, 31]}, "(y -1 to 61 of 0 to 60):"),
    ({"kind": "sector", "center": [2, 2], "radius": [5, 30], "azimuth": [10, 80]}, ""),
    ({"kind": "sector", "center": [2, 2], "radius": [5, 30], "azimuth": [80, 100]}, "(x -3.20945 to"),
]


@pytest.mark.parametrize(("region", "words"), REACHING, ids=range(len(REACHING)))
def test_a_region_that_reaches_beyond_the_detector_is_told_with_what_is_left(
    caplog: pytest.LogCaptureFixture, region: dict[str, Any], words: str
) -> None:
    tell.cache_clear()
    found = measured(NOISE, {"a": region})
    told = [each.getMessage() for each in caplog.records if "reaches beyond" in each.getMessage()]
    assert bool(told) is bool(words), told
    if words:
        assert told[0].startswith(f"roi: the region 'a' reaches beyond the detector {words}")
        assert f" {found['pixels'][0]} of its pixels are on it" in told[0]


def test_the_mean_of_other_regions_is_subtracted_with_its_error() -> None:
    regions = {
        "peak": box((30, 50), (20, 40), background=["left", "right"]),
        "left": box((10, 20), (20, 40), role="background"),
        "right": box((60, 70), (20, 30), role="background"),
    }
    image = NOISE + np.where((abs(X - 40) < 4) & (abs(Y - 30) < 4), 50, 0).astype("u2")
    found = measured(image, regions)
    behind = np.concatenate([image[20:40, 10:20].ravel(), image[20:30, 60:70].ravel()]).astype(float)
    part = image[20:40, 30:50].astype(float)
    assert found["background"][0] == pytest.approx(behind.mean(), rel=1e-12)
    assert found["sum"][0] == pytest.approx(part.sum() - 400 * behind.mean(), rel=1e-9)
    assert found["sum_errors"][0] == pytest.approx(np.sqrt(part.sum() + 400**2 * behind.sum() / len(behind) ** 2))
    assert found["max"][0] == pytest.approx(part.max() - behind.mean())
    assert found["counts"][0] == part.sum() and found["background"][1] == 0
    net = part - behind.mean()
    columns = np.arange(30, 50)
    assert found["com_x"][0] == pytest.approx((net * columns).sum() / net.sum())
    everywhere = measured(image, {**regions, "peak": box((30, 50), (20, 40), background="all")})
    assert everywhere["sum"][0] == found["sum"][0]


def test_a_region_that_overlaps_its_background_has_no_error(caplog: pytest.LogCaptureFixture) -> None:
    found = measured(NOISE, {"a": box((10, 30), (5, 25), background="b"), "b": box((29, 50), (20, 30))})
    assert np.isnan(found["sum_errors"][0]) and np.isnan(found["mean_errors"][0]) and np.isfinite(found["sum"][0])
    assert np.isfinite(found["counts_errors"][0]) and np.isfinite(found["sum_errors"][1])
    assert any("'a' overlaps its background" in record.message for record in caplog.records)


def test_a_plane_through_other_regions_is_subtracted_with_its_error() -> None:
    slope = (100 + 2 * X + 4 * Y).round().astype("u4")
    regions = {
        "peak": box((30, 50), (20, 40), background=["left", "right"], fit="linear"),
        "left": box((10, 20), (20, 40)),
        "right": box((60, 70), (20, 30)),
    }
    image = slope.copy()
    image[30, 40] += 1000
    found = measured(image, regions)
    assert found["sum"][0] == pytest.approx(1000, abs=1e-6)
    assert (found["com_y"][0], found["com_x"][0]) == pytest.approx((30, 40), abs=1e-6)
    dice, nets = np.random.default_rng(3), []
    for _ in range(150):
        one = measured(dice.poisson(slope).astype("u4"), regions)
        nets.append((one["sum"][0], one["sum_errors"][0]))
    values, told = np.array(nets).T
    assert values.std() == pytest.approx(told.mean(), rel=0.15) and abs(values.mean()) < 3 * told.mean() / np.sqrt(150)
    thin = measured(image, {**regions, "left": box((10, 20), (20, 21)), "right": box((60, 70), (20, 21))})
    assert np.isnan(thin["sum"][0]) and np.isnan(thin["max"][0]) and thin["counts"][0] == image[20:40, 30:50].sum()


def test_values_are_divided_by_the_monitor_and_nan_where_it_is_of_no_use() -> None:
    regions = {"a": box((0, 10), (0, 10))}
    options = {"normalize_by": "monitor", "reference": 100.0}
    plain, found = measured(NOISE, regions), measured(NOISE, regions, {"monitor": 50.0}, **options)
    for name in ("sum", "sum_errors", "mean", "max"):
        assert found[name][0] == pytest.approx(2 * plain[name][0])
    assert found["counts"][0] == plain["counts"][0] and found["divisor"] == 0.5
    told: list[str] = []
    for reading in ({"monitor": 0.0}, {"monitor": -1.0}, {}):
        none = measured(NOISE, regions, reading, **options)
        assert np.isnan(none["sum"][0]) and np.isnan(none["divisor"]) and none["counts"][0] == plain["counts"][0]
    made = create(Config(regions=regions, **options), Context(trouble=told.append))
    work, scan = Work(), ScanStart("one", "one", (60, 80), NOISE.dtype, ("data",), 1, Detector(), 0.0)
    made.start(scan, work)
    work.take(Frame("one", 4, {"data": Payload(NOISE.tobytes(), Encoding.RAW, (60, 80), NOISE.dtype)}, 0.0))
    made.process(work)
    made.finish(ScanEnd("one"))
    assert "1 frames of this worker have no usable reading 'monitor' (the first: frame 4)" in told[0]


def test_dark_and_flat_are_applied_to_values_and_errors(tmp_path: Any) -> None:
    dark, flat = np.full((60, 80), 2.0), np.where(X < 5, 2.0, 0.5)
    np.save(tmp_path / "dark.npy", dark)
    np.save(tmp_path / "flat.npy", flat)
    masks = {"dark": str(tmp_path / "dark.npy"), "flat": str(tmp_path / "flat.npy")}
    found = measured(NOISE, {"a": box((0, 10), (0, 10))}, masks=masks)
    part, response = NOISE[:10, :10].astype(float), flat[:10, :10]
    assert found["counts"][0] == pytest.approx(((part - 2) / response).sum())
    assert found["counts_errors"][0] == pytest.approx(np.sqrt((part / response**2).sum()))


WRONG = {
    "its own background": {"a": box((0, 1), (0, 1), background="a")},
    "no region": {"a": box((0, 1), (0, 1), background="b")},
    "no other region has the role": {"a": box((0, 1), (0, 1), background="all", role="background")},
    "the name '1a'": {"1a": box((0, 1), (0, 1))},
    "the smaller first": {"a": box((1, 0), (0, 1))},
    "less than or equal to 100000": {"a": box((0, 1e9), (0, 1))},
    "greater than or equal to -100000": {"a": {"kind": "polygon", "points": [[0, 0], [1, 1], [0, float("-inf")]]}},
    "Input should be": {"a": {"kind": "ellipse", "center": [float("nan"), 0], "radii": [1, 1]}},
    "at most 100000 pixels": {"a": {"kind": "ring", "radius": [1, 1e9]}},
    "a sector needs azimuth": {"a": {"kind": "sector", "radius": [1, 2]}},
    "are the same point": {"a": {"kind": "line", "start": [1, 2], "end": [1, 2]}},
    "unknown unit": {"a": {"kind": "ring", "radius": [1, 2], "unit": "q"}},
    "the geometry says where the beam is": {
        "a": {"kind": "ring", "radius": [1, 2], "unit": "2th_deg", "center": [1, 1]}
    },
    "the file has places for 16": {f"a{number}": box((0, 1), (0, 1)) for number in range(17)},
}


@pytest.mark.parametrize("words", WRONG)
def test_regions_that_cannot_be_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config.model_validate({**ENTRY, "regions": WRONG[words]})


def test_a_ring_without_a_beam_centre_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="does not say where the beam is: give the ring a center"):
        measured(NOISE, {"a": {"kind": "ring", "radius": [1, 2]}})
    with pytest.raises(ConfigError, match=r"does not say distance_m, .*: give a .poni file"):
        measured(NOISE, {"a": {"kind": "ring", "radius": [1, 2], "unit": "2th_deg"}})


def test_poisson_errors_of_a_formula_are_refused() -> None:
    from processors import formula

    work = Work()
    scan = ScanStart("one", "one", (60, 80), NOISE.dtype, ("data",), 1, Detector(), 0.0)
    formula.create(formula.Config(formula="data * 2", name="twice")).start(scan, work)
    with pytest.raises(ConfigError, match="twice is made of counts"):
        create(Config(channel="twice")).start(scan, work)
    made = create(Config(channel="twice", error_model="none"))
    assert not any(field.name.endswith("_errors") for field in made.start(scan, work)[0].fields)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i2", "i4", "f4", "f8"])
def test_pixels_of_every_type_give_the_same_numbers(dtype: str) -> None:
    regions = {"a": box((10, 30), (5, 25), background="b"), "b": box((40, 60), (5, 25))}
    wanted, found = measured(NOISE, regions), measured(NOISE.astype(dtype), regions)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    image = NOISE.astype(dtype)
    image[6, 12] = np.nan if dtype.startswith("f") else np.iinfo(dtype).max
    assert measured(image, regions)["masked"][0] == 1


def test_a_place_without_a_region_and_no_region_at_all_are_nan() -> None:
    found = measured(NOISE, {})
    assert np.isnan(found["sum"]).all() and not found["pixels"].any()
    assert measured(NOISE, {"a": None, "b": box((0, 5), (0, 5))})["sum"][1] == NOISE[:5, :5].sum()
