"""The processor `sparsify` against pyFAI's golden file and against the plain formulas in float64."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import fabio
import h5py
import hdf5plugin  # noqa: F401  the golden files are compressed
import numpy as np
import pyFAI
import pyFAI.detectors
import pytest
from bragg_frames import crystal, frame_of, poni, scan_of, sparsified, two_pass
from pydantic import ValidationError

from processors import correct, sparsify
from processors.bragg.selection import Judge
from processors.bragg.variance import Variance
from processors.shared.correction import Correction, Corrections
from stream import ConfigError, Detector, InbeamError, Work

SHAPE = (200, 220)
MODELS = ["poisson", "azimuthal", "hybrid", "5*I+8"]
N_PEAKS = [42, 34, 33, 33, 34, 31, 34, 33, 33, 32, 35, 36, 32, 31]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INBEAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def corrections(tmp_path):
    """dark, flat and mask as files, with the arrays."""
    rng = np.random.default_rng(8)
    dark = rng.uniform(0, 3, SHAPE).astype(np.float32)
    flat = rng.uniform(0.7, 1.3, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[90:94] = mask[:, 100:103] = 1
    for name, image in (("dark", dark), ("flat", flat), ("mask", mask)):
        fabio.edfimage.EdfImage(image).save(str(tmp_path / f"{name}.edf"))
    return {"dark": dark, "flat": flat, "mask": mask, "folder": tmp_path}


def pyfai_bins(geometry, bins, mask=None):
    """(bin of each pixel or -1, place between the bin centres or -9), from pyFAI's own matrix without splitting."""
    ai = pyFAI.load(geometry)
    bad = np.zeros(SHAPE, np.int8) if mask is None else mask.astype(np.int8)
    integrator = ai.setup_sparse_integrator(SHAPE, bins, mask=bad, unit="r_m", split="no", algo="CSR", scale=False)
    _, indices, indptr = integrator.lut
    bin_of = np.full(bad.size, -1)
    bin_of[indices] = np.repeat(np.arange(bins), np.diff(indptr))
    centers = integrator.bin_centers
    place = (ai.array_from_unit(SHAPE, "center", "r_m", scale=False).ravel() - centers[0]) / (centers[1] - centers[0])
    return bin_of, np.where(bad.ravel() == 0, place, -9.0)


def plainly_picked(x, place, mean, deviation, noise, cutoff):
    """(certain, tied): picked in float64, and those within float32 rounding of the threshold."""
    bins = len(mean)
    where = np.clip(place, 0, bins - 1)
    background = np.interp(where, np.arange(bins), mean)
    sigma = np.hypot(np.interp(where, np.arange(bins), deviation), noise)
    distance = x - background - np.maximum(noise, cutoff * sigma)
    tied = np.abs(distance) <= 2e-5 * (np.abs(background) + cutoff * sigma)
    inside = place > -5
    return set(np.flatnonzero(inside & (distance > 0))), set(np.flatnonzero(inside & tied))


def test_the_golden_stack_gives_the_same_pixels_backgrounds_and_peaks_as_pyfai(shared):
    golden = shared / "golden"
    with h5py.File(golden / "stack_dense.h5") as dense, h5py.File(golden / "stack_sparse.h5") as sparse:
        images = list(dense["entry_0000/instrument/detector/data"][()])
        group, peaks = sparse["entry_0000/sparse_frames"], sparse["entry_0000/peaks"]
        pointer, index, intensity = (group[name][()] for name in ("frame_ptr", "index", "intensity"))
        product, frames = sparsified(
            images, poni=str(golden / "t.poni"), mask=str(golden / "mask.edf"), cutoff_peak=4.0
        )
        np.testing.assert_array_equal(product.constants["radius"], group["radius"][()])
        np.testing.assert_array_equal(product.constants["mask"], group["mask"][()])
        for number, frame in enumerate(frames):
            found = frame.results["sparsify"]
            inside = slice(pointer[number], pointer[number + 1])
            order = np.argsort(index[inside])
            np.testing.assert_array_equal(found["index"], index[inside][order])
            np.testing.assert_array_equal(found["intensity"], intensity[inside][order])
            assert found["intensity"].dtype == intensity.dtype
            np.testing.assert_allclose(found["background_avg"], group["background_avg"][number], rtol=1e-5)
            np.testing.assert_allclose(found["background_std"], group["background_std"][number], rtol=1e-5)
            count = int(found["peaks"])
            theirs = [peaks[name][number, :count] for name in ("peakYPosRaw", "peakXPosRaw", "peakTotalIntensity")]
            order = np.lexsort((theirs[1], theirs[0]))
            ours = [found[name] for name in ("peak_pos0", "peak_pos1", "peak_intensity")]
            mine = np.lexsort((ours[1], ours[0]))
            for their, our in zip(theirs, ours, strict=True):
                np.testing.assert_allclose(our[mine], their[order], rtol=1e-5)
        assert sum(int(frame.results["sparsify"]["picked"]) for frame in frames) == 19222 == pointer[-1]
        assert [int(frame.results["sparsify"]["peaks"]) for frame in frames] == N_PEAKS


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cutoff", [0.0, 4.0])
def test_background_and_pixels_follow_the_two_pass_formulas(tmp_path, model, cutoff):
    images = crystal()
    geometry, bins = poni(tmp_path, SHAPE), 90
    _, frames = sparsified(images, poni=geometry, bins=bins, error_model=model, cutoff_clip=cutoff)
    bin_of, place = pyfai_bins(geometry, bins)
    ties = 0
    for image, frame in zip(images, frames, strict=True):
        found = frame.results["sparsify"]
        variance = 5.0 * image + 8 if "I" in model else None
        mean, deviation = two_pass(image, bin_of, bins, model=model, cutoff=cutoff, cycle=5, variance=variance)
        np.testing.assert_allclose(found["background_avg"], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["background_std"], deviation, rtol=1e-5, atol=1e-6)
        certain, tied = plainly_picked(image.ravel().astype(float), place, mean, deviation, 1.0, 3.0)
        assert set(found["index"].tolist()) ^ certain <= tied
        assert len(certain) > 100
        ties += len(tied)
    print(f"{model}, cutoff {cutoff}: {ties} ties within float32 rounding")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_dark_flat_solid_angle_and_polarization_enter_as_weights(corrections, model):
    """pyFAI's OpenCL deviation is 0.3 % off where weights vary (azimuthal, hybrid): not reproduced."""
    images = crystal(background=40.0)
    folder = corrections["folder"]
    geometry = poni(folder, SHAPE, tilt=0.3)
    product, frames = sparsified(
        images,
        poni=geometry,
        bins=90,
        error_model=model,
        solidangle=True,
        polarization=0.9,
        **{name: str(folder / f"{name}.edf") for name in ("dark", "flat", "mask")},
    )
    ai = pyFAI.load(geometry)
    norm = corrections["flat"] * ai.solidAngleArray(SHAPE) * ai.polarization(SHAPE, factor=0.9)
    np.testing.assert_allclose(product.constants["normalization"], norm, rtol=1e-6)
    bins = 90
    bin_of, place = pyfai_bins(geometry, bins, corrections["mask"])
    dark = corrections["dark"]
    for image, frame in zip(images, frames, strict=True):
        found = frame.results["sparsify"]
        variance = 5.0 * image + 8 if "I" in model else None
        mean, deviation = two_pass(
            image, bin_of, bins, model=model, cutoff=0, cycle=5, dark=dark, norm=norm, variance=variance
        )
        np.testing.assert_allclose(found["background_avg"], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["background_std"], deviation, rtol=1e-5, atol=1e-6)
        x = ((image - dark) / norm).ravel().astype(float)
        certain, tied = plainly_picked(x, place, mean, deviation, 1.0, 3.0)
        assert set(found["index"].tolist()) ^ certain <= tied
        expected = np.floor(image.astype(float) - dark + 0.5).clip(0).ravel()[found["index"]]
        np.testing.assert_array_equal(found["intensity"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32"])
def test_histograms_and_gathered_pixels_give_the_same_answer(tmp_path, model, dtype):
    """Also where counts go beyond the histogram, and with dynamically masked pixels."""
    bright = 60.0 if dtype == "uint8" else 300.0
    top = min(np.iinfo(dtype).max, 2**16) - 1
    images = [np.minimum(image, top).astype(dtype) for image in crystal(background=bright)]
    for image in images:
        image[50:60, 30:70] = 7
        image[120, :] = np.iinfo(dtype).max
    flat = tmp_path / "flat.edf"
    fabio.edfimage.EdfImage(np.ones(SHAPE, np.float32)).save(str(flat))
    options = {"poni": poni(tmp_path, SHAPE), "bins": 90, "error_model": model, "dummy": 6.0, "delta_dummy": 1.5}
    _, plain = sparsified(images, cutoff_peak=4.0, **options)
    _, gathered = sparsified(images, cutoff_peak=4.0, flat=str(flat), **options)
    for one, other in zip(plain, gathered, strict=True):
        for name, array in one.results["sparsify"].items():
            np.testing.assert_allclose(array, other.results["sparsify"][name], rtol=1e-6, err_msg=name)
        assert not np.isin(one.results["sparsify"]["index"], np.arange(120 * 220, 121 * 220)).any()


@pytest.mark.slow
def test_float_frames_are_taken_with_nan_as_invalid(tmp_path):
    images = [image.astype(np.float32) for image in crystal()]
    _, frames = sparsified(crystal(), poni=poni(tmp_path, SHAPE), bins=90)
    _, floats = sparsified(images, poni=poni(tmp_path, SHAPE), bins=90)
    np.testing.assert_array_equal(frames[0].results["sparsify"]["index"], floats[0].results["sparsify"]["index"])
    picked = int(floats[0].results["sparsify"]["index"][0])
    images[0].ravel()[picked] = np.nan
    _, holed = sparsified(images, poni=poni(tmp_path, SHAPE), bins=90)
    assert picked not in holed[0].results["sparsify"]["index"]
    assert holed[0].results["sparsify"]["intensity"].dtype == np.float32


def test_the_radial_range_is_in_the_unit_and_half_open(tmp_path):
    images = crystal()
    product, frames = sparsified(
        images, poni=poni(tmp_path, SHAPE), bins=50, unit="r_mm", radial_range=(3.0, 8.0), cutoff_peak=4.0
    )
    radius = product.constants["mask"].ravel()
    found = frames[0].results["sparsify"]
    assert len(found["index"]) > 20
    assert ((radius[found["index"]] >= 3.0) & (radius[found["index"]] <= 8.0 * (1 + 1e-6))).all()
    assert 3.0 <= product.constants["radius"][0] < product.constants["radius"][-1] <= 8.0
    _, everything = sparsified(images, poni=poni(tmp_path, SHAPE), bins=50, unit="r_mm")
    assert len(everything[0].results["sparsify"]["index"]) > len(found["index"])


def spot_frame(spots):
    """A flat field of 10 counts with single bright pixels and pairs."""
    image = np.full((60, 70), 10, np.uint16)
    image[::2, ::2] = 12
    for row, column, value in spots:
        image[row, column] = value
    return image


def test_a_peak_needs_its_neighbours_and_lies_inside_the_image(tmp_path):
    image = spot_frame([(30, 30, 400), (30, 31, 300), (10, 50, 400), (0, 20, 400), (0, 21, 300), (45, 69, 900)])
    options = {"poni": poni(tmp_path, image.shape), "bins": 10, "cutoff_peak": 4.0}
    _, pairs = sparsified([image], peak_connected=2, **options)
    assert pairs[0].results["sparsify"]["peak_index"].tolist() == [30 * 70 + 30]
    _, alone = sparsified([image], peak_connected=1, **options)
    assert alone[0].results["sparsify"]["peak_index"].tolist() == [10 * 70 + 50, 30 * 70 + 30]
    found = pairs[0].results["sparsify"]
    background = np.interp(0, [0], [10.4])
    patch = image[29:32, 29:32].astype(float) - background
    patch = np.where(patch > 0, patch, 0)
    assert found["peak_intensity"][0] == pytest.approx(patch.sum(), rel=0.02)
    assert found["peak_pos1"][0] == pytest.approx(30 + (patch[:, 2] - patch[:, 0]).sum() / patch.sum(), abs=0.02)
    assert found["peak_pos0"][0] == pytest.approx(30, abs=0.02)
    assert int(found["peaks"]) == 1 and int(found["hit"]) == 0


def test_a_masked_neighbour_adds_nothing_whatever_the_noise(tmp_path):
    """pyFAI: masked neighbours invalidate a peak only if noise is 0. Here they never do."""
    image = spot_frame([(30, 30, 400), (30, 31, 300)])
    mask = np.zeros(image.shape, np.uint8)
    mask[29, 29] = 1
    fabio.edfimage.EdfImage(mask).save(str(tmp_path / "mask.edf"))
    for noise in (0.0, 1.0):
        _, frames = sparsified(
            [image],
            poni=poni(tmp_path, image.shape),
            mask=str(tmp_path / "mask.edf"),
            bins=10,
            cutoff_peak=4.0,
            noise=noise,
        )
        assert frames[0].results["sparsify"]["peak_index"].tolist() == [30 * 70 + 30]


def test_invalid_pixels_are_never_picked_even_above_a_negative_background(tmp_path):
    """pyFAI takes a dummy pixel as 0 counts, which stands out of a background below zero (too large a dark)."""
    image = spot_frame([(30, 30, 400)])
    image[5, 5:15] = 65535
    dark = np.full(image.shape, 60, np.float32)
    fabio.edfimage.EdfImage(dark).save(str(tmp_path / "dark.edf"))
    _, frames = sparsified(
        [image], poni=poni(tmp_path, image.shape), bins=10, dark=str(tmp_path / "dark.edf"), dummy=65535.0
    )
    found = frames[0].results["sparsify"]
    assert found["background_avg"].max() < 0
    assert found["index"].tolist() == [30 * 70 + 30]
    assert found["intensity"].tolist() == [340]


def test_counts_above_two_to_the_24_are_recorded_as_they_are(tmp_path):
    """pyFAI casts them through float32."""
    image = spot_frame([(30, 30, 400)]).astype(np.uint32)
    image[30, 30] = 2**24 + 1
    _, frames = sparsified([image], poni=poni(tmp_path, image.shape), bins=10, error_model="azimuthal")
    assert frames[0].results["sparsify"]["intensity"].tolist() == [2**24 + 1]


def test_64_bit_counts_are_held_inside_32_bits(tmp_path):
    image = spot_frame([(30, 30, 400)]).astype(np.uint64)
    image[30, 30] = 2**40
    _, frames = sparsified([image], poni=poni(tmp_path, image.shape), bins=10, error_model="azimuthal")
    intensity = frames[0].results["sparsify"]["intensity"]
    assert intensity.dtype == np.uint32 and intensity.tolist() == [2**32 - 1]


def test_corrections_on_the_bench_are_taken_and_options_add_to_them(tmp_path):
    image = spot_frame([(30, 30, 400), (40, 40, 500), (20, 20, 600)])
    mask = np.zeros(image.shape, bool)
    mask[30, 30] = True
    left = Corrections("uid", {"default": Correction((60, 70), mask, high=550.0)})
    options = {"poni": poni(tmp_path, image.shape), "bins": 10}
    _, frames = sparsified([image], bench=[left], **options)
    assert frames[0].results["sparsify"]["index"].tolist() == [20 * 70 + 20, 40 * 70 + 40]
    _, frames = sparsified([image], bench=[left], dummy=500.0, **options)
    assert frames[0].results["sparsify"]["index"].tolist() == [20 * 70 + 20]


def test_a_flat_that_is_unusable_somewhere_does_not_move_the_bins(tmp_path):
    image = spot_frame([(1, 1, 400), (40, 40, 500)])
    flat = np.ones(image.shape, np.float32)
    flat[:3, :3] = 0
    fabio.edfimage.EdfImage(flat).save(str(tmp_path / "flat.edf"))
    geometry = poni(tmp_path, image.shape)
    with_flat, frames = sparsified([image], poni=geometry, bins=10, flat=str(tmp_path / "flat.edf"))
    without, _ = sparsified([image], poni=geometry, bins=10)
    np.testing.assert_array_equal(with_flat.constants["radius"], without.constants["radius"])
    assert frames[0].results["sparsify"]["index"].tolist() == [40 * 70 + 40]


@pytest.mark.slow
def test_strong_pixels_of_another_segmenter_come_back_whole(shared, tmp_path):
    """ImageD11's pixels of a silicon scan, put into an empty frame: the same pixels, with the same counts.

    65535 is a saturated pixel in these 16-bit files, therefore flags=False.
    """
    with h5py.File(shared / "single_crystal" / "imaged11_silicon_fullscan_strong_sparse.h5") as file:
        group = file["1.1"]
        shape = (int(group.attrs["shape0"]), int(group.attrs["shape1"]))
        nnz = group["nnz"][()]
        ends = np.cumsum(nnz)
        number = int(np.argmax(nnz))
        inside = slice(int(ends[number] - nnz[number]), int(ends[number]))
        row, column, counts = (group[name][inside] for name in ("row", "col", "intensity"))
    image = np.zeros(shape, np.uint16)
    image[row, column] = counts
    options = {"poni": poni(tmp_path, shape), "error_model": "azimuthal", "cycle": 10}
    _, frames = sparsified([image], flags=False, **options)
    found = frames[0].results["sparsify"]
    expected = row.astype(np.int64) * shape[1] + column
    order = np.argsort(expected)
    assert len(expected) == 369
    np.testing.assert_array_equal(found["index"], expected[order])
    np.testing.assert_array_equal(found["intensity"], counts[order])
    _, flagged = sparsified([image], **options)
    assert set(found["index"].tolist()) - set(flagged[0].results["sparsify"]["index"].tolist()) == set(
        expected[counts == 65535].tolist()
    )


@pytest.mark.slow
def test_hits_of_a_grid_scan_are_told_from_empty_frames(shared, tmp_path):
    """Thaumatin, PILATUS3 6M: frames 1, 3 and 14 diffract, 16 and 19 do not (README: 290, 1382, 612, 0, 1 spots)."""
    images = []
    for number in (1, 3, 14, 16, 19):
        with fabio.open(str(shared / "single_crystal/thaumatin_grid" / f"thau_3_2_{number:04d}.cbf.bz2")) as frame:
            images.append(np.ascontiguousarray(frame.data))
    _, frames = sparsified(images, poni=pilatus_poni(tmp_path), cutoff_peak=4.0, peak_connected=3, unit="2th_deg")
    peaks = [int(frame.results["sparsify"]["peaks"]) for frame in frames]
    hits = [int(frame.results["sparsify"]["hit"]) for frame in frames]
    assert hits == [1, 1, 1, 0, 0], peaks
    np.testing.assert_allclose(
        [frame.results["sparsify"]["hit_rate"] for frame in frames], [1, 1, 1, 3 / 4, 3 / 5], rtol=1e-6
    )
    assert min(peaks[:3]) > 100 and max(peaks[3:]) < 10
    assert all((frame.results["sparsify"]["intensity"] > 0).all() for frame in frames)


def pilatus_poni(folder: Path) -> str:
    """From the header of the thaumatin frames."""
    path = folder / "pilatus.poni"
    path.write_text(
        "poni_version: 2.1\nDetector: Pilatus6M\nDetector_config: {}\nDistance: 0.351\n"
        f"Poni1: {1306.96 * 172e-6}\nPoni2: {1261.61 * 172e-6}\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 0.96859e-10\n"
    )
    return str(path)


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true') + I",
        "I.__class__",
        "I if 1 else 2",
        "[I for x in (1,)]",
        "lambda I: I",
        "open('/etc/passwd') and I",
        "I[0]",
        "J + 1 + 0*I + x",
        "'I'*9",
        "I(3)",
        "exp(I, I=3)",
        "I @ I",
        "I; 1",
        "5*",
        "I" + "+1" * 200,
        "9**9**9**9*I",
        "1e400*I",
    ],
)
def test_an_error_model_is_arithmetic_or_refused(formula):
    with pytest.raises(InbeamError, match="error model"):
        Variance(formula)
    with pytest.raises(ValidationError):
        sparsify.Config(poni="x", error_model=formula)


@pytest.mark.parametrize("formula", ["5*I+8", "I", "sqrt(abs(I)) + 1e-3*I**2", "-(-I)/2 + 3"])
def test_an_error_model_is_what_numpy_makes_of_it(formula):
    counts = np.array([0, 1, 7, 250, 70000], np.uint32)
    expected = eval(formula, {"I": counts.astype(float), "sqrt": np.sqrt, "abs": np.abs})
    np.testing.assert_allclose(Variance(formula)(counts), expected, rtol=1e-6)


def test_wrong_options_are_told_by_name():
    with pytest.raises(ValidationError, match="neither poisson, azimuthal, hybrid nor a formula"):
        sparsify.Config(poni="x", error_model="gauss")
    with pytest.raises(ValidationError, match="delta_dummy without dummy"):
        sparsify.Config(poni="x", delta_dummy=2.0)
    with pytest.raises(ValidationError, match="peak_patch_size"):
        sparsify.Config(poni="x", peak_patch_size=4)


@pytest.mark.slow
def test_a_geometry_that_does_not_fit_is_told_before_the_first_frame(tmp_path):
    images = crystal()
    blind = tmp_path / "no wavelength.poni"
    blind.write_text(Path(poni(tmp_path, SHAPE)).read_text().replace("Wavelength: 1e-10", ""))
    assert sparsified(images, poni=str(blind), unit="2th_deg", bins=60)[0].axes
    for options, text in (
        ({"poni": str(blind), "unit": "q_A^-1"}, r"q_A\^-1 needs the wavelength, .*no wavelength.poni"),
        ({"poni": str(blind), "unit": "d_A"}, "needs the wavelength"),
        ({"poni": poni(tmp_path, (100, 100))}, "is for a detector"),
        ({"poni": str(tmp_path / "none.poni")}, "cannot read .*none.poni"),
        ({"poni": poni(tmp_path, SHAPE), "unit": "r_parsec"}, "unknown radial unit"),
        ({"poni": poni(tmp_path, SHAPE), "mask": str(tmp_path / "none.edf")}, "no such file"),
    ):
        with pytest.raises(InbeamError, match=text):
            sparsified(images, **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"unit": "r_mm", "radial_range": (2.0, 9.0)}, {"unit": "q_nm^-1", "bins": 17}])
def test_the_quick_rejection_of_pixels_rejects_no_picked_one(tmp_path, monkeypatch, options):
    """Steep backgrounds: rings in one or two bins. With and without the bound below which nothing can be picked."""
    images = crystal(background=80.0)
    told = {"poni": poni(tmp_path, SHAPE, tilt=0.1), "bins": 60, "cutoff_peak": 4.0, **options}
    _, quick = sparsified(images, **told)
    everything = Judge.bounds

    def all_pass(self, mean, deviation):
        bound = everything(self, mean, deviation)
        assert (bound[:-1] > 0).mean() > 0.9, "the bound does something"
        return np.full_like(bound, -np.inf)

    monkeypatch.setattr(Judge, "bounds", all_pass)
    _, slow = sparsified(images, **told)
    for one, other in zip(quick, slow, strict=True):
        for name, array in one.results["sparsify"].items():
            np.testing.assert_array_equal(array, other.results["sparsify"][name], err_msg=name)


def test_one_frame_does_not_leak_into_the_next(tmp_path):
    """Results are arrays of their own: a sink may hold them while the worker goes on."""
    images = crystal(count=3)
    processor = sparsify.create(sparsify.Config(poni=poni(tmp_path, SHAPE), bins=90, cutoff_peak=4.0))
    work = Work()
    processor.start(scan_of(images), work)
    kept, copies = [], []
    for number in (0, 1, 2, 0):
        work.take(frame_of(images[number], number))
        processor.process(work)
        kept.append(dict(work.results["sparsify"]))
        copies.append({name: array.copy() for name, array in kept[-1].items()})
    for held, copy in zip(kept, copies, strict=True):
        for name, array in held.items():
            np.testing.assert_array_equal(array, copy[name])
    np.testing.assert_array_equal(kept[0]["index"], kept[3]["index"])
    assert not np.array_equal(kept[0]["index"], kept[1]["index"])


@pytest.mark.slow
def test_frames_of_a_binned_detector_are_taken(tmp_path, caplog):
    """A CCD's geometry knows the unbinned shape too, which is not that of its frames."""
    images = [np.kron(image, np.ones((8, 8), np.uint16)) for image in crystal((120, 120))]
    geometry = tmp_path / "ccd.poni"
    for config in ('{"pixel1": 8.85417e-05, "pixel2": 8.85417e-05}', "{}"):
        geometry.write_text(
            f"poni_version: 2.1\nDetector: RayonixMx340hs\nDetector_config: {config}\nDistance: 0.1\n"
            "Poni1: 0.04\nPoni2: 0.04\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"
        )
        detector = pyFAI.load(str(geometry)).detector
        assert detector.max_shape != images[0].shape
        product, frames = sparsified(images, poni=str(geometry), bins=50)
        assert product.constants["mask"].shape == images[0].shape
        assert product.sparse.instrument["x_pixel_size"] == pytest.approx(0.340 / 960, rel=1e-3)
        assert all(frame.results["sparsify"]["picked"] > 0 for frame in frames)


def test_another_detector_file_of_the_same_name_is_another_geometry(tmp_path):
    """A calibrated detector keeps its pixel positions in a file of its own: the cache must see it change."""
    file, geometry, images = tmp_path / "detector.h5", tmp_path / "nexus.poni", crystal()
    geometry.write_text(
        f'poni_version: 2.1\nDetector: NexusDetector\nDetector_config: {{"filename": "{file}"}}\n'
        "Distance: 0.1\nPoni1: 0.01\nPoni2: 0.01\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"
    )
    radii = []
    for stretch in (1.0, 1.5):
        detector = pyFAI.detectors.Detector(1e-4, 1e-4, max_shape=SHAPE)
        corners = detector.get_pixel_corners().copy()
        corners[..., 1] *= stretch
        detector.set_pixel_corners(corners)
        detector.uniform_pixel, detector.IS_FLAT = False, True
        file.unlink(missing_ok=True)
        detector.save(str(file))
        product, _ = sparsified(images, poni=str(geometry), bins=50)
        radii.append(product.constants["mask"])
    assert radii[1].max() > 1.2 * radii[0].max()


@pytest.mark.slow
@pytest.mark.parametrize("formula", ["I/(I-3)", "I**40"])
def test_pixels_whose_variance_is_no_number_take_no_part_in_the_background(tmp_path, formula):
    """As in pyFAI, which leaves them out one by one; counts and corrected intensities in the same way."""
    images = crystal()
    told = {"poni": poni(tmp_path, SHAPE), "bins": 60, "error_model": formula}
    fabio.edfimage.EdfImage(np.ones(SHAPE, np.float32)).save(str(tmp_path / "ones.edf"))
    _, counted = sparsified(images, **told)
    _, corrected = sparsified(images, flat=str(tmp_path / "ones.edf"), **told)
    for one, other in zip(counted, corrected, strict=True):
        for name, array in one.results["sparsify"].items():
            np.testing.assert_allclose(array, other.results["sparsify"][name], rtol=2e-6, err_msg=name)
        assert np.isfinite(one.results["sparsify"]["background_std"]).any()


@pytest.mark.parametrize("odd", [np.ones((300, 400), np.uint16), np.ones(SHAPE, np.uint32)])
def test_a_frame_unlike_its_scan_fails_with_both_named(tmp_path, odd):
    """The kernels go by the bins of the scan's shape: any other would have them read and write beyond their arrays."""
    processor = sparsify.create(sparsify.Config(poni=poni(tmp_path, SHAPE), bins=60))
    work = Work()
    processor.start(scan_of(crystal()), work)
    work.take(frame_of(odd, 5))
    with pytest.raises(ValueError, match=rf"frame 5 is {odd.dtype} \({odd.shape[0]}, .*began as uint16 \(200, 220\)"):
        processor.process(work)


def test_a_mask_of_the_header_that_correct_leaves_out_stays_out(tmp_path):
    images = crystal()
    mask = np.zeros(SHAPE, np.uint32)
    mask[60:120] = 1
    scan = replace(scan_of(images), detector=Detector(pixel_mask={"default": mask}))
    masked = []
    for use in (True, False):
        work = Work()
        correct.create(correct.Config(use_detector_mask=use)).start(scan, work)
        (product,) = sparsify.create(sparsify.Config(poni=poni(tmp_path, SHAPE), bins=60)).start(scan, work)
        masked.append(int(np.isnan(product.constants["mask"]).sum()))
    assert masked == [60 * 220, 0]


def test_a_radial_range_that_leaves_no_pixel_is_refused(tmp_path):
    for _ in range(2):  # the second time the bins come from the cache
        with pytest.raises(ConfigError, match=r"sparsify.radial_range: there is no pixel between .* lie between"):
            sparsified(crystal(), poni=poni(tmp_path, SHAPE), bins=60, radial_range=(10.0, 20.0))


@pytest.mark.slow
def test_files_that_leave_no_pixel_are_refused_with_their_name(tmp_path):
    nothing = np.full(SHAPE, np.nan, np.float32)
    for option, image in (("mask", np.ones(SHAPE, np.uint8)), ("dark", nothing), ("flat", nothing)):
        name = str(tmp_path / f"{option}.npy")
        np.save(name, image)
        with pytest.raises(ConfigError, match=rf"sparsify.{option}: .*{option}.npy .* every pixel"):
            sparsified(crystal(), poni=poni(tmp_path, SHAPE), bins=60, **{option: name})


def test_without_pyopencl_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    monkeypatch.delitem(sys.modules, "processors.bragg.opencl", raising=False)
    with pytest.raises(InbeamError, match=r"pip install inbeam\[opencl\].*device: cpu"):
        sparsified(crystal(), poni=poni(tmp_path, SHAPE), bins=60, device="opencl")


def test_the_compilation_of_the_kernels_is_announced_the_first_time(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, logger="inbeam")
    for expected in (1, 0):
        caplog.clear()
        sparsified(crystal(), poni=poni(tmp_path, SHAPE), bins=60)
        assert sum("compiling the kernels of sparsify" in message for message in caplog.messages) == expected


def test_the_first_channel_is_that_of_the_scan_whatever_the_order_in_a_frame(tmp_path):
    images = crystal()
    scan = replace(scan_of(images), channels=("low", "high"))
    processor, work = sparsify.create(sparsify.Config(poni=poni(tmp_path, SHAPE), bins=60)), Work()
    processor.start(scan, work)
    low, high = (frame_of(image, 0).payloads["default"] for image in (images[0], np.zeros_like(images[0])))
    counts = []
    for payloads in ({"low": low, "high": high}, {"high": high, "low": low}):
        work.take(replace(frame_of(images[0], 0), payloads=payloads))
        processor.process(work)
        counts.append(int(work.results["sparsify"]["picked"]))
    assert counts[0] == counts[1] > 100
    work.take(replace(frame_of(images[0], 1), payloads={"high": high}))
    with pytest.raises(KeyError, match="frame 1 has no channel 'low'"):
        processor.process(work)
