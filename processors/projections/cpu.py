"""Projections on the CPU: the numbers that a device is measured by."""

from dataclasses import dataclass

from processors.projections.normalise import OpenBeam
from processors.projections.stage import Counted, Stage
from processors.shared.correction import Correction
from stream.events import Array


@dataclass(frozen=True, slots=True)
class CpuEngine:
    """correction: what is known of dead and saturated pixels, None where the images are no counts."""

    stage: Stage
    correction: Correction | None = None

    def run(self, image: Array, beam: OpenBeam | None, monitor: float | None) -> tuple[Array, Counted]:
        """As `Stage`. Raises ValueError where a step cannot be done."""
        bad = None if self.correction is None else self.correction.bad(image)
        return self.stage(image, beam, monitor, bad)
