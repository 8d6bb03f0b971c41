"""The chain of processors of one worker: every frame through every processor, and what a failure makes of it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash

from stream.codec.payload import check
from stream.errors import CorruptPayload, InbeamError
from stream.events import EMPTY, Frame, FrameStatus, ScanEnd, ScanStart
from stream.pipeline.revisions import OptionSet, Revisions
from stream.products import Declared, Field, Product
from stream.registry import Options
from stream.roles import NamesPixels, Processor
from stream.work import Work

AT_ONCE = 4
"""Frames that a worker with a device has in hand."""


@dataclass(slots=True)
class Step:
    """A processor and the name that the user knows it by.

    place: its position in the section `processors`; options: those that it was made with; make: makes another, when
    an option that decides on the layout has been changed between two scans.
    """

    name: str
    processor: Processor
    place: int = -1
    options: Options | None = None
    make: Callable[[Options], Processor] | None = None

    def renew(self, options: OptionSet) -> None:
        """Take the options that hold for the coming scan."""
        if self.make is None or self.place >= len(options.processors):
            return
        wanted = options.processors[self.place]
        if wanted is not self.options:
            self.processor, self.options = self.make(wanted), wanted


class Chain:
    """One per worker: no locks, its own bench."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)
        self._active: list[Step] = []
        self._promised: dict[str, dict[str, Field]] = {}
        self._refusal = ""
        self._work = Work()
        self._revisions = Revisions(OptionSet())

    def start(
        self,
        scan: ScanStart,
        options: OptionSet | None = None,
        recipes: Sequence[str] = (),
        common: dict[object, Any] | None = None,
    ) -> tuple[Product, ...]:
        """Prepare every processor. One that refuses the scan is left out, and the frames are marked as FAILED:
        the archive must not lose frames because a geometry is wrong. common: see `Work`."""
        self._work = Work(common=common)
        self._active = []
        self._promised = {}
        self._refusal = ""
        self._revisions = Revisions(options or OptionSet())
        products: list[Product] = []
        for step in self._steps:
            try:
                if options is not None:
                    step.renew(options)
                found = step.processor.start(scan, self._work)
            except BaseException as error:  # SystemExit too: a plug-in must not end the worker in silence
                self._refusal = f"{step.name}: {words(error)}"
                break
            recipe = recipes[step.place] if 0 <= step.place < len(recipes) else ""
            products += [replace(product, recipe=recipe) for product in found]
            for product in found:
                self._promised[product.name] = {field.name: field for field in product.fields}
            self._active.append(step)
        self._work.put(Declared(tuple(products)))
        self._work.expect(frozenset().union(*(_pixels_of(step.processor, scan) for step in self._active)))
        return tuple(products)

    def use(self, revisions: Revisions) -> None:
        """The options of the scan that has been started, by frame number."""
        self._revisions = revisions

    @property
    def refusal(self) -> str:
        """Why a processor cannot take this scan, or ""."""
        return self._refusal

    def bench(self) -> Work:
        """A bench for a gatherer, with what the processors have left for the scan."""
        return self._work.beside()

    @property
    def at_once(self) -> int:
        """How many frames it wants in hand: of more than one each but the first is begun while another is computed."""
        return AT_ONCE if self._work.looks_ahead else 1

    def process(self, frame: Frame, following: Frame | None = None) -> Frame:
        """The frame with its checksums and results, or marked as CORRUPT or FAILED. Raises nothing.

        following: the frame that this chain gets next, if it is known.
        """
        if not frame.payloads:
            return frame
        work = self._work
        work.take(frame, following)
        name = "decode"
        status, problem = frame.status, frame.problem
        revision = self._revisions.at(frame.index)
        try:
            for step in self._active:
                name = step.name
                work.hand(revision.options.of_processor(step.place))
                step.processor.process(work)
            for channel, payload in frame.payloads.items():
                if not work.is_decoded(channel):
                    check(payload)
            if self._refusal:
                status, problem = FrameStatus.FAILED, self._refusal
            elif misfit := self._misfit():
                work.results = {}
                status, problem = FrameStatus.FAILED, misfit
        except CorruptPayload as error:
            return replace(frame, payloads=EMPTY, results=EMPTY, status=FrameStatus.CORRUPT, problem=str(error))
        except BaseException as error:
            # One bad frame must not end a scan, whatever the processor did; the words reach the ledger and the user.
            status, problem = FrameStatus.FAILED, f"{name}: {words(error)}"
        checksums = frame.checksums or {
            channel: xxhash.xxh3_64_intdigest(payload.data) for channel, payload in frame.payloads.items()
        }
        return Frame(  # `replace` takes three times as long, which small frames feel
            frame.scan,
            frame.index,
            frame.payloads,
            frame.received,
            frame.detector_time,
            frame.stop_time,
            frame.absolute_time,
            frame.exposure_s,
            frame.readings,
            status,
            problem,
            checksums,
            work.results,
            revision.number,
        )

    def finish(self, end: ScanEnd) -> list[str]:
        """The scan is over for every processor. What went wrong, in words: the files must be completed all the same."""
        problems: list[str] = []
        for step in self._active:
            try:
                step.processor.finish(end)
            except BaseException as error:
                problems.append(f"{step.name}: {words(error)} (at the end of the scan)")
        self._active = []
        return problems

    def _misfit(self) -> str:
        """Why a result is not what its product promised: the processor's failure, not that of the sink that trips."""
        for name, values in self._work.results.items():
            promised = self._promised.get(name)
            if promised is None:
                continue
            for key, value in values.items():
                field = promised.get(key)
                if field is not None and (problem := _unlike(value, field)):
                    return f"{name}: the result {key!r} {problem}"
        return ""


def _pixels_of(processor: Processor, scan: ScanStart) -> Collection[str]:
    return processor.pixels_of if isinstance(processor, NamesPixels) else scan.channels


def _unlike(value: object, field: Field) -> str:
    if isinstance(value, str | bytes) or value is None:
        return f"is {value!r}, not a number"
    shape = value.shape if isinstance(value, np.ndarray | np.generic) else np.asarray(value).shape
    if shape != field.shape and (
        len(shape) != len(field.shape)
        or any(want is not None and have != want for have, want in zip(shape, field.shape, strict=True))
    ):
        return f"has the shape {shape}, but {field.shape} was declared"
    return ""


def words(error: BaseException) -> str:
    """What went wrong, for the user."""
    return str(error) if isinstance(error, InbeamError) else f"{type(error).__name__}: {error}"
