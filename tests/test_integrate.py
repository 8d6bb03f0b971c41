"""Azimuthal integration against pyFAI on the same frame and settings, and what it does when something is odd."""

import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import pytest
from integration_frames import (
    MODELS,
    PONI,
    SHAPE,
    assert_agrees,
    bad_pixels,
    by_pyfai,
    frame_of,
    rings,
    run,
    scan_of,
    uncertain_in_pyfai,
)
from pydantic import ValidationError

from processors import correct, integrate
from processors.integration.cpu import CpuEngine
from processors.integration.scatter import BLOCK
from processors.shared import cache, geometry
from stream.errors import ConfigError, InbeamError
from stream.events import Detector, ScanEnd
from stream.work import Work


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for the whole session: what is prepared once serves every test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache_of_the_tests(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBEAM_CACHE", str(kept))


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    path = tmp_path / "tilted.poni"
    path.write_text(PONI)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("npt_azimuthal", [None, 9])
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("error_model", MODELS)
def test_every_splitting_and_error_model_gives_what_pyfai_gives(
    poni: Path, tmp_path: Path, npt_azimuthal: int | None, splitting: str, error_model: str
) -> None:
    image, mask = rings(), bad_pixels()
    np.save(tmp_path / "mask.npy", mask.astype(np.uint8))
    options = {
        "poni": poni,
        "npt": 60,
        "npt_azimuthal": npt_azimuthal,
        "splitting": splitting,
        "error_model": error_model,
        "polarization": 0.95,
    }
    product, result = run(image, options, {"mask": str(tmp_path / "mask.npy")})
    reference = by_pyfai(poni, image, options, mask=mask)
    assert_agrees(result, reference, but=uncertain_in_pyfai(image, mask, options))
    np.testing.assert_array_equal(product.axes[-1].values, reference.radial)
    if npt_azimuthal:
        np.testing.assert_allclose(product.axes[0].values, reference.azimuthal, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("error_model", MODELS)
def test_dark_flat_and_ranges_enter_as_in_pyfai(poni: Path, tmp_path: Path, splitting: str, error_model: str) -> None:
    rng = np.random.default_rng(5)
    image, mask = rings(), bad_pixels()
    dark = rng.uniform(0, 3, SHAPE).astype(np.float32)
    flat = rng.uniform(0.7, 1.3, SHAPE).astype(np.float32)
    for name, array in (("mask", mask.astype(np.uint8)), ("dark", dark), ("flat", flat)):
        np.save(tmp_path / f"{name}.npy", array)
    options = {
        "poni": poni,
        "npt": 50,
        "splitting": splitting,
        "error_model": error_model,
        "radial_range": (5.0, 25.0),
        "azimuth_range": (-120.0, 100.0),
        "solid_angle": False,
    }
    _, result = run(image, options, {name: str(tmp_path / f"{name}.npy") for name in ("mask", "dark", "flat")})
    assert_agrees(result, by_pyfai(poni, image, options, mask=mask, dark=dark, flat=flat))


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("error_model", MODELS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_dark_and_flat_enter_a_cake_as_in_pyfai(
    poni: Path, tmp_path: Path, splitting: str, error_model: str, dtype: str
) -> None:
    """With poisson errors pyFAI adds the dark's own variance in 2D, but for full splitting; and never in 1D."""
    rng = np.random.default_rng(5)
    image, mask = rings(dtype), bad_pixels()
    dark = rng.uniform(-1, 9, SHAPE).astype(np.float32)
    flat = rng.uniform(0.7, 1.3, SHAPE).astype(np.float32)
    for name, array in (("mask", mask.astype(np.uint8)), ("dark", dark), ("flat", flat)):
        np.save(tmp_path / f"{name}.npy", array)
    files = {name: str(tmp_path / f"{name}.npy") for name in ("mask", "dark", "flat")}
    options = {"poni": poni, "npt": 40, "npt_azimuthal": 6, "splitting": splitting, "error_model": error_model}
    dummy = 65535 if dtype == "uint16" else 55  # a flag leaves the kernel for counts in use, a dummy does not
    image[60:63, ::4] = dummy
    _, result = run(image, options, files if dtype == "uint16" else {**files, "dummy": dummy})
    reference = by_pyfai(poni, image, options, mask=mask, dark=dark, flat=flat, dummy=dummy)
    assert_agrees(result, reference, but=uncertain_in_pyfai(image, mask, options))


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox"])
@pytest.mark.parametrize("unit", list(geometry.UNITS))
def test_every_unit_has_the_bins_of_pyfai(poni: Path, unit: str, splitting: str) -> None:
    options = {"poni": poni, "npt": 40, "unit": unit, "splitting": splitting, "error_model": "poisson"}
    image = rings()
    product, result = run(image, options)
    reference = by_pyfai(poni, image, options)
    assert_agrees(result, reference)
    np.testing.assert_array_equal(product.axes[0].values, reference.radial)


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
def test_every_pixel_type_and_its_flags_are_understood(
    poni: Path, dtype: str, splitting: str, error_model: str
) -> None:
    image, flagged = rings(dtype), bad_pixels(8)
    if dtype.startswith("u"):
        image[flagged] = np.iinfo(dtype).max
    elif dtype.startswith("i"):
        image[flagged] = -1
        image[:, 20:24], flagged[:, 20:24] = -2, True
    else:
        image[flagged] = np.nan
        image[3, 5:9], flagged[3, 5:9] = np.inf, True
    options = {
        "poni": poni,
        "npt": 45,
        "splitting": splitting,
        "error_model": error_model,
        "unit": "2th_deg",
        "radial_range": (1.0, 12.0),  # given, because pyFAI takes the range of the bins from the unmasked pixels
    }
    _, result = run(image, options)
    clean = np.where(flagged, 0, image)
    assert_agrees(result, by_pyfai(poni, clean, options, mask=flagged))


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox"])
@pytest.mark.parametrize(
    ("dtype", "dummy", "delta"), [("uint16", 7, 0), ("uint16", 0, 0), ("int32", 30, 4), ("float32", 0.1, 0)]
)
def test_dummy_values_are_left_out_as_in_pyfai(
    poni: Path, splitting: str, dtype: str, dummy: float, delta: float
) -> None:
    image = rings(dtype)
    image[::3, ::5] = dummy
    options = {"poni": poni, "npt": 30, "splitting": splitting, "error_model": "poisson"}
    _, result = run(image, options, {"dummy": dummy, "delta_dummy": delta})
    assert_agrees(result, by_pyfai(poni, image, options, dummy=dummy, delta_dummy=delta))


def test_counts_above_the_saturation_value_of_the_header_are_left_out(poni: Path) -> None:
    image = rings()
    options = {"poni": poni, "npt": 30, "error_model": "poisson", "radial_range": (3.0, 25.0)}
    _, result = run(image, options, detector=Detector(saturation_value=50))
    assert_agrees(result, by_pyfai(poni, image, options, mask=image > 50))


def test_the_monitor_divides_intensities_and_errors(poni: Path) -> None:
    image = rings()
    options = {"poni": poni, "npt": 30, "error_model": "poisson", "normalize_by_monitor": True}
    product, result = run(image, {**options, "monitor_reference": 100.0}, monitor=240.0)
    assert_agrees(result, by_pyfai(poni, image, options, normalization_factor=2.4))
    assert product.reduction is not None and product.reduction.monitor_applied


def test_a_frame_without_monitor_reading_fails_and_says_so(poni: Path) -> None:
    with pytest.raises(InbeamError, match="frame 0 has the monitor reading nan: say with `monitor` of the stream"):
        run(rings(), {"poni": poni, "npt": 30, "normalize_by_monitor": True})


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
def test_the_exact_azimuthal_error_is_the_spread_around_the_mean(poni: Path, splitting: str) -> None:
    """sqrt(sum c^2 (signal - norm*mean)^2) / sum c*norm, in float64 over pyFAI's own matrix; see CSR_engine.py."""
    import pyFAI
    from pyFAI.units import to_unit

    image = rings()
    options = {
        "poni": poni,
        "npt": 50,
        "splitting": splitting,
        "error_model": "azimuthal_exact",
        "polarization": 0.95,
    }
    _, result = run(image, options)
    integrator = pyFAI.load(str(poni))
    matrix = integrator.setup_sparse_integrator(
        SHAPE, 50, None, unit=to_unit("q_nm^-1"), split=splitting, algo="CSR", scale=False
    )
    norm = (integrator.polarization(SHAPE, 0.95) * integrator.solidAngleArray(SHAPE, True)).astype(float).ravel()
    signal = image.astype(float).ravel()[matrix.indices]
    norm = norm[matrix.indices]
    row, share = np.repeat(np.arange(50), np.diff(matrix.indptr)), matrix.data.astype(float)
    total = np.bincount(row, share * norm, 50)
    mean = np.bincount(row, share * signal, 50) / total
    errors = np.sqrt(np.bincount(row, (share * (signal - norm * mean[row])) ** 2, 50)) / total
    np.testing.assert_allclose(result["I"], mean, rtol=1e-6)
    np.testing.assert_allclose(result["I_errors"], errors, rtol=1e-5, atol=1e-6 * mean.max())
    if splitting == "no":
        assert_agrees(result, by_pyfai(poni, image, options, implementation="python"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("splitting", "error_model", "packed"),
    [
        ("no", "poisson", True),
        ("no", "azimuthal_exact", False),
        ("no", "azimuthal", False),
        ("bbox", "poisson", False),
        ("full", "azimuthal", False),
    ],
)
def test_frames_in_pieces_give_the_same_as_in_one(
    poni: Path, tmp_path: Path, splitting: Any, error_model: Any, packed: bool
) -> None:
    np.save(tmp_path / "dark.npy", np.full(SHAPE, 0.5, np.float32))
    work, image = Work(), rings()
    image[5] = 65535
    config = integrate.Config(poni=poni, npt=40, error_model=error_model, splitting=splitting, device="cpu")
    processor = integrate.create(config)
    correct.create(correct.Config(dark=str(tmp_path / "dark.npy"))).start(scan_of(image), work)
    processor.start(scan_of(image), work)
    engine = processor._engine
    assert isinstance(engine, CpuEngine) and engine.packed == packed
    whole = engine.run(image, 1.0)
    pieces = itertools.cycle((1, BLOCK - 1, BLOCK, 3 * BLOCK + 2))
    engine.begin()
    flat, start = image.ravel(), 0
    while start < flat.size:
        stop = start + next(pieces)
        engine.add(flat[start:stop], start)
        start = stop
    for one, other in zip(whole, engine.result(1.0), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("npt", [1, 2, 40])
def test_sums_that_do_not_fit_into_one_word_are_made_otherwise(poni: Path, npt: int) -> None:
    image = np.full(SHAPE, 2**32 - 2, np.uint32)
    image[::2] = 0
    options = {"poni": poni, "npt": npt, "error_model": "poisson", "solid_angle": False}
    _, result = run(image, options)
    assert_agrees(result, by_pyfai(poni, image, options))
    counted = run(rings("uint32"), options)[1]
    assert_agrees(counted, by_pyfai(poni, rings("uint32"), options))


def test_bins_without_a_valid_pixel_hold_the_value_for_empty_ones(poni: Path) -> None:
    image = rings()
    options = {"poni": poni, "npt": 40, "error_model": "poisson"}
    product, _ = run(image, options)
    whole = np.full(SHAPE, 65535, np.uint16)
    whole[:2, :2] = 7
    for empty in (float("nan"), 0.0, -1.0):
        _, result = run(whole, {**options, "empty": empty})
        filled = result["I"] > 6
        assert 0 < filled.sum() < 5
        np.testing.assert_array_equal(result["I"][~filled], np.float32(empty))
        np.testing.assert_array_equal(result["I_errors"][~filled], np.float32(empty))
    assert product.constants["count"].sum() == image.size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (
            {"radial_range": (100.0, 200.0)},
            r"integrate.radial_range: .*100 and 200 q_A\^-1; those .* lie between 0\.\d+ and",
        ),
        (
            {"radial_range": (2.3, 2.4), "azimuth_range": (170.0, 175.0)},
            "integrate.azimuth_range: .*between 170 and 175",
        ),
        ({"radial_range": (0.001, 0.01)}, "integrate.radial_range"),
        ({"radial_range": (1.0, 1.1), "azimuth_range": (65.0, 70.0)}, "lies both in radial_range and in azimuth_range"),
    ],
)
def test_ranges_that_leave_no_pixel_are_refused_and_say_where_pixels_are(
    poni: Path, limits: dict[str, Any], text: str
) -> None:
    mask = np.zeros(SHAPE, np.uint32)
    mask[:, :60] = 1
    for _ in range(2):  # the second time the matrix comes from the cache
        with pytest.raises(ConfigError, match=text):
            run(
                rings(),
                {"poni": poni, "npt": 20, "unit": "q_A^-1", **limits},
                detector=Detector(pixel_mask={"a": mask}),
            )


def test_a_detector_that_masks_what_correct_leaves_is_refused(tmp_path: Path) -> None:
    """The gaps between the modules of a Pilatus are in pyFAI's detector."""
    import pyFAI.detectors

    path = tmp_path / "pilatus.poni"
    lines = [line for line in PONI.splitlines() if not line.startswith("Detector")]
    path.write_text("\n".join(["Detector: Pilatus300k", "Detector_config: {}", *lines]))
    gaps = np.asarray(pyFAI.detectors.Pilatus300k().mask) != 0
    only_gaps = Detector(pixel_mask={"a": (~gaps).astype(np.uint32)})
    with pytest.raises(ConfigError, match="the detector Pilatus 300k in the geometry no pixel is left"):
        run(rings(shape=gaps.shape), {"poni": path, "npt": 20}, detector=only_gaps)


@pytest.mark.slow
def test_the_geometry_can_come_from_the_header_alone(tmp_path: Path) -> None:
    image = rings()
    header = Detector(
        pixel_size_x_m=75e-6,
        pixel_size_y_m=100e-6,
        beam_center_x_px=60.5,
        beam_center_y_px=55.25,
        distance_m=0.08,
        energy_ev=12398.419843320026,
    )
    poni = tmp_path / "same.poni"
    poni.write_text(
        'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": 1e-4, "pixel2": 7.5e-5}\n'
        f"Distance: 0.08\nPoni1: {55.25 * 100e-6}\nPoni2: {60.5 * 75e-6}\nRot1: 0\nRot2: 0\nRot3: 0\n"
        "Wavelength: 1e-10\n"
    )
    options = {"npt": 50, "unit": "q_A^-1", "error_model": "poisson", "splitting": "bbox"}
    product, result = run(image, options, detector=header)
    assert_agrees(result, by_pyfai(poni, image, options))
    assert product.parameters["geometry_from"]["distance"] == "header"
    other, _ = run(image, {**options, "distance_m": 0.09, "beam_center_px": (50, 40)}, detector=header)
    assert other.parameters["geometry_from"]["distance"] == "configuration"
    assert other.axes[0].values[-1] != product.axes[0].values[-1]


def test_everything_that_is_missing_of_the_geometry_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        run(rings(), {"npt": 50}, detector=Detector(distance_m=0.1))
    assert [path for path, _ in caught.value.problems] == ["integrate.pixel_size_m", "integrate.beam_center_px"]


def test_a_q_unit_without_wavelength_is_refused_but_2theta_is_not(tmp_path: Path) -> None:
    poni = tmp_path / "no_wavelength.poni"
    poni.write_text("\n".join(line for line in PONI.splitlines() if "Wavelength" not in line))
    with pytest.raises(ConfigError, match="has the wavelength that q_nm"):
        run(rings(), {"poni": poni, "npt": 50})
    run(rings(), {"poni": poni, "npt": 50, "unit": "2th_deg"})
    product, _ = run(rings(), {"poni": poni, "npt": 50}, detector=Detector(wavelength_angstrom=0.7))
    assert product.parameters["geometry_from"]["wavelength"] == "header"


def test_a_poni_for_another_detector_names_both_shapes(tmp_path: Path) -> None:
    poni = tmp_path / "other.poni"
    poni.write_text(PONI.replace("[131, 149]", "[100, 149]"))
    with pytest.raises(ConfigError, match=r"\(100, 149\).*\(131, 149\)"):
        run(rings(), {"poni": poni, "npt": 50})


def test_the_gaps_that_pyfai_knows_of_a_detector_are_masked_too(tmp_path: Path) -> None:
    poni = tmp_path / "pilatus.poni"
    poni.write_text(
        "poni_version: 2\nDetector: Pilatus300k\nDetector_config: {}\nDistance: 0.1\nPoni1: 0.05\nPoni2: 0.04\n"
        "Rot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"
    )
    image = rings("int32", shape=(619, 487))
    options = {"poni": poni, "npt": 200, "error_model": "poisson"}
    _, result = run(image, options)
    assert_agrees(result, by_pyfai(poni, image, options))
    image[195:212] = 10**6  # a gap of this detector
    np.testing.assert_array_equal(run(image, options)[1]["I"], result["I"])


def test_a_frame_of_another_type_than_its_scan_fails_with_both_named(poni: Path) -> None:
    work, processor = Work(), integrate.create(integrate.Config(poni=poni, npt=30))
    processor.start(scan_of(rings()), work)
    work.take(frame_of(rings("uint32")))
    with pytest.raises(ValueError, match=r"uint32 .* uint16"):
        processor.process(work)


@pytest.mark.slow
def test_the_channel_picks_one_threshold(poni: Path) -> None:
    low, high = rings(seed=1), rings(seed=2)
    masks = {"threshold_1": np.zeros(SHAPE, np.uint32), "threshold_2": bad_pixels().astype(np.uint32)}
    scan = scan_of(low, Detector(pixel_mask=masks), ("threshold_1", "threshold_2"))
    options = {"npt": 40, "error_model": "poisson"}
    work = Work()
    second = integrate.create(integrate.Config(poni=poni, channel="threshold_2", **options))
    first = integrate.create(integrate.Config(poni=poni, name="first", **options))
    for processor in (first, second):
        processor.start(scan, work)
    work.take(frame_of(low, high))
    for processor in (first, second):
        processor.process(work)
    assert_agrees(work.results["integrate"], by_pyfai(poni, high, options, mask=bad_pixels()))
    assert_agrees(work.results["first"], by_pyfai(poni, low, options))
    with pytest.raises(ConfigError, match="no channel 'threshold_3', only threshold_1, threshold_2"):
        integrate.create(integrate.Config(poni=poni, channel="threshold_3")).start(scan, Work())


def test_the_product_declares_what_the_frames_then_bring(poni: Path) -> None:
    product, result = run(rings(), {"poni": poni, "npt": 30, "npt_azimuthal": 4, "error_model": "poisson"})
    assert product.reduction is not None and product.reduction.definition == "NXazint2d" and product.signal == "I"
    assert {field.name: (field.shape, field.dtype) for field in product.fields} == {
        name: (array.shape, array.dtype) for name, array in result.items()
    }
    for axis, size in zip(product.axes, (4, 30), strict=True):
        assert axis.values.shape == (size,) and axis.edges is not None and axis.edges.shape == (size + 1,)
        np.testing.assert_allclose((axis.edges[1:] + axis.edges[:-1]) / 2, axis.values, atol=1e-9)
    assert product.parameters["poni"] == PONI
    json.dumps(product.parameters)


def test_results_of_one_frame_survive_the_next(poni: Path) -> None:
    work, processor = Work(), integrate.create(integrate.Config(poni=poni, npt=30))
    processor.start(scan_of(rings()), work)
    work.take(frame_of(rings(seed=1)))
    processor.process(work)
    first = work.results["integrate"]["I"]
    before = first.copy()
    work.take(frame_of(rings(seed=2)))
    processor.process(work)
    np.testing.assert_array_equal(first, before)
    assert not np.array_equal(work.results["integrate"]["I"], before)
    processor.finish(ScanEnd("uid"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unit": "q_nm"}, "unknown unit 'q_nm'; known: q_nm"),
        ({"radial_range": (3, 1)}, "the smaller first"),
        ({"azimuth_range": (0, float("inf"))}, "the smaller first"),
        ({"azimuth_range": (-10, 351)}, "at most a circle wide"),
        ({"poni": "x.poni", "distance_m": 1.0}, "distance_m beside poni"),
        ({"device": "gpu"}, "device"),
        ({"splitting": "pseudo"}, "splitting"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_start(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        integrate.Config(**options)


# real frames


@pytest.mark.slow
def test_ceo2_on_a_pilatus_is_the_published_pattern(shared: Path) -> None:
    """The .xy beside the frame was made by Dioptas, with pyFAI: bbox, polarization 0.99, rows flipped, no mask."""
    folder = shared / "powder" / "dioptas_ceo2_pilatus1m"
    image = np.ascontiguousarray(fabio.open(folder / "CeO2_Pilatus1M.tif").data[::-1])
    published = np.loadtxt(folder / "CeO2_Pilatus1M.xy")
    options = {
        "poni": folder / "CeO2_Pilatus1M.poni",
        "npt": len(published),
        "unit": "2th_deg",
        "splitting": "bbox",
        "polarization": 0.99,
        "empty": 0.0,
    }
    product, result = run(image, options, {"flag_negative": False})
    np.testing.assert_allclose(product.axes[0].values, published[:, 0], atol=2e-6)
    np.testing.assert_allclose(result["I"], published[:, 1], rtol=2e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize(("error_model", "npt_azimuthal"), [("poisson", None), ("azimuthal", None), ("poisson", 36)])
def test_ceo2_agrees_with_pyfai(shared: Path, splitting: str, error_model: str, npt_azimuthal: int | None) -> None:
    folder = shared / "powder" / "dioptas_ceo2_pilatus1m"
    image = np.ascontiguousarray(fabio.open(folder / "CeO2_Pilatus1M.tif").data[::-1])
    mask = (image < 0).astype(np.uint32)
    options = {
        "poni": folder / "CeO2_Pilatus1M.poni",
        "npt": 800,
        "npt_azimuthal": npt_azimuthal,
        "unit": "q_A^-1",
        "splitting": splitting,
        "error_model": error_model,
        "polarization": 0.99,
    }
    _, result = run(image, options, detector=Detector(pixel_mask={"all": mask}))
    reference = by_pyfai(options["poni"], image, options, mask=mask)
    assert_agrees(result, reference, but=uncertain_in_pyfai(image, mask, options))


@pytest.mark.slow
@pytest.mark.parametrize("error_model", MODELS)
def test_an_eiger2_frame_with_mask_flat_field_and_flags_agrees_with_pyfai(
    shared: Path, tmp_path: Path, error_model: str
) -> None:
    import h5py
    import hdf5plugin  # noqa: F401

    folder = shared / "powder" / "i15_1_eiger2_cdte500k"
    with h5py.File(folder / "i15-1-100245-fastcs_eiger_000001.h5", "r") as file:
        image = file["data"][3]
    with h5py.File(folder / "i15-1-100245-fastcs_eiger_meta.h5", "r") as file:
        mask, flatfield = file["mask"][()].squeeze(), file["flatfield"][()].squeeze().astype(np.float32)
    detector = Detector(
        pixel_size_x_m=75e-6,
        pixel_size_y_m=75e-6,
        beam_center_x_px=-800.0,
        beam_center_y_px=260.0,
        distance_m=0.25,
        wavelength_angstrom=0.161669,
        pixel_mask={"threshold_1": mask.astype(np.uint32)},
        flatfield={"threshold_1": flatfield},
        flatfield_applied=False,
    )
    options = {"npt": 900, "error_model": error_model, "splitting": "bbox", "polarization": 0.95, "unit": "q_A^-1"}
    product, result = run(image, options, detector=detector)
    poni = tmp_path / "header.poni"
    poni.write_text(product.parameters["poni"])
    bad = (mask != 0) | (image == 2**32 - 1)
    with np.errstate(divide="ignore"):
        flat = np.where(flatfield > 0, 1 / flatfield, 0).astype(np.float32)
    reference = by_pyfai(poni, np.where(bad, 0, image), options, mask=bad | (flat == 0), flat=flat)
    assert_agrees(result, reference)


@pytest.mark.slow
@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
def test_a_varex_frame_with_two_masks_agrees_with_pyfai(shared: Path, error_model: str) -> None:
    folder = shared / "powder" / "odftomo_varex_steel"
    image = fabio.open(folder / "frame_123163.cbf").data
    files = tuple(str(folder / name) for name in ("beamstop.edf.gz", "hot_pixels.edf.gz"))
    mask = np.logical_or.reduce([fabio.open(name).data != 0 for name in files])
    options = {
        "poni": folder / "online_lab6_calibration.poni",
        "npt": 1500,
        "unit": "2th_deg",
        "error_model": error_model,
    }
    _, result = run(image, options, {"mask": files, "flag_maximum": False})
    assert_agrees(result, by_pyfai(options["poni"], image, options, mask=mask))


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "full"])
def test_a_float_frame_of_a_flat_panel_agrees_with_pyfai(shared: Path, tmp_path: Path, splitting: str) -> None:
    import pyFAI.integrator.azimuthal as azimuthal

    image = fabio.open(shared / "powder" / "srxplanar_kfe2as2_pe" / "KFe2As2-00838.tif.gz").data[::-1]
    image = np.ascontiguousarray(image[600:1400, 600:1400], np.float32)  # a part: full splitting is slow to prepare
    integrator = azimuthal.AzimuthalIntegrator(wavelength=1.078e-11)
    integrator.setFit2D(1010.19 / 2.7, 369.579, 300.0, tilt=-1.48, tiltPlanRotation=49.715, pixelX=200, pixelY=200)
    integrator.save(str(tmp_path / "fit2d.poni"))
    options = {
        "poni": tmp_path / "fit2d.poni",
        "npt": 700,
        "unit": "2th_deg",
        "splitting": splitting,
        "polarization": 0.95,
        "error_model": "poisson",
    }
    _, result = run(image, options)
    assert_agrees(result, by_pyfai(options["poni"], image, options))


# what is kept on disk

FRESH_PROCESS = """
import sys, time
began = time.perf_counter()
import numpy as np
from pathlib import Path
from processors import integrate
from stream.events import Detector, ScanStart
from stream.work import Work
config = integrate.Config(poni=Path(sys.argv[1]), npt=60, error_model="poisson", device="cpu")
scan = ScanStart("uid", "7", (131, 149), np.dtype("uint16"), ("threshold_1",), None, Detector(), 0.0)
integrate.create(config).start(scan, Work())
print(time.perf_counter() - began, "pyFAI" in sys.modules)
"""


@pytest.mark.slow
def test_a_restarted_process_needs_neither_pyfai_nor_a_compiler(poni: Path, kept: Path) -> None:
    def start() -> tuple[float, str]:
        answer = subprocess.run(
            [sys.executable, "-c", FRESH_PROCESS, str(poni)],
            env={**os.environ, "INBEAM_CACHE": str(kept)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.split()
        return float(answer[0]), answer[1]

    start()
    seconds, imported = start()
    assert imported == "False"
    assert seconds < 10, "2 s are promised; the machine of the tests may be busy"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "own cache"
    monkeypatch.setenv("INBEAM_CACHE", str(folder))
    yield folder


@pytest.mark.slow
def test_a_damaged_cache_is_made_anew(poni: Path, own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"poni": poni, "npt": 30}
    caplog.set_level(logging.INFO, logger="inbeam")
    _, good = run(rings(), options)
    assert "preparing the matrix of 131 x 149 pixels and 30 bins" in caplog.text
    (path,) = own_cache.glob("*.arrays")
    intact = path.read_bytes()
    damaged = {
        "flipped": intact[:-100] + bytes([intact[-100] ^ 1]) + intact[-99:],
        "cut": intact[: len(intact) // 2],
        "empty": b"",
        "foreign": b"\x89HDF" + intact,
        "headless": intact[:16] + b"{}\n",
    }
    for how, content in damaged.items():
        path.write_bytes(content)
        caplog.clear()
        _, again = run(rings(), options)
        np.testing.assert_array_equal(again["I"], good["I"], err_msg=how)
        assert "preparing the matrix" in caplog.text, how
        assert path.read_bytes() == intact, how
    caplog.clear()
    run(rings(), options)
    assert "preparing" not in caplog.text


def test_workers_that_start_together_prepare_the_matrix_once(
    poni: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="inbeam")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(rings(), {"poni": poni, "npt": 33})[1]["I"], range(4)))
    assert sum("preparing the matrix" in message for message in caplog.messages) == 1
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_without_a_cache_folder_it_works_and_warns(
    poni: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "a file" / "below"))
    run(rings(), {"poni": poni, "npt": 31})
    assert "set INBEAM_CACHE to a folder that can be written" in caplog.text


@pytest.mark.slow
def test_the_key_changes_with_geometry_mask_and_settings(poni: Path, tmp_path: Path, own_cache: Path) -> None:
    commented = tmp_path / "commented.poni"
    commented.write_text("# the same\n\n" + PONI)
    run(rings(), {"poni": poni, "npt": 30})
    run(rings(), {"poni": commented, "npt": 30})
    assert len(list(own_cache.glob("*.arrays"))) == 1
    for change in ({"npt": 31}, {"solid_angle": False}, {"polarization": 0.5}, {"radial_range": (1, 9)}):
        run(rings(), {"poni": poni, "npt": 30, **change})
    run(rings(), {"poni": poni, "npt": 30}, detector=Detector(pixel_mask={"a": bad_pixels().astype(np.uint32)}))
    assert len(list(own_cache.glob("*.arrays"))) == 6


def test_the_cache_makes_room_by_dropping_the_oldest(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 25_000)
    for number in range(5):
        path = own_cache / f"{number}.arrays"
        cache.store(path, {"a": np.arange(1000.0) + number})
        os.utime(path, (number, number))
    assert sorted(path.name for path in own_cache.iterdir()) == ["2.arrays", "3.arrays", "4.arrays"]
    kept_arrays = cache.load(own_cache / "4.arrays")
    assert kept_arrays is not None and kept_arrays["a"][-1] == 1003


@pytest.mark.parametrize("empty", [float("nan"), 0.0])
def test_a_frame_without_a_valid_pixel_fails_and_says_so(poni: Path, empty: float) -> None:
    """It gave a pattern of NaN, and exit code 0."""
    flagged = np.full(SHAPE, np.iinfo(np.uint16).max, np.uint16)
    with pytest.raises(ValueError, match="frame 0 has no valid pixel in the range: all are masked, or flagged"):
        run(flagged, {"poni": poni, "npt": 30, "empty": empty})
    dark = np.zeros(SHAPE, np.uint16)  # nothing counted is a pattern
    _, result = run(dark, {"poni": poni, "npt": 30, "empty": empty})
    assert (result["I"][np.isfinite(result["I"])] == 0).all()
