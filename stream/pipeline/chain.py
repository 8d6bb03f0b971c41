"""The chain of processors of one worker: every frame through every processor, and what a failure makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import xxhash

from stream.codec.payload import check
from stream.errors import CorruptPayload, InbeamError
from stream.events import EMPTY, Frame, FrameStatus, ScanEnd, ScanStart
from stream.products import Product
from stream.roles import Processor
from stream.work import Work


@dataclass(frozen=True, slots=True)
class Step:
    """A processor and the name that the user knows it by."""

    name: str
    processor: Processor


class Chain:
    """One per worker (and one for the gathering processors): no locks, its own bench."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)
        self._active: list[Step] = []
        self._refusal = ""
        self._work = Work()

    def start(self, scan: ScanStart) -> tuple[Product, ...]:
        """Prepare every processor. One that refuses the scan is left out, and the frames are marked as FAILED:
        the archive must not lose frames because a geometry is wrong."""
        self._work = Work()
        self._active = []
        self._refusal = ""
        products: list[Product] = []
        for step in self._steps:
            try:
                products += step.processor.start(scan, self._work)
            except BaseException as error:  # also SystemExit, which would end the worker in silence
                self._refusal = f"{step.name}: {_words(error)}"
                break
            self._active.append(step)
        return tuple(products)

    @property
    def empty(self) -> bool:
        """True if there is nothing to do to a frame."""
        return not self._steps

    @property
    def refusal(self) -> str:
        """Why a processor cannot take this scan, or ""."""
        return self._refusal

    def process(self, frame: Frame) -> Frame:
        """The frame with its checksums and results, or marked as CORRUPT or FAILED. Raises nothing."""
        if not frame.payloads:
            return frame
        work = self._work
        work.take(frame)
        name = "decode"
        status, problem = frame.status, frame.problem
        try:
            for step in self._active:
                name = step.name
                step.processor.process(work)
            for channel, payload in frame.payloads.items():
                if not work.is_decoded(channel):
                    check(payload)
            if self._refusal:
                status, problem = FrameStatus.FAILED, self._refusal
        except CorruptPayload as error:
            return replace(frame, payloads=EMPTY, results=EMPTY, status=FrameStatus.CORRUPT, problem=str(error))
        except BaseException as error:
            # One bad frame must not end a scan, whatever the processor did; the words reach the ledger and the user.
            status, problem = FrameStatus.FAILED, f"{name}: {type(error).__name__}: {error}"
        checksums = frame.checksums or {
            channel: xxhash.xxh3_64_intdigest(payload.data) for channel, payload in frame.payloads.items()
        }
        results = work.results if not frame.results else {**frame.results, **work.results}
        return replace(frame, results=results, checksums=checksums, status=status, problem=problem)

    def finish(self, end: ScanEnd) -> list[str]:
        """The scan is over for every processor. What went wrong, in words: the files must be completed all the same."""
        problems: list[str] = []
        for step in self._active:
            try:
                step.processor.finish(end)
            except BaseException as error:
                problems.append(f"{step.name}: {_words(error)} (at the end of the scan)")
        self._active = []
        return problems


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, InbeamError) else f"{type(error).__name__}: {error}"
