"""The projections of a scan as the processors `projection` make them: left on the bench for a gatherer.

Where the flats are files, the workers do all steps, and the image travels with the frame. Where they come with the
scan, the gatherer's thread does, which sees the frames in their order; it hands flats and darks to `reference`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from processors.projections.normalise import OpenBeam
from processors.projections.references import References
from processors.projections.stage import Counted, Stage
from processors.shared.correction import Correction
from stream.events import Array, Frame, ScanStart
from stream.work import Work

IMAGE = "image"


def travelling(name: str) -> str:
    """Where the image of a `projection` lies among a frame's results, under IMAGE: beside its product, which a sink
    would write."""
    return f"{name} image"


@dataclass(frozen=True, slots=True)
class Link:
    """One `projection`. beam: of its files; None: of the scan, where `from_scan`, or no division."""

    name: str
    stage: Stage
    channel: str
    beam: OpenBeam | None = None
    from_scan: bool = False
    monitor: str | None = None
    correction: Correction | None = None
    """What is known of dead and saturated pixels; None behind another link."""

    def made(self, image: Array, frame: Frame, beam: OpenBeam | None) -> tuple[Array, Counted]:
        """All steps of this link. Raises ValueError where one cannot be done."""
        bad = None if self.correction is None else self.correction.bad(image)
        return self.stage(image, beam, self.reading(frame), bad)

    def reading(self, frame: Frame) -> float | None:
        """Of the monitor, None where it is not asked for."""
        return None if self.monitor is None else frame.readings.get(self.monitor, float("nan"))


@dataclass(slots=True)
class Projections:
    """All of a scan, in their order."""

    uid: str
    links: tuple[Link, ...] = ()
    references: References = field(default_factory=References)

    @classmethod
    def of(cls, work: Work, scan: ScanStart) -> "Projections":
        """What the earlier processors have left; without any, frames are taken as they come."""
        found = work.get(cls)
        return found if found is not None and found.uid == scan.uid else cls(scan.uid)

    def shape(self, scan: ScanStart) -> tuple[int, int]:
        """(rows, columns) of what `image` gives."""
        return self.links[-1].stage.shape if self.links else scan.shape

    @property
    def waits(self) -> bool:
        """True where flats and darks are to be handed to `reference`."""
        return any(link.from_scan for link in self.links)

    @property
    def line_integrals(self) -> bool:
        """True where a projection is a logarithm; False: a transmission, or counts."""
        return any(link.stage.steps.logarithm for link in self.links)

    def reference(self, kind: str, work: Work) -> None:
        """The frame in hand is a flat or a dark (kind: flat, dark)."""
        link = next(link for link in self.links if link.from_scan)
        reading = link.reading(work.frame)
        image = work.image(link.channel)
        self.references.add(kind, work.frame.index, image, float("nan") if reading is None else reading)

    def image(self, work: Work) -> tuple[Array, Counted] | None:
        """The projection of the frame in hand, float32; None where its flats have not come.

        Raises ValueError where a step cannot be done, KeyError without the channel.
        """
        if not self.links:
            return np.asarray(work.image(), np.float32), Counted()
        last = self.links[-1]
        if (done := work.results.get(travelling(last.name))) is not None:
            return done[IMAGE], counted(work.results[last.name])
        found, total = work.image(self.links[0].channel), Counted()
        for link in self.links:
            beam = link.beam
            if link.from_scan:
                beam = self.references.beam(work.frame.index)
                if beam is None:
                    return None
            found, total = link.made(found, work.frame, beam)
        return found, total


def counted(results: Mapping[str, Any]) -> Counted:
    """From the results of a frame."""
    mended, outliers, low = (int(results[name]) for name in ("mended", "outliers", "low"))
    return Counted(mended, outliers, low, float(results["air"]))
