"""The projections of a scan as the processors `projection` make them: left on the bench for a gatherer.

Where the flats are files, the workers do all steps, and the image travels with the frame. Where they come with the
scan, the gatherer's thread does, which sees the frames in their order; it hands flats and darks to `reference`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from processors.projections.normalise import OpenBeam
from processors.projections.opencl import OpenClEngine
from processors.projections.references import References
from processors.projections.stage import Counted, Stage
from processors.shared.engine import Engine as Computing
from stream.events import Array, Frame, ScanStart
from stream.work import Work

IMAGE = "image"
Engine: TypeAlias = Computing[[OpenBeam | None, float | None], tuple[Array, Counted]]


def travelling(name: str) -> str:
    """Where the image of a `projection` lies among a frame's results, under IMAGE: beside its product, which a sink
    would write."""
    return f"{name} image"


@dataclass(frozen=True, slots=True)
class Link:
    """One `projection`. beam: of its files; None: of the scan, where `from_scan`, or no division. dtype: of the pixels
    that it is given; sent: by the detector, not by a link before it."""

    name: str
    stage: Stage
    channel: str
    dtype: np.dtype[Any]
    engine: Engine
    beam: OpenBeam | None = None
    from_scan: bool = False
    monitor: str | None = None
    sent: bool = True

    def made(self, frame: Frame, image: Callable[[], Array], beam: OpenBeam | None) -> tuple[Array, Counted]:
        """All steps of this link. image: what comes, asked for only if it is needed. Raises ValueError where a step
        cannot be done."""

        def fitting() -> Array:
            found, wanted = image(), (self.dtype, self.stage.of)
            if (found.dtype, found.shape) != wanted:
                raise ValueError(
                    f"frame {frame.index} is {found.dtype} {found.shape}, but its scan began as {wanted[0]} "
                    f"{wanted[1]}: check the detector's settings"
                )
            return found

        if isinstance(self.engine, OpenClEngine):
            payload = frame.payloads.get(self.channel) if self.sent else None
            return self.engine.compute(payload, fitting, beam, self.reading(frame))
        return self.engine.run(fitting(), beam, self.reading(frame))

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

    def for_gatherer(self) -> "Projections":
        """For one of several, each of which hands over the flats and darks that it is given."""
        return Projections(self.uid, self.links)

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
        total = Counted()
        earlier: Array | None = None
        for link in self.links:
            beam = link.beam
            if link.from_scan:
                beam = self.references.beam(work.frame.index)
                if beam is None:
                    return None
            earlier, total = link.made(work.frame, partial(_before, work, link.channel, earlier), beam)
        assert earlier is not None
        return earlier, total


def _before(work: Work, channel: str, earlier: Array | None) -> Array:
    return work.image(channel) if earlier is None else earlier


def counted(results: Mapping[str, Any]) -> Counted:
    """From the results of a frame."""
    mended, outliers, low = (int(results[name]) for name in ("mended", "outliers", "low"))
    return Counted(mended, outliers, low, float(results["air"]))
