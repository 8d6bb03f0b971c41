"""A sample on a rotation stage, as frames of one row of pixels: two phases, each in its own bins, and a diode."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from phantoms import sinogram

from processors import diffraction_tomography
from sinks import hdf5
from stream import Axis, Context, Encoding, Field, Frame, Payload, Product, ScanEnd, ScanStart, Work
from stream.events import Detector
from stream.products import Declared
from stream.testing.gathered import Gathered

SIZE, BINS = 40, 8
ANGLES = np.arange(0, 180, 3.0)
CENTRE = 18.3
ROIS = {"alpha": {"range": (-0.5, 3.5)}, "beta": {"range": (3.5, 7.5)}}
SHARE = np.array([1.0, 4, 2, 1, 0, 0, 0, 0]), np.array([0.0, 0, 0, 0, 1, 1, 5, 1])


class Rows:
    """The pattern is the first row of the pixels."""

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        axis = Axis("q", np.arange(self.bins, dtype=float), "1/nm", "q")
        return (Product("rows", (Field("I", (self.bins,), np.dtype("f4"), "counts"),), "I", (axis,)),)

    def process(self, work: Work) -> None:
        work.results["rows"] = {"I": work.image()[0].astype(np.float32)}

    def finish(self, end: ScanEnd) -> None:
        pass


def sample(angles: np.ndarray = ANGLES, centre: float = CENTRE, columns: int = SIZE) -> np.ndarray:
    """float32 (angles, columns, bins): alpha is the phantom, beta its mirror image and half as much."""
    alpha = 100 * sinogram(SIZE, angles, centre, columns)
    beta = 50 * sinogram(SIZE, angles + 90, centre, columns)
    found: np.ndarray = (alpha[..., None] * SHARE[0] + beta[..., None] * SHARE[1]).astype(np.float32)
    return found


def start(uid: str = "one", bins: int = BINS, **changes: Any) -> ScanStart:
    given: dict[str, Any] = {"expected": None, "readings": None, **changes}
    expected, readings = given.pop("expected"), given.pop("readings")
    shape, kind = (1, bins), np.dtype("f4")
    return ScanStart(uid, "one", shape, kind, ("ch",), expected, Detector(), 0.0, readings=readings)


def frame(index: int, pattern: np.ndarray, uid: str = "one", **readings: float) -> Frame:
    row = np.ascontiguousarray(pattern[None], np.float32)
    payload = Payload(row.tobytes(), Encoding.RAW, (1, row.shape[1]), row.dtype)
    return Frame(uid, index, {"ch": payload}, 0.0, readings=readings)


def frames(points: np.ndarray, *, turned: bool = False, **readings: np.ndarray) -> list[Frame]:
    """points (angles, columns, bins), readings (angles, columns); turned: the rotation is the fast direction."""
    if turned:
        points, readings = points.swapaxes(0, 1), {name: values.T for name, values in readings.items()}
    flat = points.reshape(-1, points.shape[-1])
    told = {name: np.broadcast_to(values, points.shape[:2]).ravel() for name, values in readings.items()}
    return [
        frame(number, pattern, **{name: float(values[number]) for name, values in told.items()})
        for number, pattern in enumerate(flat)
    ]


def options(**changes: Any) -> dict[str, Any]:
    rotation = {"motor": "rot", "first": 0.0, "step": 3.0, "points": len(ANGLES)}
    made = {"slow": rotation, "fast": {"motor": "y", "points": SIZE}, "rois": ROIS, "spare_rois": 1, "picture_s": 0}
    return {**made, **changes}


def gathered(given: Iterable[Frame], *, told: list[str] | None = None, **changes: Any) -> Gathered:
    """The tomogram of these frames, and what a file would hold of it."""
    config = diffraction_tomography.Config(**options(**changes))
    context = Context(trouble=(told if told is not None else []).append)
    found = Gathered(diffraction_tomography.create(config, context), [Rows()], start())
    count = 0
    for each in given:
        found.take(each)
        count += 1
    found.finish(count)
    return found


def filed(path: Path, gatherer: Any, given: Sequence[Frame], processor: Any = None, **scan: Any) -> Path:
    """What the `hdf5` sink has of these frames and of what the gatherer makes of them."""
    sink, work = hdf5.create(hdf5.Config(path=str(path))), Work()
    begun = start(expected=len(given), readings=dict.fromkeys(given[0].readings, ""), **scan)
    earlier = Rows() if processor is None else processor
    work.put(Declared(tuple(earlier.start(begun, work))))
    sink.start(begun, gatherer.start(begun, work))
    for each in given:
        work.take(each)
        if each.payloads:
            earlier.process(work)
        sink.write(each)
        for update in gatherer.take(work):
            sink.write(update)
    end = ScanEnd(begun.uid, expected=len(given))
    for update in gatherer.finish(end):
        sink.write(update)
    sink.finish(end)
    sink.close()
    return path
