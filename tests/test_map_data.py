"""Maps of recorded scans: XRD-CT and mapping data, against pyFAI and against numbers found with other programs."""

import gzip
import io
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from patterns import Patterns

from processors import integrate
from processors import map as mapping
from stream import Axis, Encoding, Field, Frame, Payload, Product, ScanEnd, ScanStart, Work
from stream.events import Detector
from stream.testing.gathered import Gathered

pytestmark = pytest.mark.shared


def start(images: np.ndarray, detector: Detector | None = None) -> ScanStart:
    return ScanStart("one", "one", images.shape[1:], images.dtype, ("ch",), None, detector or Detector(), 0.0)


def frame(index: int, image: np.ndarray, **readings: float) -> Frame:
    payload = Payload(np.ascontiguousarray(image).tobytes(), Encoding.RAW, image.shape, image.dtype)
    return Frame("one", index, {"ch": payload}, 0.0, readings=readings)


def gathered(gatherer: Any, processor: Any, scan: ScanStart, frames: Any, count: int) -> Gathered:
    found = Gathered(gatherer, [processor], scan)
    for each in frames:
        found.take(each)
    found.finish(count)
    return found


@pytest.fixture(scope="module")
def mosa(shared: Path) -> Any:
    with gzip.open(shared / "dfxm" / "darling_mosa_scan.h5.gz") as packed, h5py.File(io.BytesIO(packed.read())) as file:
        scan = file["1.1"]
        title = scan["title"].asstr()[()]
        images, chi = scan["instrument/pco_ff/image"][()], scan["instrument/chi/value"][()]
        return title, images, chi, scan["instrument/diffrz/data"][()]


@pytest.mark.parametrize("by", ["number", "readings"])
def test_a_mosaicity_scan_lands_where_darling_has_it(mosa: Any, by: str) -> None:
    """The grid is read from the scan's command; the motors jitter: 43 steps of diffrz are 549 different values."""
    title, images, chi, diffrz = mosa
    scan = start(images, Detector(metadata={"title": title}))
    order = np.random.default_rng(2).permutation(len(images))
    frames = (frame(int(n), images[n], chi=chi[n], diffrz=diffrz[n]) for n in order)
    gatherer = mapping.create(mapping.Config(place_by=by))
    found = gathered(gatherer, Patterns((slice(20, 30), slice(30, 40))), scan, frames, len(images))
    assert found.fields("map")["frame_index"].tolist() == np.arange(62 * 43).reshape(62, 43).tolist()
    total = found.fields("map_images")["total"]
    assert total.shape == (62, 43)
    assert total.sum() == 27288097 and total.max() == 54870
    assert np.unravel_index(total.argmax(), total.shape) == (17, 23) and total.argmax() == 754
    centre = [(total * grid).sum() / total.sum() for grid in np.indices(total.shape)]
    assert centre == pytest.approx([30.3258, 21.0260], abs=5e-5)
    assert np.unique(diffrz).size == 549
    assert len(found.covered["map"]) == 2666


class Rows:
    """The pattern is the first row of the pixels: for data that were integrated elsewhere."""

    def __init__(self, bins: int) -> None:
        self.bins = bins

    def start(self, scan: ScanStart, work: Work) -> Any:
        axis = Axis("azimuth", np.arange(self.bins) * 360.0 / self.bins, "deg", "azimuth")
        return (Product("rows", (Field("I", (self.bins,), np.dtype("f4"), "counts"),), "I", (axis,)),)

    def process(self, work: Work) -> None:
        work.results["rows"] = {"I": work.image()[0].astype(np.float32)}

    def finish(self, end: ScanEnd) -> None:
        pass


def test_a_tomogram_in_shuffled_order_lands_by_angle_and_translation(shared: Path) -> None:
    """60 projections of 48 translations of a Ti64 slice, 72 azimuths each."""
    with h5py.File(shared / "xrdct" / "odftomo_Ti64_smallslice_binned_100.h5") as file:
        data = np.array([file[f"projections/{n}/data"][:, 0] for n in range(60)]).astype(np.float32)
        rotations = np.array([file[f"projections/{n}/rotation_matrix"][()] for n in range(60)])
    angles = -np.degrees(np.arctan2(rotations[:, 0, 1], rotations[:, 0, 0]))
    assert angles == pytest.approx(np.arange(-88.5, 89, 3), abs=1e-6)
    config = mapping.Config(
        slow={"motor": "rot", "first": -88.5, "last": 88.5, "step": 3},
        fast={"motor": "y", "first": -23.5, "step": 1, "points": 48},
        place_by="readings",
    )
    order = np.random.default_rng(4).permutation(60 * 48)
    frames = (
        frame(number, data[n // 48, n % 48][None], rot=angles[n // 48], y=-23.5 + n % 48)
        for number, n in enumerate(order.tolist())
    )
    found = gathered(mapping.create(config), Rows(72), start(data.reshape(-1, 1, 72)), frames, len(order))
    cube = found.fields("map")["I"]
    assert cube.shape == (60, 48, 72) and cube.sum(dtype=float) == pytest.approx(207360, rel=1e-6)
    np.testing.assert_array_equal(cube, data)
    assert found.fields("map")["rot"][[0, -1]].tolist() == [-88.5, 88.5]


def test_the_counts_of_a_savu_map_are_all_there(shared: Path) -> None:
    with h5py.File(shared / "xrdct" / "savu_i18_xrd_test.nxs") as file:
        data = file["entry1/xrd_entry/instrument/detector/data"][()]
    images = data.reshape(-1, *data.shape[-2:])
    config = mapping.Config(fast={"points": 2}, slow={"points": 4})
    frames = [frame(number, image) for number, image in enumerate(images)]
    found = gathered(mapping.create(config), Patterns(), start(images), frames, len(images))
    assert found.fields("map")["I"].shape == (4, 2, 1000)
    assert found.fields("map_images")["total"].sum() == pytest.approx(807241101, rel=1e-6)
    np.testing.assert_allclose(
        found.fields("map_images")["total"].ravel(), images.sum(axis=(1, 2), dtype=float), rtol=1e-6
    )


DIOPTAS = """poni_version: 2
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000172, "max_shape": [1043, 981]}
Distance: 0.284634930882
Poni1: 0.08722
Poni2: 0.08342
Rot1: -0.000251
Rot2: 0.000603
Rot3: 0.0
Wavelength: 3.344e-11
"""


def recorded(name: str, shared: Path) -> tuple[np.ndarray, str]:
    """Real frames and their geometry: two of a diamond-anvil map; a spotty catalyst, whole and in three parts; eight
    cut-outs of an XRD-CT scan of I18, of the same detector."""
    if name == "dioptas":
        files = sorted((shared / "powder" / "dioptas_map_pilatus1m").glob("*.tif.gz"))
        return np.array([fabio.open(str(file)).data for file in files]), DIOPTAS
    if name == "i18":
        with h5py.File(shared / "xrdct" / "savu_i18_xrd_test.nxs") as file:
            images = file["entry1/xrd_entry/instrument/detector/data"][()].reshape(-1, 100, 1000)
        poni = (shared / "xrdct" / "nDTomo_Spotty_calib.poni").read_text()
        return images, poni.replace("[2083, 4150]", "[100, 1000]")
    with h5py.File(shared / "xrdct" / "derived_nDTomo_Spotty_crop_0-1040_0-2075.h5") as file:
        image = file["spotty"][()]
    parts = [image, *(np.where(np.arange(2075) // 700 == part, image, 0) for part in range(3))]
    poni = (shared / "xrdct" / "nDTomo_Spotty_calib.poni").read_text()
    return np.array(parts, np.float32), poni.replace("[2083, 4150]", "[1040, 2075]")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dioptas", "spotty", "i18"])
@pytest.mark.parametrize("splitting", ["no", "full"])
def test_the_cube_of_a_recorded_map_is_that_of_pyfai(name: str, splitting: str, shared: Path, tmp_path: Path) -> None:
    import pyFAI

    images, poni = recorded(name, shared)
    path = tmp_path / "map.poni"
    path.write_text(poni)
    step = integrate.create(integrate.Config(poni=path, npt=1000, unit="2th_deg", splitting=splitting, device="cpu"))
    gatherer = mapping.create(mapping.Config(fast={"points": 2}, zigzag=True, of="integrate"))
    order = list(reversed(range(len(images))))
    frames = (frame(number, images[number]) for number in order)
    cube = gathered(gatherer, step, start(images), frames, len(images)).fields("map")["I"]
    integrator = pyFAI.load(str(path))
    for number, image in enumerate(images):
        row, column = divmod(number, 2)
        place = row, column if row % 2 == 0 else 1 - column
        with np.errstate(all="ignore"):
            reference = integrator.integrate1d(
                image, 1000, unit="2th_deg", method=(splitting, "csr", "cython"), mask=(image < 0).astype(np.int8)
            )
        filled = np.asarray(reference.sum_normalization) != 0
        scale = np.abs(reference.intensity[filled]) + 1e-5 * np.abs(reference.intensity[filled]).max()
        assert (np.abs(cube[place][filled] - reference.intensity[filled]) <= 1e-5 * scale).all()
