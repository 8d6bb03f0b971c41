"""What makes the projections of a file ready: the CPU or an OpenCL device, to which the threads take turns."""

from collections.abc import Callable
from typing import Any

import numpy as np

from processors.projections.cpu import CpuEngine
from processors.projections.engines import own_frames
from processors.projections.normalise import OpenBeam
from processors.projections.opencl import OpenClEngine
from processors.projections.stage import Counted, Stage
from processors.shared.device import Device
from processors.shared.engine import Engine, start
from stream.events import Array

Run = Callable[[Array, OpenBeam | None, float | None], tuple[Array, Counted]]


def engine_for(wish: str, stage: Stage, dtype: np.dtype[Any], divides: bool) -> tuple[Run, str]:
    """What makes an image ready, and where. dtype: of the first projection; divides: all have an open beam.

    It raises ValueError as a `Stage`, on a device also for pixels that the type of the first ones cannot hold. Raises
    ConfigError for a device that is not there, or cannot do it.
    """

    def on_device(device: Device) -> Engine[[OpenBeam | None, float | None], tuple[Array, Counted]]:
        def frames() -> Any:
            return own_frames(device, stage.of, dtype)

        return OpenClEngine(stage, device, dtype, frames, key="--device", divides=divides)

    made, where = start("--device", wish, lambda: CpuEngine(stage), on_device)

    def run(image: Array, beam: OpenBeam | None, monitor: float | None) -> tuple[Array, Counted]:
        if where != "cpu" and image.dtype != dtype:
            if not np.can_cast(image.dtype, dtype, "safe"):
                text = f"its pixels are {image.dtype}, those of the first projection {dtype}: set --device cpu"
                raise ValueError(text)
            image = image.astype(dtype)
        return made.run(image, beam, monitor)

    return run, where
