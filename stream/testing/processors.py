"""What every processor must do."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stream.codec.payload import decode
from stream.events import Array, Frame, FrameStatus, ScanEnd, ScanStart
from stream.pipeline.chain import Chain, Step
from stream.products import Product
from stream.roles import Processor
from stream.testing import examples
from stream.testing.comparing import assert_same, described
from stream.testing.hooks import missing
from stream.work import Work

FRAMES = 6


class ProcessorConformance:
    """Inherit, and say with `make` how the processor is made; where the small scan of `examples` does not suit it,
    override `scan` and `frame`."""

    def make(self) -> Processor:
        """A new processor, always with the same configuration: one per worker."""
        missing(self, "make(self) -> Processor", "return a new processor, always with the same configuration")

    def earlier(self) -> Sequence[Processor]:
        """New processors that stand before it in the chain."""
        return ()

    def scan(self, uid: str) -> ScanStart:
        """The start of a scan that the processor can process."""
        return examples.scan(uid)

    def frame(self, index: int) -> Frame:
        """A sound frame of that scan, always the same for a number, another for each."""
        return examples.frame(index)

    def answer(self, work: Work) -> Mapping[str, Any]:
        """What the processor has made of the frame in hand: override it for one that leaves things on the bench."""
        return {
            f"{product}.{field}": value for product, fields in work.results.items() for field, value in fields.items()
        }

    def test_is_a_processor(self) -> None:
        assert isinstance(self.make(), Processor)

    def test_products_are_declared_at_the_start_and_the_same_for_every_worker(self) -> None:
        first, second = (self._begun()[1] for _ in range(2))
        assert [described(product) for product in first] == [described(product) for product in second]
        assert len({product.name for product in first}) == len(first)
        for product in first:
            names = [field.name for field in product.fields]
            assert len(set(names)) == len(names)
            assert not product.signal or product.signal in names
            json.dumps(dict(product.parameters))  # provenance is written into files

    def test_every_frame_gives_what_was_declared(self) -> None:
        bench, products = self._begun()
        for index in range(FRAMES):
            bench.process(self.frame(index))
            for product in products:
                per_frame = {field.name: field for field in product.fields if field.per == "frame"}
                given = bench.work.results[product.name] if per_frame else {}
                assert given.keys() == per_frame.keys(), f"{product.name} gives {sorted(given)}"
                for name, field in per_frame.items():
                    value = np.asarray(given[name])
                    assert value.dtype == field.dtype, f"{product.name}.{name} is {value.dtype}"
                    assert fits(value.shape, field.shape), f"{product.name}.{name} is {value.shape}"

    def test_the_answer_is_the_same_in_any_order_and_from_any_worker(self) -> None:
        one, other = self._begun()[0], self._begun()[0]
        straight = self._answers(one, range(FRAMES))
        backwards = self._answers(other, reversed(range(FRAMES)))
        again = self._answers(one, [3, 3, 0])
        for index, wanted in straight.items():
            assert_same(backwards[index], wanted, f"frame {index}, backwards")
        for index, found in again.items():
            assert_same(found, straight[index], f"frame {index}, a second time")

    def test_what_was_given_for_a_frame_stays_when_the_next_one_comes(self) -> None:
        """Results wait for their turn in the order of frames while the worker has gone on to the next."""
        bench, _ = self._begun()
        bench.process(self.frame(0))
        given = self.answer(bench.work)
        kept = {name: np.array(value) for name, value in given.items()}
        for index in range(1, FRAMES):
            bench.process(self.frame(index))
        assert_same(given, kept, "frame 0, later")

    def test_the_pixels_are_left_as_they_are(self) -> None:
        bench, _ = self._begun()
        frame = self.frame(0)
        before = {channel: bytes(payload.data) for channel, payload in frame.payloads.items()}
        bench.process(frame)
        for channel, payload in frame.payloads.items():
            assert bytes(payload.data) == before[channel]
            assert np.array_equal(bench.work.image(channel), decode(payload), equal_nan=payload.dtype.kind == "f")

    def test_scan_after_scan_gives_the_same(self) -> None:
        bench, _ = self._begun()
        first = self._answers(bench, range(2))
        bench.finish()
        bench.start("02-second")
        second = self._answers(bench, range(2))
        bench.finish()
        for index, wanted in first.items():
            assert_same(second[index], wanted, f"frame {index}, next scan")

    def test_a_scan_may_end_without_any_frame(self) -> None:
        bench, _ = self._begun()
        bench.finish()
        bench.start("02-second")
        assert self._answers(bench, [0]).keys() == {0}

    def test_several_workers_at_once_give_what_one_gives(self) -> None:
        """Each worker has another frame in hand at any moment."""
        wanted = self._answers(self._begun()[0], range(FRAMES))
        benches = [self._begun()[0] for _ in range(3)]
        found: list[Mapping[int, Mapping[str, Array]]] = []

        def work(bench: "_Bench", first: int) -> None:
            found.append(self._answers(bench, [(first + index) % FRAMES for index in range(FRAMES)]))

        threads = [threading.Thread(target=work, args=(bench, number)) for number, bench in enumerate(benches)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == len(benches)
        for answers in found:
            for index in range(FRAMES):
                assert_same(answers[index], wanted[index], f"frame {index}, beside other workers")

    def test_holes_and_damaged_frames_are_marked_and_change_nothing_else(self) -> None:
        """Behind the chain, as in the pipeline: a frame that cannot be decoded has no results and a reason."""
        chain = Chain([Step("earlier", each) for each in self.earlier()] + [Step("it", self.make())])
        chain.start(self.scan(examples.UID))
        assert not chain.refusal
        whole = chain.process(self.frame(0))
        assert whole.status is FrameStatus.RECEIVED and whole.checksums, whole.problem
        hole = examples.hole(1)
        assert chain.process(hole) == hole
        bad = chain.process(examples.damaged(self.frame(2)))
        assert bad.status in (FrameStatus.CORRUPT, FrameStatus.FAILED) and bad.problem and not bad.results
        again = chain.process(self.frame(0))
        assert again.status is FrameStatus.RECEIVED
        for name, fields in whole.results.items():
            assert_same(again.results[name], fields, f"{name} of frame 0 behind a damaged one")
        assert not chain.finish(ScanEnd(examples.UID))

    def _begun(self) -> "tuple[_Bench, Sequence[Product]]":
        bench = _Bench([*self.earlier(), self.make()], self.scan)
        products = bench.start(examples.UID)
        return bench, products

    def _answers(self, bench: "_Bench", indices: Iterable[int]) -> Mapping[int, Mapping[str, Array]]:
        found = {}
        for index in indices:
            bench.process(self.frame(index))
            found[index] = {name: np.array(value) for name, value in self.answer(bench.work).items()}
        return found


class _Bench:
    """A chain whose bench can be looked at; what its processors raise is not caught."""

    def __init__(self, processors: Sequence[Processor], scan: Any) -> None:
        self._processors = processors
        self._scan = scan
        self.work = Work()
        self._uid = ""

    def start(self, uid: str) -> Sequence[Product]:
        """The products of the last processor."""
        self.work, self._uid = Work(), uid
        start = self._scan(uid)
        return [each.start(start, self.work) for each in self._processors][-1]

    def process(self, frame: Frame) -> None:
        self.work.take(frame)
        for each in self._processors:
            each.process(self.work)

    def finish(self) -> None:
        for each in self._processors:
            each.finish(ScanEnd(self._uid))


def fits(found: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    """True if an array of this shape may be one frame's of a field; None: any length."""
    return len(found) == len(declared) and all(want in (None, have) for have, want in zip(found, declared, strict=True))
