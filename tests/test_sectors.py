"""Azimuthal sectors, wherever they begin: judged pixel by pixel, and by pyFAI on a detector turned away from its jump.

pyFAI's azimuth jumps at 180 degrees. On this detector, tilted and turned, pyFAI 2026.9 does not recognise the pixels
across the jump, and lets them into every sector.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_frames import SHAPE, by_pyfai, rings, run

TILTED = """poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.0002, "pixel2": 0.0001, "max_shape": [131, 149], "orientation": ORIENTATION}
Distance: 0.05
Poni1: -0.012553
Poni2: -0.027167
Rot1: -0.6
Rot2: 0.4
Rot3: ROT3
Wavelength: 7e-11
"""
SECTORS = [
    (-180.0, -150.0),
    (-30.0, 20.0),
    (60.0, 150.0),
    (150.0, 180.0),
    (170.0, 190.0),
    (180.0, 270.0),
    (-200.0, -160.0),
    (-30.0, 200.0),
    (200.0, 530.0),
    (355.0, 365.0),
]
CIRCLES = [(-180.0, 180.0), (0.0, 360.0), (90.0, 450.0), (-360.0, 0.0), (17.0, 377.0)]
SPLITTINGS = ["no", "bbox", "full"]


def geometry(folder: Path, orientation: int = 3, turned: float = 0.0) -> Path:
    """The tilted detector, turned around the beam by so many degrees more."""
    path = folder / f"tilted_{orientation}_{turned}.poni"
    path.write_text(
        TILTED.replace("ORIENTATION", str(orientation)).replace("ROT3", str(1.0 + float(np.radians(turned))))
    )
    return path


def load(path: Path) -> Any:
    import pyFAI

    return pyFAI.load(str(path))


def centres(integrator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth, degrees, and radius, mm, of the pixel centres."""
    chi = np.degrees(integrator.center_array(SHAPE, "chi_rad", scale=False))
    return chi, integrator.center_array(SHAPE, "r_mm")


def apart(chi: np.ndarray, middle: float) -> np.ndarray:
    """How far azimuths are from `middle`, degrees, 0 ... 180."""
    return np.abs((chi - middle + 180) % 360 - 180)


def touching(integrator: Any, splitting: str, sector: tuple[float, float]) -> np.ndarray:
    """bool (rows, columns), pixel by pixel: does it reach into the sector? Angles are taken from the pixel's own
    centre, where nothing jumps."""
    _, y, x = integrator.calc_pos_zyx(corners=False, d1=None, d2=None)
    centre = (x + 1j * y).reshape(SHAPE)
    low = high = np.zeros(SHAPE)
    if splitting != "no":
        chi = integrator.corner_array(SHAPE, "r_mm", scale=False)[..., 1].astype(float)
        beside = np.angle(np.exp(1j * chi) / (centre / np.abs(centre))[..., np.newaxis], deg=True)
        low, high = beside.min(-1), beside.max(-1)
        if splitting == "bbox":
            high = np.abs(beside).max(-1)
            low = -high
    middle, half = (sector[0] + sector[1]) / 2, (sector[1] - sector[0]) / 2
    place = np.angle(centre / np.abs(centre) * np.exp(-1j * np.radians(middle)), deg=True)
    found = np.zeros(SHAPE, bool)
    for turn in (-360, 0, 360):
        found |= (place + turn + low <= half) & (place + turn + high >= -half)
    if splitting == "full":
        found.flat[np.abs(centre).argmin()] = True  # the beam is in it: it reaches into all directions
    return found


@pytest.mark.slow
@pytest.mark.parametrize("npt_azimuthal", [None, 5])
@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("orientation", [pytest.param(each, marks=pytest.mark.slow) for each in (1, 2, 4)] + [3])
def test_nothing_of_elsewhere_leaks_into_a_sector(
    tmp_path: Path, orientation: int, splitting: str, npt_azimuthal: int | None
) -> None:
    """1000 further than 40 degrees from the sector, 0 in it and around: 0 is right, everywhere."""
    path = geometry(tmp_path, orientation)
    chi, radius = centres(load(path))
    for low, high in ((-180.0, -150.0), (60.0, 150.0), (170.0, 190.0), (-30.0, 200.0), (355.0, 365.0)):
        inside = apart(chi, (low + high) / 2) <= (high - low) / 2 + 40
        image = np.where(inside | (radius < 1), 0, 1000).astype(np.uint16)
        options = {"poni": path, "npt": 12, "unit": "r_mm", "splitting": splitting, "radial_range": (1.5, 6.0)}
        _, result = run(image, {**options, "azimuth_range": (low, high), "npt_azimuthal": npt_azimuthal})
        assert np.isfinite(result["I"]).any()
        assert np.nanmax(result["I"]) == 0, (low, high)


@pytest.mark.slow
@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("sector", [*SECTORS, *CIRCLES])
def test_a_sector_holds_exactly_the_pixels_that_reach_into_it(
    tmp_path: Path, sector: tuple[float, float], splitting: str
) -> None:
    path = geometry(tmp_path)
    inside = touching(load(path), splitting, sector)
    options = {"poni": path, "npt": 25, "unit": "r_mm", "splitting": splitting, "solid_angle": False}
    image = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.uint16)
    product, result = run(image, {**options, "azimuth_range": sector})
    whole, sums = run(np.where(inside, image, 0).astype(np.uint16), options)
    _, shares = run(inside.astype(np.uint16), options)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = sums["I"] / shares["I"]
    np.testing.assert_array_equal(product.axes[0].values, whole.axes[0].values)
    np.testing.assert_allclose(result["I"], expected, rtol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("circle", CIRCLES)
def test_a_whole_circle_is_the_same_wherever_it_begins(
    tmp_path: Path, circle: tuple[float, float], splitting: str
) -> None:
    path, image = geometry(tmp_path), rings()
    options = {"poni": path, "npt": 25, "unit": "r_mm", "splitting": splitting, "error_model": "poisson"}
    _, everything = run(image, options)
    _, result = run(image, {**options, "azimuth_range": circle})
    for field in everything:
        np.testing.assert_array_equal(result[field], everything[field])
    product, _ = run(image, {**options, "azimuth_range": circle, "npt_azimuthal": 36})
    assert product.constants["count"].sum() == pytest.approx(image.size, rel=1e-6), "every pixel is kept"
    edges = product.axes[0].edges
    assert edges is not None
    np.testing.assert_allclose((edges[0], edges[-1]), circle, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sector", SECTORS)
def test_a_cake_without_splitting_counts_every_pixel_where_it_lies(tmp_path: Path, sector: tuple[float, float]) -> None:
    path = geometry(tmp_path)
    chi, radius = centres(load(path))
    low, high = sector
    image = np.random.default_rng(4).integers(0, 900, SHAPE).astype(np.uint16)
    options = {"poni": path, "npt": 4, "npt_azimuthal": 5, "unit": "r_mm", "radial_range": (0, 16.0)}
    product, result = run(image, {**options, "azimuth_range": sector, "solid_angle": False})
    place = (chi - low) % 360
    inside = (place <= high - low) & (radius < 16)
    at = (np.minimum(place / (high - low) * 5, 4).astype(int) * 4 + (radius / 4).astype(int))[inside]
    with np.errstate(invalid="ignore"):
        expected = np.bincount(at, image[inside], 20) / np.bincount(at, minlength=20)
    np.testing.assert_allclose(result["I"].ravel(), expected, rtol=1e-6)
    np.testing.assert_allclose(product.axes[0].values, low + (high - low) * (np.arange(5) + 0.5) / 5, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("npt_azimuthal", [None, 5])
@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("sector", SECTORS[2::2])
def test_a_sector_is_what_pyfai_gives_on_a_detector_turned_away_from_its_jump(
    tmp_path: Path, sector: tuple[float, float], splitting: str, npt_azimuthal: int | None
) -> None:
    """Turned around the beam by rot3 so that the sector lies around 0, or 90 degrees. In full splitting pyFAI 2026.9 is
    wrong for pixels across 0 (it takes some for pixels across the jump) and for the first one (see `rows._full_cake`):
    bins that they touch are left out. In two dimensions it counts pixels below the sector into its first bins: what is
    not of the sector is masked."""
    middle, half = (sector[0] + sector[1]) / 2, (sector[1] - sector[0]) / 2
    put = 90.0 if splitting == "full" and half < 80 else 0.0
    away = load(geometry(tmp_path, turned=middle - put))
    mask = ~touching(away, splitting, (put - half, put + half))
    odd = touching(away, splitting, (0, 0)) | touching(away, splitting, (180, 180)) | (centres(away)[1] < 0.4)
    odd.flat[np.flatnonzero(~mask)[0]] = True
    options = {
        "npt": 20,
        "npt_azimuthal": npt_azimuthal,
        "unit": "r_mm",
        "splitting": splitting,
        "radial_range": (0.0, 14.0),
        "error_model": "poisson",
    }
    asked = {**options, "poni": geometry(tmp_path), "azimuth_range": sector}
    _, result = run(rings(), asked)
    touched = np.zeros(result["I"].shape, bool)
    if splitting == "full":
        touched = run(odd.astype(np.uint16), {**asked, "solid_angle": False})[1]["I"] > 0
    asked = {**options, "azimuth_range": (put - half, put + half)}
    reference = by_pyfai(geometry(tmp_path, turned=middle - put), rings(), asked, mask=mask)
    compared = (np.asarray(reference.sum_normalization) > 1e-3) & ~touched
    wide = splitting == "full" and not put  # pixels across 0 are then many, and of every radius
    assert compared.sum() > (0.05 if wide else 0.6) * np.isfinite(result["I"]).sum()
    np.testing.assert_allclose(result["I"][compared], reference.intensity[compared], rtol=2e-4)
    np.testing.assert_allclose(result["I_errors"][compared], reference.sigma[compared], rtol=2e-4)
