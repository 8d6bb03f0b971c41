"""The conformance suite of gatherers sees the faults that it is there for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from total import Config, Total

from stream import Field, Piece, Product, Saved, ScanStart, Update, Work
from stream.roles import Gatherer
from stream.testing import GathererConformance


class Kept(Total):
    """A sound one that goes on from the file: the means are there, the sum is taken up."""

    def resume(self, saved: Mapping[str, Saved]) -> Sequence[int]:
        found = saved[self.config.name]
        if len(found.covered):
            self._sum = np.array(found.fields["sum"]())
        return found.covered.tolist()


class Twice(Kept):
    """Takes up the sum, and asks for the frames in it once more."""

    def resume(self, saved: Mapping[str, Saved]) -> Sequence[int]:
        super().resume(saved)
        return ()


class Reusing(Total):
    """Gives its own buffer away."""

    def tick(self) -> Iterable[Update]:
        for update in super().tick():
            yield replace(update, pieces={"sum": Piece((0, 0), self._sum)})


class Latest(Total):
    """What it says depends on which frame came last."""

    def take(self, work: Work) -> Iterable[Update]:
        self._sum[:] = 0
        return super().take(work)


class Hasty(Total):
    """Counts a frame before it knows that it can be decoded."""

    def take(self, work: Work) -> Iterable[Update]:
        self._sum += 1
        try:
            return super().take(work)
        finally:
            self._sum -= not work.frame.payloads


class Generous(Total):
    """Covers holes."""

    def take(self, work: Work) -> Iterable[Update]:
        if not work.frame.payloads:
            self._new.append(work.frame.index)
        return super().take(work)


class Silent(Total):
    """Never says what it covers."""

    def tick(self) -> Iterable[Update]:
        return [replace(update, covers=()) for update in super().tick()]


class Clinging(Total):
    """Carries one scan into the next."""

    before = 0

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        declared = super().start(scan, work)
        self._sum += self.before
        self.before += 1
        return declared


class Wide(Total):
    """Writes beyond what it declared."""

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        (product,) = super().start(scan, work)
        return [replace(product, fields=(replace(product.fields[0], shape=(64, 47)), *product.fields[1:]))]


class PerFrame(Total):
    """Declares a field that belongs to frames."""

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        (product,) = super().start(scan, work)
        return [replace(product, fields=(*product.fields, Field("each", (), np.dtype("f8"))))]


TESTS = [name for name in vars(GathererConformance) if name.startswith("test_")]


def suite(kind: type[Total]) -> GathererConformance:
    class Suite(GathererConformance):
        def make(self) -> Gatherer:
            return kind(Config())

    return Suite()


@pytest.mark.parametrize(
    ("kind", "found_by"),
    [
        (Twice, "test_after_a_restart_the_product_is_that_of_a_run_that_was_never_killed"),
        (Reusing, "test_what_was_given_stays_when_the_next_frame_comes"),
        (Latest, "test_the_order_of_frames_does_not_matter"),
        (Hasty, "test_a_frame_that_cannot_be_decoded_is_left_out_and_changes_nothing"),
        (Generous, "test_every_frame_with_data_is_covered_and_no_hole"),
        (Silent, "test_every_frame_with_data_is_covered_and_no_hole"),
        (Clinging, "test_scan_after_scan_begins_from_nothing"),
        (Wide, "test_updates_fit_what_was_declared"),
        (PerFrame, "test_products_belong_to_the_scan_and_are_declared_at_its_start"),
    ],
)
def test_a_faulty_gatherer_is_found(kind: type[Total], found_by: str) -> None:
    with pytest.raises(AssertionError):
        getattr(suite(kind), found_by)()


@pytest.mark.parametrize("kind", [Total, Kept])
@pytest.mark.parametrize("name", TESTS)
def test_a_sound_gatherer_passes(name: str, kind: type[Total]) -> None:
    getattr(suite(kind), name)()
