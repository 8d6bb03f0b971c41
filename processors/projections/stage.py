"""All steps of one `projection`, for images of one shape."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from processors.preparing.options import Area
from processors.projections import air, phase, pixels, shape
from processors.projections.normalise import OpenBeam, open_beam
from processors.projections.options import Outliers, Steps
from processors.shared.announce import announce
from stream.errors import ConfigError
from stream.events import Array


@dataclass(frozen=True, slots=True)
class Counted:
    """Pixels of one image that were not taken as they came. mended: not known, put between their neighbours. outliers:
    replaced. low: too dark for a logarithm. air: what the air region was divided by, NaN without."""

    mended: int = 0
    outliers: int = 0
    low: int = 0
    air: float = float("nan")


class Stage:
    """of, cropped, shape: (rows, columns) of what comes, of what is kept of it, and of what comes out."""

    def __init__(self, steps: Steps, of: tuple[int, int], where: str) -> None:
        """Raises ConfigError, with paths below `where`, for areas beyond the image."""
        self.steps, self.of = steps, of
        turned = shape.rotated_shape(of, steps.rotate)
        for key, area in (("air", steps.air), ("crop", steps.crop)):
            if area is not None and (area.y[1] > turned[0] or area.x[1] > turned[1]):
                text = f"reaches beyond the images of {turned[0]} rows and {turned[1]} columns: correct it"
                raise ConfigError([(f"{where}.{key}", text)])
        self.cropped = cropped = turned if steps.crop is None else _shape_of(steps.crop)
        self.shape = shape.scaled_shape(cropped, steps.scale_down)
        if min(self.shape) < 1:
            raise ConfigError([(f"{where}.scale_down", f"leaves nothing of {cropped}: choose a smaller number")])
        self._phase: phase.Paganin | None = None
        if (given := steps.phase) is not None:
            self._phase = phase.Paganin(cropped, **given.model_dump())

    def centre(self, column: float) -> float:
        """The column of the axis behind all steps, from that in the turned image."""
        left = 0 if self.steps.crop is None else self.steps.crop.x[0]
        return shape.scaled_centre(column - left, self.steps.scale_down)

    def input_column(self, centre: float) -> float:
        """The inverse of `centre`."""
        left = 0 if self.steps.crop is None else self.steps.crop.x[0]
        return (centre + 0.5) * self.steps.scale_down - 0.5 + left

    def __call__(
        self, image: Array, beam: OpenBeam | None = None, monitor: float | None = None, bad: Array | None = None
    ) -> tuple[Array, Counted]:
        """image (rows, columns): counts, or what an earlier stage gave -> float32, and what was done to its pixels.

        bad: bool (rows, columns), pixels that are not to be believed.

        Raises ValueError where a step cannot be done: no air, a monitor of 0.
        """
        steps = self.steps
        found = np.asarray(image, np.float32) if beam is None else beam.transmission(image, monitor)
        if bad is not None and bad.any():
            found = np.where(bad, np.float32(np.nan), found)
        if steps.rotate:
            found = shape.rotated(found, steps.rotate)
        level = float("nan")
        if steps.air is not None:
            found, level = air.by_region(found, steps.air.part)
        if steps.crop is not None:
            found = found[steps.crop.part]
        found, mended = pixels.mended(found)
        if (cut := steps.cut_off) is not None:
            found = pixels.cut_off(found, cut.part, cut.low, cut.high)
        outliers = 0
        if (out := steps.outliers) is not None:
            found, outliers = pixels.without_outliers(found, out.difference, out.size, out.kind)
        if steps.median is not None:
            found = pixels.median(found, steps.median)
        return self.finished(found, Counted(mended, outliers, 0, level))

    def finished(self, found: Array, counted: Counted) -> tuple[Array, Counted]:
        """The steps from phase retrieval on."""
        steps, low = self.steps, 0
        if self._phase is not None:
            found = self._phase(found)
        if steps.logarithm:
            found, low = pixels.line_integrals(found)
        if steps.scale_down > 1:
            found = shape.scaled_down(found, steps.scale_down, steps.scale_by)
        return np.ascontiguousarray(found), replace(counted, low=low)


def compile_kernels(dtype: np.dtype[Any]) -> None:
    """For counts of this type, before the frames come; some seconds the first time on a machine."""
    announce(f"the kernels of projections for {dtype} pixels", dtype.str, folder=Path(__file__).parent)
    beam = open_beam(np.full((4, 4), 2.0))
    Stage(Steps(outliers=Outliers(difference=1.0)), (4, 4), "")(np.ones((4, 4), dtype), beam)


def _shape_of(area: Area) -> tuple[int, int]:
    return area.y[1] - area.y[0], area.x[1] - area.x[0]
