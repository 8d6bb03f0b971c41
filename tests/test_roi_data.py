"""Regions on what detectors recorded: against NumPy, SciPy, and numbers that were found by others."""

import bz2
import csv
import io
from pathlib import Path

import fabio
import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from measured_regions import box, measured
from scipy import ndimage

from processors import roi
from stream import Context, Detector, Encoding, Frame, Payload, ScanEnd, ScanStart, Work
from stream.events import Array


def test_sums_and_centre_of_mass_of_a_recorded_eiger_are_those_that_are_known(shared: Path) -> None:
    """Diamond I15-1, scan 100245: rows 100:200, columns 300:500."""
    path = shared / "powder/i15_1_eiger2_cdte500k/i15-1-100245-fastcs_eiger_000001.h5"
    with h5py.File(path, "r") as file:
        frames = file["data"][:6]
    found = [measured(frame, {"a": box((300, 500), (100, 200))}) for frame in frames]
    assert [each["sum"][0] for each in found[:3]] == [818194, 816556, 817929] and found[5]["sum"][0] == 657133
    assert {int(each["pixels"][0]) for each in found} == {20000}
    assert (found[0]["com_y"][0], found[0]["com_x"][0]) == pytest.approx((149.6748, 402.3718), abs=5e-5)
    assert found[0]["sum_errors"][0] == pytest.approx(np.sqrt(818194), rel=1e-12)


def test_sums_and_positions_of_caked_patterns_are_those_that_are_known(shared: Path) -> None:
    """Diamond I12, xrdfit's example: 36 cakes, 2theta in [3.16, 3.28]."""
    sums, positions = [], []
    for path in sorted((shared / "insitu_growth/xrdfit_i12_ti").glob("adc*.dat")):
        table = np.loadtxt(path)
        angle, image = table[:, 0], np.ascontiguousarray(table[:, 1:].T, np.float64)
        inside = np.flatnonzero((angle >= 3.16) & (angle <= 3.28))
        found = measured(image, {"a": box((inside[0], inside[-1] + 1), (0, 36))})
        sums.append(found["sum"][0])
        positions.append(np.interp(found["com_x"][0], np.arange(len(angle)), angle))
    assert len(sums) == 10
    assert (round(min(sums)), round(max(sums))) == (47016, 47130)
    assert (min(positions), max(positions)) == pytest.approx((3.22909, 3.22914), abs=6e-6)


def thaumatin(shared: Path, number: int) -> Array:
    packed = (shared / f"single_crystal/thaumatin_grid/thau_3_2_{number:04d}.cbf.bz2").read_bytes()
    image = fabio.cbfimage.CbfImage()
    return np.asarray(image.read(io.BytesIO(bz2.decompress(packed))).data)


@pytest.mark.parametrize("number", [1, 13, 19])
def test_a_diffraction_image_gives_what_numpy_and_scipy_do(shared: Path, number: int) -> None:
    """A PILATUS: flagged pixels are negative, gaps lie in the regions."""
    image = thaumatin(shared, number)
    rows, columns = image.shape
    y, x = np.mgrid[:rows, :columns] + 0.5
    radius = np.hypot(x - columns / 2, y - rows / 2)
    regions = {
        "box": box((0, columns), (100, 300)),
        "ring": {"kind": "ring", "center": [columns / 2, rows / 2], "radius": [200, 300]},
    }
    found = measured(image, regions)
    for place, inside in enumerate(((y > 100) & (y < 300), (radius >= 200) & (radius < 300))):
        good = inside & (image >= 0)
        assert found["pixels"][place] == good.sum() and found["masked"][place] == (inside & ~good).sum() > 0
        assert found["sum"][place] == image[good].sum() and found["max"][place] == image[good].max()
    wanted = ndimage.center_of_mass(np.where((y > 100) & (y < 300) & (image >= 0), image, 0))
    assert (found["com_y"][0], found["com_x"][0]) == pytest.approx(wanted, rel=1e-9)


def test_a_ring_in_q_has_the_pixels_that_pyfai_puts_there(shared: Path, tmp_path: Path) -> None:
    import pyFAI
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    made = AzimuthalIntegrator(dist=0.2, poni1=0.1, poni2=0.05, detector="Pilatus100k", wavelength=1e-10)
    path = tmp_path / "tilted.poni"
    made.rot1, made.rot2 = 0.2, -0.1
    made.save(str(path))
    image = np.random.default_rng(1).poisson(9, (195, 487)).astype("u4")
    q = pyFAI.load(str(path)).center_array(image.shape, unit="q_nm^-1", scale=True)
    chi = pyFAI.load(str(path)).center_array(image.shape, unit="chi_deg", scale=True)
    low, high = np.percentile(q, (30, 50))
    first, last = np.percentile(chi[(q >= low) & (q < high)], (20, 70))
    ring = {"kind": "ring", "radius": [low, high], "unit": "q_nm^-1"}
    regions = {"ring": ring, "sector": {**ring, "kind": "sector", "azimuth": [first, last]}}
    found = measured(image, regions, poni=path)
    inside = (q >= low) & (q < high)
    within = inside & (np.mod(chi - first, 360) < last - first)
    assert found["counts"][:2].tolist() == [image[inside].sum(), image[within].sum()]
    weight = image[inside].astype(float)
    assert found["com_x"][0] == pytest.approx((q[inside] * weight).sum() / weight.sum(), rel=1e-6)


def test_frames_without_a_monitor_in_a_recorded_growth_are_nan_and_counted(shared: Path) -> None:
    """0800time3: the monitor is 0 in 26 of 2462 frames, where the original had infinite intensities."""
    with (shared / "insitu_growth/spring8_bl11xu_inas/InAs0800time3data_frame.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["Int_WZ"] == "inf" for row in rows) == 26
    told: list[str] = []
    made = roi.create(
        roi.Config(regions={"a": box((0, 4), (0, 4))}, normalize_by="monitor"), Context(trouble=told.append)
    )
    image, work = np.full((4, 4), 3, "u2"), Work()
    made.start(ScanStart("one", "one", (4, 4), image.dtype, ("data",), None, Detector(), 0.0), work)
    sums = []
    for index, row in enumerate(rows):
        payload = Payload(image.tobytes(), Encoding.RAW, (4, 4), image.dtype)
        work.take(Frame("one", index, {"data": payload}, 0.0, readings={"monitor": float(row["Monitor"])}))
        made.process(work)
        sums.append(work.results["roi"]["sum"][0])
    made.finish(ScanEnd("one"))
    assert np.isnan(sums).sum() == 26 and np.isfinite(sums).sum() == 2436
    assert "26 frames of this worker have no usable reading 'monitor' (the first: frame 0)" in told[0]
