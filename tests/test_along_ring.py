"""I(chi): the intensity along a ring, against pyFAI's integrate1d(unit="chi_deg") and integrate_radial."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from integration_frames import PONI, SHAPE, bad_pixels, by_pyfai, frame_of, rings, run, scan_of
from pydantic import ValidationError

from processors import integrate
from sinks import hdf5
from stream.commands.main import main
from stream.errors import ConfigError
from stream.events import Detector, ScanEnd
from stream.work import Work


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    path = tmp_path / "tilted.poni"
    path.write_text(PONI)
    return path


def along_ring(poni: Path, image: np.ndarray, npt: int, mask: np.ndarray | None = None, **settings: Any) -> Any:
    """pyFAI's integrate_radial; with all radii in one bin, of which it makes the same as of many."""
    import pyFAI

    settings["method"] = (settings.pop("splitting", "no"), "csr", "cython")
    settings["mask"] = None if mask is None else mask.astype(np.int8)
    with np.errstate(all="ignore"):
        return pyFAI.load(str(poni)).integrate_radial(image, npt, 1, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["chi_deg", "chi_rad"])
@pytest.mark.parametrize("error_model", ["none", "poisson"])
def test_without_splitting_it_is_integrate1d_over_chi(poni: Path, unit: str, error_model: str) -> None:
    image, mask = rings(), bad_pixels()
    header = Detector(pixel_mask={"a": mask.astype(np.uint32)})
    options = {"poni": poni, "npt": 70, "unit": unit, "error_model": error_model, "polarization": 0.9}
    product, result = run(image, options, detector=header)
    reference = by_pyfai(poni, image, options, mask=mask)
    np.testing.assert_allclose(product.axes[0].values, reference.radial, rtol=1e-12)
    np.testing.assert_allclose(result["I"], reference.intensity, rtol=1e-6)
    if error_model == "poisson":
        np.testing.assert_allclose(result["I_errors"], reference.sigma, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
def test_with_splitting_it_is_integrate_radial(poni: Path, tmp_path: Path, splitting: str) -> None:
    """pyFAI's integrate1d over chi splits pixels beyond 180 degrees: its axis reaches to 276 here."""
    rng = np.random.default_rng(5)
    image, dark, flat = rings(), rng.uniform(0, 3, SHAPE), rng.uniform(0.7, 1.3, SHAPE)
    for name, array in (("dark", dark), ("flat", flat)):
        np.save(tmp_path / f"{name}.npy", array.astype(np.float32))
    files = {name: str(tmp_path / f"{name}.npy") for name in ("dark", "flat")}
    product, result = run(image, {"poni": poni, "npt": 45, "unit": "chi_deg", "splitting": splitting}, files)
    kept = {"dark": dark.astype(np.float32), "flat": flat.astype(np.float32)}
    reference = along_ring(poni, image, 45, splitting=splitting, **kept)
    np.testing.assert_allclose(product.axes[0].values, reference.radial, rtol=1e-12)
    np.testing.assert_allclose(result["I"], reference.intensity, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sector", [None, (-40.0, 100.0), (320.0, 430.0)])
@pytest.mark.parametrize("splitting", ["no", "bbox"])
def test_only_the_ring_that_is_asked_for_counts(poni: Path, splitting: str, sector: tuple[float, float] | None) -> None:
    """All around the ring is 1000 higher: pyFAI counts pixels below it in, unless they are masked."""
    import pyFAI

    integrator = pyFAI.load(str(poni))
    radius = integrator.center_array(SHAPE, "r_mm")
    width = 0 if splitting == "no" else integrator.delta_array(SHAPE, "r_mm", scale=True)
    outside = (radius + width < 5) | (radius - width > 6.5)
    image = (rings() + 1000 * outside).astype(np.uint16)
    options = {"poni": poni, "npt": 20, "unit": "chi_deg", "splitting": splitting, "solid_angle": False}
    ring = {"radial_unit": "r_mm", "radial_range": (5, 6.5), "azimuth_range": sector}
    product, result = run(image, {**options, **ring})
    assert np.nanmax(result["I"]) < 200
    if sector is None:
        reference = along_ring(
            poni, image, 20, mask=outside, splitting=splitting, correctSolidAngle=False,
            radial_unit="r_mm", radial_range=(5, 6.5), azimuth_range=(-180, 180),
        )  # fmt: skip
        product, result = run(image, {**options, **ring, "azimuth_range": (-180, 180)})
        filled = reference.count > 0
        np.testing.assert_allclose(result["I"][filled], reference.intensity[filled], rtol=1e-5)
    else:
        edges = product.axes[0].edges
        assert edges is not None
        np.testing.assert_allclose((edges[0], edges[-1]), sector, atol=1e-3)


def test_it_needs_a_wavelength_only_for_a_ring_in_q(tmp_path: Path) -> None:
    path = tmp_path / "blind.poni"
    path.write_text("\n".join(line for line in PONI.splitlines() if not line.startswith("Wavelength")))
    options = {"poni": path, "npt": 20, "unit": "chi_deg"}
    assert np.isfinite(run(rings(), options)[1]["I"]).any()
    assert np.isfinite(run(rings(), {**options, "radial_unit": "2th_deg", "radial_range": (2, 9)})[1]["I"]).any()
    with pytest.raises(ConfigError, match="the wavelength that q_A"):
        run(rings(), {**options, "radial_unit": "q_A^-1", "radial_range": (0.5, 2)})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unit": "chi_deg", "npt_azimuthal": 4}, "a cake has a radial unit"),
        ({"unit": "q_A^-1", "radial_unit": "r_mm"}, "leave radial_unit out"),
        ({"unit": "chi_deg", "radial_unit": "chi_rad"}, "unknown unit 'chi_rad'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        integrate.Config(**options)


@pytest.mark.parametrize(("unit", "symbol"), [("chi_deg", "degrees"), ("chi_rad", "rad")])
def test_the_file_calls_the_axis_azimuthal_and_claims_no_definition(
    poni: Path, tmp_path: Path, unit: str, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, work = rings(), Work()
    scan = replace(scan_of(image), expected=1)
    processor = integrate.create(integrate.Config(poni=poni, npt=24, unit=unit))
    products = processor.start(scan, work)
    sink = hdf5.create(hdf5.Config(path=str(tmp_path / "rings.h5")))
    sink.start(scan, products)
    frame = frame_of(image)
    work.take(frame)
    processor.process(work)
    sink.write(replace(frame, results=work.results))
    sink.finish(ScanEnd("uid", announced=1))
    sink.close()
    with h5py.File(tmp_path / "rings.h5") as file:
        data = file["entry/data"]
        assert list(data.attrs["axes"]) == [".", "azimuthal_axis"] and data["I"].shape == (1, 24)
        assert data["azimuthal_axis"].attrs["units"] == symbol
        assert "azimuthal" in data["azimuthal_axis"].attrs["long_name"]
        assert "radial_axis" not in data and "definition" not in file["entry"]
        expected = data["azimuthal_axis"][()]
    monkeypatch.chdir(tmp_path)
    assert main(["export", "rings.h5"]) == 0
    (written,) = tmp_path.glob("*.xy")
    columns = np.loadtxt(written)
    assert unit in written.read_text()
    np.testing.assert_allclose(columns[:, 0], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
def test_a_ring_of_ceo2_agrees_with_pyfai(shared: Path, splitting: str) -> None:
    folder = shared / "powder" / "dioptas_ceo2_pilatus1m"
    poni = folder / "CeO2_Pilatus1M.poni"
    image = np.ascontiguousarray(fabio.open(folder / "CeO2_Pilatus1M.tif").data[::-1])
    mask = image < 0
    options = {"poni": poni, "npt": 90, "unit": "chi_deg", "splitting": splitting, "polarization": 0.99}
    ring = {"radial_unit": "2th_deg", "radial_range": (7.2, 7.8), "azimuth_range": (-180, 180)}
    _, result = run(image, {**options, **ring}, detector=Detector(pixel_mask={"a": mask.astype(np.uint32)}))
    import pyFAI

    integrator = pyFAI.load(str(poni))
    radius = integrator.center_array(image.shape, "2th_deg")
    width = 0 if splitting == "no" else integrator.delta_array(image.shape, "2th_deg", scale=True)
    below = radius + width < 7.2
    reference = along_ring(poni, image, 90, mask=mask | below, splitting=splitting, polarization_factor=0.99, **ring)
    filled = reference.count > 1
    assert filled.sum() > 40
    np.testing.assert_allclose(result["I"][filled], reference.intensity[filled], rtol=2e-4)
