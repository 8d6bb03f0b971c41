"""Where the geometry comes from, and the matrix that pyFAI makes of it."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors.integration.matrix import Matrix, edges, matrix_for
from processors.integration.request import Request
from processors.shared import cache
from processors.shared.announce import announce
from processors.shared.geometry import UNITS, Geometry, check_wavelength, files_of, from_header, from_poni
from stream.codec.compiler import kernel
from stream.errors import ConfigError
from stream.events import Detector

SHAPE = (40, 50)
HEADER = Detector(
    pixel_size_x_m=75e-6,
    pixel_size_y_m=172e-6,
    beam_center_x_px=24.5,
    beam_center_y_px=20.25,
    distance_m=0.1,
    wavelength_angstrom=0.9,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))


def test_every_unit_is_one_of_pyfai_and_needs_the_wavelength_that_pyfai_wants() -> None:
    from pyFAI.units import RADIAL_UNITS

    for name, unit in UNITS.items():
        assert name in RADIAL_UNITS
        assert unit.needs_wavelength == ("λ" in str(RADIAL_UNITS[name].formula)), name


def test_the_header_becomes_a_poni_that_pyfai_reads_back(tmp_path: Path) -> None:
    import pyFAI

    path = tmp_path / "header.poni"
    path.write_text(from_header({}, HEADER, SHAPE).poni)
    read = pyFAI.load(str(path))
    assert (read.dist, read.wavelength) == (0.1, pytest.approx(0.9e-10, rel=1e-12))
    assert (read.pixel1, read.pixel2) == (172e-6, 75e-6)
    fit2d = read.getFit2D()
    assert (fit2d["centerX"], fit2d["centerY"]) == (pytest.approx(24.5), pytest.approx(20.25))
    assert tuple(read.detector.shape) == SHAPE


@pytest.mark.parametrize(
    ("option", "value", "key", "expected"),
    [
        ("distance_m", 0.25, "Distance", 0.25),
        ("wavelength_angstrom", 1.5, "Wavelength", 1.5e-10),
        ("beam_center_px", (10.0, 4.0), "Poni1", 4.0 * 172e-6),
        ("beam_center_px", (10.0, 4.0), "Poni2", 10.0 * 75e-6),
        ("pixel_size_m", (1e-4, 2e-4), "Poni2", 24.5 * 2e-4),
    ],
)
def test_the_configuration_overrides_the_header(option: str, value: Any, key: str, expected: float) -> None:
    found = from_header({option: value}, HEADER, SHAPE)
    assert found.value(key) == pytest.approx(expected, rel=1e-12)
    assert "configuration" in found.origin.values() and "header" in found.origin.values()


def test_a_beam_beside_the_detector_is_a_geometry_too() -> None:
    detector = Detector(
        pixel_size_x_m=1e-4, pixel_size_y_m=1e-4, distance_m=1.0, beam_center_x_px=-300.0, beam_center_y_px=0.0
    )
    assert from_header({}, detector, SHAPE).value("Poni2") == pytest.approx(-0.03)


def test_the_wavelength_follows_from_the_photon_energy() -> None:
    detector = Detector(
        pixel_size_x_m=1e-4,
        pixel_size_y_m=1e-4,
        distance_m=1.0,
        beam_center_x_px=1.0,
        beam_center_y_px=1.0,
        energy_ev=12398.42,
    )
    assert from_header({}, detector, SHAPE).value("Wavelength") == pytest.approx(1e-10, rel=1e-6)


def test_the_wavelength_that_a_poni_lacks_follows_from_the_photon_energy_too(tmp_path: Path) -> None:
    path = tmp_path / "without.poni"
    path.write_text("Distance: 1\n")
    found = from_poni(path, None, Detector(energy_ev=12398.419843320026))
    assert found.value("Wavelength") == pytest.approx(1e-10, rel=1e-12)
    assert found.origin["wavelength"] == "header"


def test_of_several_calibrations_in_one_poni_the_last_counts(tmp_path: Path) -> None:
    """pyFAI appends to a .poni that is already there, and reads what stands last."""
    import pyFAI

    old, new = (from_header({"wavelength_angstrom": length, "distance_m": length}, HEADER, SHAPE) for length in (1, 2))
    (tmp_path / "old.h5").write_bytes(b"")
    (tmp_path / "new.h5").write_bytes(b"")
    path = tmp_path / "appended.poni"
    path.write_text(old.poni + "# calibrated again\n" + new.poni)
    read, found = pyFAI.load(str(path)), from_poni(path, None, Detector())
    assert (found.value("Distance"), found.value("Wavelength")) == (read.dist, read.wavelength) == (2.0, 2e-10)
    line = 'Detector_config: {{"filename": "{}"}}\n'
    named = Geometry(line.format(tmp_path / "old.h5") + line.format(tmp_path / "new.h5"), {})
    assert list(files_of(named)) == [str(tmp_path / "new.h5")]


def test_comments_and_blank_lines_of_a_poni_do_not_count() -> None:
    assert Geometry("# one\nDistance: 1\n\n", {}).essence == Geometry("Distance: 1\n# two\n", {}).essence


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot read"), ("no geometry here", "is not a .poni file"), (b"\xff\xfe\x00", "cannot read")],
)
def test_what_is_not_a_poni_is_refused_with_its_name(tmp_path: Path, content: Any, text: str) -> None:
    path = tmp_path / "odd.poni"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        from_poni(path, None, Detector())
    assert text in str(caught.value) and str(path) in str(caught.value)


def test_a_detector_file_named_in_the_poni_is_part_of_the_geometry(tmp_path: Path) -> None:
    """A calibrated detector keeps its pixel positions in a file of its own: another file is another matrix."""
    import pyFAI.detectors

    detector = pyFAI.detectors.Detector(1e-4, 1e-4, max_shape=SHAPE)
    file = tmp_path / "detector.h5"
    detector.save(str(file))
    config = json.dumps({"filename": str(file), "orientation": 3})
    poni = f"poni_version: 2.1\nDetector: NexusDetector\nDetector_config: {config}\nDistance: 0.1\nPoni1: 0.002\n"
    poni += "Poni2: 0.0025\nRot1: 0\nRot2: 0\nRot3: 0\n"
    geometry = Geometry(poni, {})
    before = files_of(geometry)
    assert list(before) == [str(file)]
    found = matrix(geometry=geometry)
    assert (found.bins < 20).all()
    file.unlink()
    pyFAI.detectors.Detector(2e-4, 1e-4, max_shape=SHAPE).save(str(file))
    assert files_of(geometry) != before
    assert matrix(geometry=geometry).radial[-1] > found.radial[-1]


def test_the_wavelength_option_replaces_that_of_the_poni(tmp_path: Path) -> None:
    path = tmp_path / "a.poni"
    path.write_text("Distance: 1\nWavelength: 1e-10\n")
    assert from_poni(path, None, HEADER).value("Wavelength") == 1e-10
    replaced = from_poni(path, 0.5, HEADER)
    assert replaced.value("Wavelength") == 5e-11 and replaced.poni.count("avelength") == 1


def test_a_unit_that_needs_a_wavelength_nobody_knows_is_refused() -> None:
    nowhere = Geometry("Distance: 1\n", {})
    check_wavelength(nowhere, "2th_deg")
    with pytest.raises(ConfigError, match=r"integrate\.wavelength_angstrom: neither poni nor header"):
        check_wavelength(nowhere, "q_A^-1")


def matrix(**changes: Any) -> Matrix:
    settings: dict[str, Any] = {"geometry": from_header({}, HEADER, SHAPE), "shape": SHAPE, "unit": "r_mm", "npt": 20}
    return matrix_for(Request(**{**settings, **changes}), np.zeros(SHAPE, bool))


def test_the_shares_of_every_pixel_sum_to_one() -> None:
    for splitting in ("bbox", "full"):
        found = matrix(splitting=splitting)
        pixel = np.repeat(np.arange(40 * 50), np.diff(found.starts))
        shares = np.bincount(pixel, found.coefs, 40 * 50)
        np.testing.assert_allclose(shares[shares > 0], 1, atol=2e-5)
        assert (shares > 0).mean() > 0.99


def test_without_splitting_every_pixel_lies_between_the_edges_of_its_bin() -> None:
    found = matrix()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot((y + 0.5 - 20.25) * 0.172, (x + 0.5 - 24.5) * 0.075).ravel()
    limits = edges(found.radial)
    assert limits is not None and (found.bins < 20).all()
    assert (radius >= limits[found.bins] - 1e-6).all() and (radius <= limits[found.bins + 1] + 1e-6).all()


def test_bins_of_a_cake_are_azimuthal_major() -> None:
    found = matrix(npt_azimuthal=4)
    assert found.n_bins == 80 and len(found.azimuthal) == 4
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    chi = np.degrees(np.arctan2((y + 0.5 - 20.25) * 0.172, (x + 0.5 - 24.5) * 0.075)).ravel()
    limits = edges(found.azimuthal)
    assert limits is not None
    sector = found.bins // 20
    assert (chi >= limits[sector] - 1e-3).all() and (chi <= limits[sector + 1] + 1e-3).all()


def test_the_first_pixel_of_a_cake_lies_where_its_corners_say() -> None:
    """pyFAI 2026.9 itself gets its azimuthal shares from uninitialised memory: see `matrix._full_cake`."""
    found = matrix(npt_azimuthal=360, splitting="full")
    shares, sectors = found.coefs[: found.starts[1]], found.bins[: found.starts[1]] // 20
    assert (shares >= -1e-6).all() and shares.sum() == pytest.approx(1, abs=1e-5)
    chi = [np.degrees(np.arctan2((y - 20.25) * 0.172, (x - 24.5) * 0.075)) for y in (0, 1) for x in (0, 1)]
    limits = edges(found.azimuthal)
    assert limits is not None
    large = sectors[shares > 1e-5]
    assert limits[large.min()] <= min(chi) + 0.02 and limits[large.max() + 1] >= max(chi) - 0.02
    assert limits[large.min() + 1] >= min(chi) - 0.02 and limits[large.max()] <= max(chi) + 0.02


def test_many_bins_take_wider_numbers() -> None:
    assert matrix().bins.dtype == np.uint16
    assert matrix(npt_azimuthal=3500).bins.dtype == np.uint32


def test_a_single_bin_has_no_edges() -> None:
    assert edges(np.array([3.0])) is None


def test_ranges_that_leave_nothing_are_an_answer_not_a_crash() -> None:
    found = matrix(radial_range=(1000.0, 2000.0))
    assert (found.bins == 20).all()


def test_a_kernel_whose_source_cannot_be_cached_is_compiled_all_the_same() -> None:
    scope: dict[str, Any] = {}
    exec(compile("def twice(x):\n    return 2 * x\n", "<nowhere>", "exec"), scope)
    assert kernel(scope["twice"])(21) == 42


def test_compiling_is_announced_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, logger="inbeam")
    announce("the kernels", "variant")
    announce("the kernels", "variant")
    assert caplog.messages == ["compiling the kernels: some seconds, the first time only"]


def test_keys_depend_on_parameters_arrays_and_their_types() -> None:
    ones = np.ones(4, np.uint8)
    keys = {
        cache.key_of({"a": 1}),
        cache.key_of({"a": 2}),
        cache.key_of({"a": 1}, ones),
        cache.key_of({"a": 1}, ones.astype(np.uint16)),
        cache.key_of({"a": 1}, ones.reshape(2, 2)),
    }
    assert len(keys) == 5
    assert cache.key_of({"a": 1, "b": 2}) == cache.key_of(json.loads('{"b": 2, "a": 1}'))
