"""A layered grain as `topotomo` sees it: its scan, frame by frame, and what is made of it."""

from functools import cache
from typing import Any

import numpy as np
from tilted import frame, start
from turned_grains import AL_THETA_DEG, Phantom, layered, scan_frames

from processors import topotomo
from stream import Context, Frame
from stream.testing.gathered import Gathered

TILTS = (5, 4)


FRAME = (26, 24)


SCALE = 1.1


OMEGAS = np.arange(0, 180, 12.0)


VOXELS = 16


SIZE = 16.0


def options(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "motors": (
            {"motor": "mu", "first": 0, "step": 0.032, "points": TILTS[0], "unit": "deg"},
            {"motor": "gamma", "first": 0, "step": 0.032, "points": TILTS[1], "unit": "deg"},
        ),
        "omega": {"motor": "omega", "first": 0, "step": 12, "points": len(OMEGAS), "unit": "deg"},
        "geometry": {"theta_deg": AL_THETA_DEG, "magnification": SCALE},
        "volume": {"steps": (VOXELS,) * 3, "size_um": (SIZE,) * 3},
        "picture_s": 0,
    }
    return {**made, **changes}


def gathered(frames: Any, context: Any = None, **changes: Any) -> Gathered:
    config = topotomo.Config(**options(**changes))
    silent = Context(trouble=lambda text: None)
    found = Gathered(topotomo.create(config, context or silent), [], start("u2", frames[0].payloads["ch"].shape))
    for each in frames:
        found.take(each)
    found.finish(len(frames))
    return found


@cache
def grains() -> Phantom:
    return layered(VOXELS, SIZE, TILTS)


@cache
def scanned() -> tuple[Frame, ...]:
    made = scan_frames(grains(), OMEGAS, AL_THETA_DEG, SCALE, FRAME, TILTS)
    return tuple(frame(number, image, **readings) for number, (image, readings) in enumerate(made))


def error(found: Any, truth: np.ndarray, name: str, place: int) -> float:
    """Mean absolute difference, degrees, over the voxels of the sample; all of them must have a value."""
    inside = np.isfinite(truth[0])
    return float(np.abs(found[name] - 0.032 * truth[place])[inside].mean())
