"""The OpenCL engine against the CPU engine, and both against pyFAI's own OpenCL peak finder, on any device there is."""

import fabio
import h5py
import hdf5plugin  # noqa: F401  the real frames are compressed
import numpy as np
import pyFAI
import pytest
from bragg_frames import crystal, poni, sparsified

from processors import sparsify
from processors.shared.device import choose
from stream import ConfigError

pytestmark = [pytest.mark.opencl, pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")]
cl = pytest.importorskip("pyopencl")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INBEAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def device():
    try:
        return choose("opencl")
    except ConfigError as error:
        pytest.skip(str(error))


def theirs(images, geometry, *, mask=None, bins=800, unit="r_m", model="poisson", dummy=None, cutoff_peak=4.0):
    """What pyFAI's OCL_PeakFinder makes of these frames, set up as sparsify-Bragg does, device 0 0."""
    from pyFAI.opencl import ocl
    from pyFAI.opencl.peak_finder import OCL_PeakFinder
    from pyFAI.units import to_unit

    ai = pyFAI.load(geometry)
    shape = images[0].shape
    bad = np.zeros(shape, np.int8) if mask is None else mask.astype(np.int8)
    integrator = ai.setup_sparse_integrator(
        shape, bins, mask=bad, unit=to_unit(unit), split="no", algo="CSR", scale=False
    )
    finder = OCL_PeakFinder(
        integrator.lut,
        image_size=shape[0] * shape[1],
        unit=to_unit(unit),
        empty=dummy,
        bin_centers=integrator.bin_centers,
        radius=ai.array_from_unit(shape, "center", to_unit(unit), scale=False),
        mask=bad,
        ctx=ocl.create_context(platformid=0, deviceid=0),
    )
    return [
        finder.sparsify(image, error_model=model, cutoff_clip=0.0, cycle=5, cutoff_peak=cutoff_peak, dummy=dummy)
        for image in images
    ]


def compare(images, geometry, *, least=1.0, mask_file=None, mask=None, **options):
    """Our two engines and pyFAI's on the same frames. Returns (pixels in all, ties)."""
    model = options.get("error_model", "poisson")
    product, cpu = sparsified(images, poni=geometry, mask=mask_file, flags=False, cutoff_peak=4.0, **options)
    _, device = sparsified(
        images, poni=geometry, mask=mask_file, flags=False, cutoff_peak=4.0, device="opencl", **options
    )
    peers = theirs(
        images, geometry, mask=mask, model=model, dummy=options.get("dummy"), unit=options.get("unit", "r_m"),
        bins=options.get("bins", 800),
    )  # fmt: skip
    total, ties = 0, 0
    for ours, other, peer in zip(cpu, device, peers, strict=True):
        one, two = ours.results["sparsify"], other.results["sparsify"]
        np.testing.assert_allclose(one["background_avg"], peer.background_avg, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one["background_std"], peer.background_std, rtol=2e-5, atol=1e-6)
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-6, err_msg=f"{name}: the engines differ")
        mine, them = set(one["index"].tolist()), set(peer.index.tolist())
        differing = mine ^ them
        assert len(mine & them) >= least * len(mine | them)
        tied = on_the_threshold(product, one, sorted(differing), images[0].shape, ours, options)
        assert tied == len(differing), f"{len(differing) - tied} pixels differ that are no ties"
        ties += tied
        total += len(them)
        both = np.isin(peer.index, sorted(mine & them))
        counts = dict(zip(one["index"].tolist(), one["intensity"].tolist(), strict=True))
        assert all(
            counts[i] == c for i, c in zip(peer.index[both].tolist(), peer.intensity[both].tolist(), strict=True)
        )
        assert set(one["peak_index"].tolist()) == set(peer.peaks["index"].tolist())
        order = np.argsort(peer.peaks["index"])
        for name, column in (("peak_intensity", "intensity"), ("peak_pos0", "pos0"), ("peak_sigma", "sigma")):
            np.testing.assert_allclose(one[name], peer.peaks[column][order], rtol=1e-4, err_msg=name)
    print(f"{model}: {total} pixels, {ties} of them ties within float32 rounding")
    return total, ties


def on_the_threshold(product, found, pixels, shape, frame, options):
    """How many of these pixels lie within float32 rounding of their threshold."""
    radius, place = product.constants["radius"].astype(float), product.constants["mask"].astype(float).ravel()
    payload = frame.payloads["default"]
    image = np.frombuffer(payload.data, payload.dtype).astype(float)
    tied = 0
    for i in pixels:
        background = np.interp(place[i], radius, found["background_avg"])
        sigma = np.hypot(np.interp(place[i], radius, found["background_std"]), 1.0)
        tied += abs(image[i] - background - 3 * sigma) <= 1e-4 * (background + 3 * sigma)
    return tied


@pytest.mark.slow
@pytest.mark.parametrize("model", ["poisson", "azimuthal", "hybrid"])
def test_synthetic_frames_give_the_same_pixels_and_peaks_as_pyfai_on_opencl(tmp_path, model):
    images = crystal((300, 320), background=30.0)
    compare(images, poni(tmp_path, (300, 320)), bins=150, error_model=model, least=1.0 if model == "poisson" else 0.99)


@pytest.mark.slow
@pytest.mark.parametrize("number", [14])
def test_thaumatin_frames_give_the_same_pixels_and_peaks_as_pyfai_on_opencl(shared, tmp_path, number):
    with fabio.open(str(shared / "single_crystal/thaumatin_grid" / f"thau_3_2_{number:04d}.cbf.bz2")) as frame:
        image = np.ascontiguousarray(frame.data)
    mask = (image < 0).astype(np.uint8)
    fabio.edfimage.EdfImage(mask).save(str(tmp_path / "mask.edf"))
    path = tmp_path / "pilatus.poni"
    path.write_text(
        "poni_version: 2.1\nDetector: Detector\n"
        'Detector_config: {"pixel1": 172e-6, "pixel2": 172e-6, "orientation": 3, '
        f'"max_shape": [2527, 2463]}}\nDistance: 0.351\nPoni1: {1306.96 * 172e-6}\nPoni2: {1261.61 * 172e-6}\n'
        "Rot1: 0\nRot2: 0\nRot3: 0\nWavelength: 0.96859e-10\n"
    )
    total, ties = compare([image], str(path), mask_file=str(tmp_path / "mask.edf"), mask=mask)
    assert total > 5000
    assert ties <= 3


@pytest.mark.slow
@pytest.mark.parametrize("model", ["poisson", "hybrid"])
def test_eiger2_frames_give_the_same_pixels_and_peaks_as_pyfai_on_opencl(shared, tmp_path, model):
    with h5py.File(shared / "single_crystal" / "derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5") as file:
        images = [file["entry_0000/ESRF-ID11/eiger/data"][1 if model == "poisson" else 0]]
    total, ties = compare(
        images, poni(tmp_path, images[0].shape), dummy=float(2**32 - 1), error_model=model, least=0.99
    )
    assert total > 200
    assert ties <= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "model"), [("uint8", "poisson"), ("int16", "azimuthal"), ("uint32", "hybrid"), ("float32", "5*I+8")]
)
def test_both_engines_give_the_same_answer_with_every_correction(tmp_path, dtype, model):
    shape = (200, 220)
    rng = np.random.default_rng(2)
    images = [np.minimum(image, 120 if dtype == "uint8" else 30000).astype(dtype) for image in crystal(shape)]
    for name, image in (("dark", rng.uniform(0, 2, shape)), ("flat", rng.uniform(0.8, 1.2, shape))):
        fabio.edfimage.EdfImage(image.astype(np.float32)).save(str(tmp_path / f"{name}.edf"))
    options = {
        "poni": poni(tmp_path, shape, tilt=0.2),
        "dark": str(tmp_path / "dark.edf"),
        "flat": str(tmp_path / "flat.edf"),
        "error_model": model,
        "bins": 90,
        "solidangle": True,
        "polarization": 0.95,
        "dummy": 3.0,
        "cutoff_peak": 4.0,
        "peak_patch_size": 5,
        "radial_range": (0.011, 0.028),
    }
    _, cpu = sparsified(images, **options)
    _, device = sparsified(images, device="opencl:0,0", workgroup=64, **options)
    for one, other in zip(cpu, device, strict=True):
        assert len(one.results["sparsify"]["index"]) > 50
        for name, array in one.results["sparsify"].items():
            np.testing.assert_allclose(array, other.results["sparsify"][name], rtol=2e-6, err_msg=name)


@pytest.mark.slow
def test_the_device_is_found_by_its_number_or_told(tmp_path):
    images = crystal()
    product, _ = sparsified(images[:1], poni=poni(tmp_path, images[0].shape), bins=60, device="opencl:0,0")
    assert product.device.startswith("opencl:0,0 (") and product.sparse.recipe["engine"] == "opencl"
    with pytest.raises(ConfigError, match=r"sparsify.device: there is no device opencl:7,0; there are opencl:0,0 \("):
        sparsified(images[:1], poni=poni(tmp_path, images[0].shape), bins=60, device="opencl:7,0")


@pytest.mark.parametrize(
    ("said", "device"),
    [
        ({}, "cpu"),
        ({"engine": "cpu", "device": [0, 1]}, "cpu"),
        ({"engine": "opencl"}, "opencl"),
        ({"engine": "opencl", "device": [1, 0]}, "opencl:1,0"),
        ({"engine": "opencl", "device_type": "gpu"}, "opencl:gpu"),
        ({"device": "auto"}, "auto"),
    ],
)
def test_a_device_may_be_said_as_sparsify_bragg_says_it(said, device):
    assert sparsify.Config(poni="x.poni", **said).device == device


@pytest.mark.parametrize(
    "said", [{"device": "gpu"}, {"engine": "cuda"}, {"device_type": "tpu"}, {"device": "opencl:1"}]
)
def test_a_device_that_cannot_be_is_refused(said):
    with pytest.raises(ValueError, match="device"):
        sparsify.Config(poni="x.poni", **said)
