"""Frames of a mosaicity scan, the images that `mosaicity` makes of them, and those that NumPy does."""

from typing import Any

import numpy as np

from processors import mosaicity
from stream import Encoding, Frame, Payload, ScanStart
from stream.events import Detector
from stream.testing.gathered import Gathered

FWHM = 2 * np.sqrt(2 * np.log(2))
SHAPE = (9, 13)
CHI = {"motor": "chi", "first": -1.0, "step": 0.08, "points": 7}
RZ = {"motor": "diffrz", "first": 2.0, "step": -0.05, "points": 5}


def start(dtype: str = "u2", shape: tuple[int, int] = SHAPE, **detector: Any) -> ScanStart:
    return ScanStart("one", "one", shape, np.dtype(dtype), ("ch",), None, Detector(**detector), 0.0)


def frame(index: int, image: np.ndarray, **readings: float) -> Frame:
    payload = Payload(np.ascontiguousarray(image).tobytes(), Encoding.RAW, image.shape, image.dtype)
    return Frame("one", index, {"ch": payload}, 0.0, readings=readings)


def begun(scan: ScanStart, context: Any = None, **options: Any) -> Gathered:
    config = mosaicity.Config(**options)
    made = mosaicity.create(config) if context is None else mosaicity.create(config, context)
    return Gathered(made, [], scan)


def gathered(scan: ScanStart, frames: Any, context: Any = None, **options: Any) -> Gathered:
    found = begun(scan, context, **options)
    for each in frames:
        found.take(each)
    found.finish(100)
    return found


def a_scan(seed: int = 0) -> tuple[list[Frame], np.ndarray, np.ndarray]:
    """Frames of a chi x diffrz scan with jittering motors, their signals, and their positions (2, frames)."""
    dice = np.random.default_rng(seed)
    chi, rz = (each.ravel() for each in np.meshgrid(np.arange(7), np.arange(5), indexing="ij"))
    where = np.array([-1 + 0.08 * chi, 2 - 0.05 * rz]) + dice.uniform(-0.01, 0.01, (2, 35))
    rows, columns = np.indices(SHAPE)
    spots = np.exp(-((where[0, :, None, None] + 0.9 - 0.03 * columns) ** 2) / 0.02)
    spots = spots * np.exp(-((where[1, :, None, None] - 1.95 + 0.01 * rows) ** 2) / 0.01)
    images = dice.poisson(300 * spots + 2).astype(np.uint16)
    frames = [frame(n, images[n], chi=where[0, n], diffrz=where[1, n]) for n in range(35)]
    return frames, images.astype(np.float64), where


def by_numpy(signal: np.ndarray, where: np.ndarray) -> dict[str, np.ndarray]:
    """Central moments in two passes; signal (frames, rows, columns), where (motors, frames)."""
    total = signal.sum(0)
    mean = np.einsum("kn,nij->kij", where, signal) / total
    away = where[:, :, None, None] - mean[:, None]
    variance = np.einsum("nij,knij,lnij->klij", signal, away, away, optimize=True) / total
    with np.errstate(invalid="ignore"):
        sigma = np.sqrt(np.einsum("kkij->kij", variance))
    found = {"sum": total, "maximum": signal.max(0), "cov": variance, "com": mean, "width": FWHM * sigma}
    found["skew"] = (signal * away**3).sum(1) / total / sigma**3
    found["kurtosis"] = (signal * away**4).sum(1) / total / sigma**4 - 3
    found["peak"] = where[:, signal.argmax(0)]
    return found


def assert_as_numpy(found: Any, signal: np.ndarray, where: np.ndarray, names: Any = ("chi", "diffrz")) -> None:
    wanted = by_numpy(signal, where)
    np.testing.assert_allclose(found["sum"], wanted["sum"], rtol=1e-12)
    np.testing.assert_allclose(found["maximum"], wanted["maximum"], rtol=1e-12)
    for place, name in enumerate(names):
        np.testing.assert_allclose(found[f"com_{name}"], wanted["com"][place], rtol=1e-13)
        np.testing.assert_allclose(found[f"width_{name}"], wanted["width"][place], rtol=1e-11)
        np.testing.assert_allclose(found[f"skew_{name}"], wanted["skew"][place], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found[f"kurtosis_{name}"], wanted["kurtosis"][place], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found[f"peak_{name}"], wanted["peak"][place], rtol=1e-13)
        for other in range(place, len(names)):
            cov = found[f"cov_{name}_{names[other]}"]
            np.testing.assert_allclose(cov, wanted["cov"][place, other], rtol=1e-10, atol=1e-15)
