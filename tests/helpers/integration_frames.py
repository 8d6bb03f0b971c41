"""Helpers of the integration tests: frames with rings, the way through correct and integrate, and pyFAI's answer."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from processors import correct, integrate
from stream.events import Detector, Encoding, Frame, Payload, ScanStart
from stream.work import Work

SHAPE = (131, 149)
PONI = """poni_version: 2
Detector: Detector
Detector_config: {"pixel1": 0.0002, "pixel2": 0.0001, "max_shape": [131, 149]}
Distance: 0.05
Poni1: 0.011
Poni2: 0.006
Rot1: 0.1
Rot2: -0.05
Rot3: 0.02
Wavelength: 7e-11
"""
MODELS = ("none", "poisson", "azimuthal")


def rings(dtype: str = "uint16", seed: int = 1, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Poisson rings with some hot pixels, in counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(y - 55, x - 60)
    image = rng.poisson(0.4 + 60 * np.exp(-(((radius % 23) - 11) ** 2) / 6)).astype(dtype)
    image[rng.integers(0, shape[0], 9), rng.integers(0, shape[1], 9)] = 120
    return image


def scan_of(image: np.ndarray, detector: Detector | None = None, channels: tuple[str, ...] = ("threshold_1",)) -> Any:
    return ScanStart("uid", "7", image.shape, image.dtype, channels, None, detector or Detector(), 0.0)


def frame_of(*images: np.ndarray, monitor: float = float("nan")) -> Frame:
    payloads = {
        f"threshold_{number}": Payload(
            np.ascontiguousarray(image).data.cast("B"), Encoding.RAW, image.shape, image.dtype
        )
        for number, image in enumerate(images, 1)
    }
    return Frame("uid", 0, payloads, 0.0, readings={"monitor": monitor})


def run(
    image: np.ndarray,
    options: dict[str, Any],
    corrections: dict[str, Any] | None = None,
    detector: Detector | None = None,
    monitor: float = float("nan"),
) -> tuple[Any, dict[str, np.ndarray]]:
    """The product and the result of one frame through correct and integrate, as a worker would do it."""
    scan, work = scan_of(image, detector), Work()
    chain = [correct.create(correct.Config(**corrections))] if corrections is not None else []
    chain.append(integrate.create(integrate.Config(**options)))
    products = [product for processor in chain for product in processor.start(scan, work)]
    work.take(frame_of(image, monitor=monitor))
    for processor in chain:
        processor.process(work)
    return products[-1], work.results["integrate"]


def by_pyfai(
    poni: Path, image: np.ndarray, options: dict[str, Any], implementation: str = "cython", **more: Any
) -> Any:
    """What pyFAI makes of the same frame and settings."""
    import pyFAI

    integrator = pyFAI.load(str(poni))
    model = options.get("error_model", "none").removesuffix("_exact")
    settings = {
        "unit": options.get("unit", "q_nm^-1"),
        "correctSolidAngle": options.get("solid_angle", True),
        "polarization_factor": options.get("polarization"),
        "radial_range": options.get("radial_range"),
        "azimuth_range": options.get("azimuth_range"),
        "error_model": None if model == "none" else model,
        "method": (options.get("splitting", "no"), "csr", implementation),
        **more,
    }
    if "mask" in settings:
        settings["mask"] = np.ascontiguousarray(settings["mask"], np.int8)
    with np.errstate(all="ignore"):
        if options.get("npt_azimuthal"):
            return integrator.integrate2d(image, options["npt"], options["npt_azimuthal"], **settings)
        return integrator.integrate1d(image, options["npt"], **settings)


def assert_agrees(
    result: dict[str, np.ndarray], reference: Any, tolerance: float = 1e-5, but: np.ndarray | None = None
) -> None:
    """Every non-empty bin, intensities and errors, relative to the larger of the value and its error.

    but: radial bins left out, bool (npt,).
    """
    errors = reference.sigma
    compared = np.ones(result["I"].shape, bool) if but is None else np.broadcast_to(~but, result["I"].shape)
    filled = (np.asarray(reference.sum_normalization) != 0) & compared
    assert filled.sum() > 0.5 * filled.size
    np.testing.assert_array_equal(np.isnan(result["I"])[compared], ~filled[compared])
    scale = np.abs(reference.intensity) if errors is None else np.maximum(np.abs(reference.intensity), errors)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    difference = np.abs(result["I"].astype(float) - reference.intensity)
    assert (difference <= tolerance * scale)[filled].all(), f"I differs by {(difference / scale)[filled].max():.2e}"
    assert ("I_errors" in result) == (errors is not None)
    if errors is not None:
        difference = np.abs(result["I_errors"].astype(float) - errors)
        assert (difference <= tolerance * scale)[filled].all(), f"errors: {(difference / scale)[filled].max():.2e}"


def bad_pixels(seed: int = 3, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.random.default_rng(seed).random(shape) < 0.03
    mask[40:44] = True
    return mask


def uncertain_in_pyfai(image: np.ndarray, mask: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Radial bins, as bool (npt,), that the first usable pixel may touch, if pyFAI does not know its azimuth.

    In 2D with full splitting, pyFAI 2026.9 reads the azimuthal extent of that pixel from uninitialised memory: its
    shares differ from process to process (seen with MALLOC_PERTURB_). All other pixels are the same.
    """
    if options["splitting"] != "full" or not options["npt_azimuthal"]:
        return np.zeros(options["npt"], bool)
    alone = np.zeros_like(image)
    alone[np.unravel_index(np.flatnonzero(mask.ravel() == 0)[0], image.shape)] = 100
    header = Detector(pixel_mask={"all": mask.astype(np.uint32)})
    _, result = run(alone, {**options, "npt_azimuthal": None, "error_model": "none"}, detector=header)
    return np.nan_to_num(result["I"]) > 0


def record(path: Path, frames: int, gaps: tuple[int, ...] = ()) -> np.ndarray:
    """A file of rings, all different; frames of the gaps were not written."""
    images = np.array([rings(seed=number) for number in range(frames)])
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data/data", images.shape, images.dtype, chunks=(1, *SHAPE))
        for number in range(frames):
            if number not in gaps:
                data[number] = images[number]
    return images
