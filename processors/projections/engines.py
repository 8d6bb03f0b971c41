"""What does the steps of a `projection`: the CPU or a device, in each worker or for the gatherers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.projections.chain import Engine
from processors.projections.cpu import CpuEngine
from processors.projections.normalise import OpenBeam
from processors.projections.opencl import OpenClEngine, Tables
from processors.projections.options import Config
from processors.projections.stage import Stage, compile_kernels
from processors.shared.correction import Correction
from processors.shared.device import Device, context_of
from processors.shared.device_frames import Desk, DeviceFrames
from processors.shared.engine import start
from stream.work import Work


@dataclass(frozen=True, slots=True)
class Given:
    """What is to be done. dtype: of the pixels that come; beam: the only one, None where others come, or none."""

    stage: Stage
    dtype: np.dtype[Any]
    correction: Correction | None
    beam: OpenBeam | None
    from_scan: bool


def engine_for(config: Config, given: Given, images: str, work: Work, by_gatherer: bool) -> tuple[Engine, str]:
    """The engine, and where it runs. images: what the pixels are called that come. Raises ConfigError."""
    if by_gatherer:  # whose threads take turns at it, and have no bench of their own yet
        return work.once(("projection", config.name, "engine"), lambda: _made(config, given, images, work, True))
    return _made(config, given, images, work, False)


def own_frames(device: Device, shape: tuple[int, int], dtype: np.dtype[Any]) -> DeviceFrames:
    """That no other processor shares. Raises pyopencl.Error."""
    import pyopencl as cl

    return DeviceFrames(device, cl.CommandQueue(context_of(device)), shape, dtype)


def _made(config: Config, given: Given, images: str, work: Work, alone: bool) -> tuple[Engine, str]:
    stage, dtype, beam, correction = given.stage, given.dtype, given.beam, given.correction

    def on_cpu() -> Engine:
        compile_kernels(dtype)
        return CpuEngine(stage, correction)

    def on_device(device: Device) -> Engine:
        def frames() -> DeviceFrames:
            if alone:
                return own_frames(device, stage.of, dtype)
            return Desk.of(work).frames(device, images, stage.of, dtype)

        def tables() -> Tables | None:
            key = ("projection", config.name, "open beam", str(device))
            return None if beam is None else work.once(key, lambda: Tables(device, beam))

        made = OpenClEngine(
            stage, device, dtype, frames, correction, key=f"{config.name}.device",
            divides=beam is not None or given.from_scan, tables=tables,
        )  # fmt: skip
        if stage.steps.phase is not None or not stage.steps.logarithm:
            compile_kernels(dtype)  # of what is left for the CPU
        return made

    return start(f"{config.name}.device", config.device, on_cpu, on_device)
