"""What every gatherer must do."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from stream.errors import InbeamError
from stream.events import Array, Frame, FrameStatus, ScanStart
from stream.ledger import Partial
from stream.roles import Gatherer, Mergeable, Processor, Resuming
from stream.testing import examples
from stream.testing.comparing import assert_same, described
from stream.testing.gathered import Gathered
from stream.testing.hooks import missing

FRAMES = 8


class GathererConformance:
    """Inherit, and say with `make` how the gatherer is made; where the small scan of `examples` does not suit it,
    override `scan` and `frame`.

    exact: the product has the same bits in whatever order the frames come. Where sums of floats differ by their
    rounding, give the relative difference that is allowed. What is made of the products of several processes (see
    `Mergeable`) is held to the same.
    """

    exact: bool | float = True

    def make(self) -> Gatherer:
        """A new gatherer, always with the same configuration."""
        missing(self, "make(self) -> Gatherer", "return a new gatherer, always with the same configuration")

    def earlier(self) -> Sequence[Processor]:
        """New processors that stand before it in the chain."""
        return ()

    def scan(self, uid: str) -> ScanStart:
        """The start of a scan that it can gather."""
        return examples.scan(uid, FRAMES)

    def frame(self, index: int) -> Frame:
        """A sound frame of that scan, always the same for a number, another for each."""
        return examples.frame(index)

    def test_is_a_gatherer(self) -> None:
        assert isinstance(self.make(), Gatherer)

    def test_products_belong_to_the_scan_and_are_declared_at_its_start(self) -> None:
        first, second = (self._begun().products for _ in range(2))
        assert first and [described(product) for product in first] == [described(product) for product in second]
        for product in first:
            assert product.fields and all(field.per == "scan" for field in product.fields)
            assert not product.signal or product.signal in {field.name for field in product.fields}
            assert all(None not in field.shape[1:] for field in product.fields)
            json.dumps(dict(product.parameters))  # provenance is written into files

    def test_updates_fit_what_was_declared(self) -> None:
        """Checked by whoever applies them: see `Gathered.apply`."""
        gathered = self._gathered(range(FRAMES))
        assert all(gathered.fields(product.name) for product in gathered.products)

    def test_every_frame_with_data_is_covered_and_no_hole(self) -> None:
        gathered = self._begun()
        for index in (0, 1, 4, 5):
            gathered.take(self.frame(index))
        for index, status in ((2, FrameStatus.CORRUPT), (3, FrameStatus.MISSING)):
            gathered.take(examples.hole(index, status))
        gathered.finish(6)
        for product in gathered.products:
            assert gathered.covered[product.name] == {0, 1, 4, 5}

    def test_a_hole_changes_nothing(self) -> None:
        whole = self._gathered([0, 1, 3])
        holed = self._begun()
        for index in (0, 1, 2, 3):
            holed.take(self.frame(index) if index != 2 else examples.hole(2))
        holed.finish(FRAMES)
        self._same(holed, whole, "with a hole")

    def test_the_order_of_frames_does_not_matter(self) -> None:
        straight = self._gathered(range(FRAMES))
        for order in ([1, 0, 3, 2, 5, 4, 7, 6], [*range(4, FRAMES), *range(4)], list(reversed(range(FRAMES)))):
            self._same(self._gathered(order), straight, f"in the order {order}")

    def test_when_it_is_asked_for_what_is_due_does_not_matter(self) -> None:
        straight, asked = self._gathered(range(FRAMES)), self._begun()
        asked.tick()
        for index in range(FRAMES):
            asked.take(self.frame(index))
            asked.tick()
            asked.tick()
        asked.finish(FRAMES)
        self._same(asked, straight, "asked ten times as often")

    def test_what_was_given_stays_when_the_next_frame_comes(self) -> None:
        """Updates wait for the sinks in queues of their own."""
        gathered = self._begun()
        given: list[tuple[Array, Array]] = []
        for index in range(FRAMES):
            updates = [*gathered.take(self.frame(index)), *gathered.tick()]
            given += [(piece.values, piece.values.copy()) for each in updates for piece in each.pieces.values()]
        given += [
            (piece.values, piece.values.copy()) for each in gathered.finish(FRAMES) for piece in each.pieces.values()
        ]
        for now, then in given:
            assert now.tobytes() == then.tobytes(), "an update changed after it was given"

    def test_a_frame_that_cannot_be_decoded_is_left_out_and_changes_nothing(self) -> None:
        whole, damaged = self._gathered([0, 1, 3]), self._begun()
        for index in (0, 1):
            damaged.take(self.frame(index))
        self._fail(damaged, examples.damaged(self.frame(2)))
        damaged.take(self.frame(3))
        damaged.finish(FRAMES)
        for product in damaged.products:
            assert 2 not in damaged.covered[product.name]
        self._same(damaged, whole, "behind a damaged frame")

    def test_scan_after_scan_begins_from_nothing(self) -> None:
        gathered = self._gathered(range(FRAMES))
        again = gathered.again("02-second", self.scan)
        for index in (2, 3):
            again.take(self.frame(index))
        again.finish(FRAMES)
        self._same(again, self._gathered([2, 3]), "in the second scan")

    def test_a_scan_may_end_without_any_frame(self) -> None:
        gathered = self._begun()
        gathered.tick()
        gathered.finish(0)
        assert not any(gathered.covered.values())

    def test_after_a_restart_the_product_is_that_of_a_run_that_was_never_killed(self) -> None:
        """Killed after any frame, with whatever the file had by then."""
        wanted = self._gathered(range(FRAMES))
        for killed in range(FRAMES):
            before = self._begun()
            for index in range(killed):
                before.take(self.frame(index))
                if index % 2:
                    before.tick()
            after = self._begun()
            has: set[int] = set()
            if isinstance(after.gatherer, Resuming):
                has = set(after.gatherer.resume(before.saved()))
                assert all(has <= covered for covered in before.covered.values())
                after.go_on_from(before, has)
            for index in range(FRAMES):
                if index not in has:
                    after.take(self.frame(index))
            after.finish(FRAMES)
            self._same(after, wanted, f"killed after {killed} frames")

    def test_the_products_of_several_processes_make_that_of_one(self) -> None:
        """Whoever got which frame, and where some got none."""
        whole = self._gathered(range(FRAMES))
        divisions = (
            [range(0, FRAMES, 2), range(1, FRAMES, 2)],
            [range(FRAMES // 2, FRAMES), range(FRAMES // 2)],
            [(1, 4, 7), (), (6, 0), (2, 3, 5)],
        )
        for division in divisions:
            merging = self._divided()
            if merging is not None:
                parts = [self._part(number, indices) for number, indices in enumerate(division)]
                found = self._begun()
                found.merge(merging, parts)
                self._same(found, whole, f"of {[list(indices) for indices in division]}", partial=False)

    def test_a_frame_that_two_processes_got_is_in_the_whole_once_or_the_whole_is_refused(self) -> None:
        whole, found, merging = self._gathered(range(FRAMES)), self._begun(), self._divided()
        if merging is not None:
            parts = [self._part(0, range(5)), self._part(1, range(4, FRAMES))]
            try:
                found.merge(merging, parts)
            except InbeamError:
                return
            self._same(found, whole, "with a frame that came twice", partial=False)

    def _divided(self) -> Mergeable | None:
        made = self.make()
        return made if isinstance(made, Mergeable) and not made.undivided else None

    def _part(self, number: int, indices: Iterable[int]) -> Mapping[str, Partial]:
        part = Gathered(self.make(), self.earlier(), replace(self.scan(examples.UID), part=number))
        for index in indices:
            part.take(self.frame(index))
        part.finish(FRAMES)
        return part.partial()

    def _begun(self) -> Gathered:
        return Gathered(self.make(), self.earlier(), self.scan(examples.UID))

    def _gathered(self, indices: Iterable[int]) -> Gathered:
        gathered = self._begun()
        for index in indices:
            gathered.take(self.frame(index))
        gathered.finish(FRAMES)
        return gathered

    def _fail(self, gathered: Gathered, frame: Frame) -> None:
        try:
            gathered.take(frame)
        except Exception:
            return
        covered = gathered.covered.values()
        assert not any(frame.index in each for each in covered), "covers a frame that cannot be decoded"

    def _same(self, found: Gathered, wanted: Gathered, what: str, *, partial: bool = True) -> None:
        for product in wanted.products:
            have, want = found.fields(product.name), wanted.fields(product.name)
            if not partial:
                left_out = {field.name for field in product.fields if field.partial}
                want = {name: values for name, values in want.items() if name not in left_out}
            if self.exact is True:
                assert_same(have, want, f"{product.name} {what}")
                continue
            assert have.keys() == want.keys()
            for name, values in want.items():
                where = f"{product.name}.{name} {what}"
                if values.dtype.kind in "fc":
                    np.testing.assert_allclose(have[name], values, rtol=self.exact, err_msg=where)
                else:
                    np.testing.assert_array_equal(have[name], values, err_msg=where)
            assert found.covered[product.name] == wanted.covered[product.name], what
