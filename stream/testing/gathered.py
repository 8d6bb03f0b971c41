"""A gatherer at work, and what a file would hold of its products: the updates are applied, and checked, one by one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stream.events import Array, Frame, ScanEnd, ScanStart, Update
from stream.ledger import Partial, Saved
from stream.products import Declared, Field
from stream.roles import Gatherer, Mergeable, Processor
from stream.work import Work


class Gathered:
    """A gatherer, the processors before it, and what a file would hold of its products."""

    def __init__(self, gatherer: Gatherer, earlier: Sequence[Processor], scan: ScanStart) -> None:
        self.gatherer = gatherer
        self._earlier = earlier
        self._start(scan)

    def _start(self, scan: ScanStart) -> None:
        self._uid = scan.uid
        self._work = Work()
        declared = [product for each in self._earlier for product in each.start(scan, self._work)]
        self._work.put(Declared(tuple(declared)))
        self.products = tuple(self.gatherer.start(scan, self._work))
        self.covered: dict[str, set[int]] = {product.name: set() for product in self.products}
        self._declared = {product.name: {field.name: field for field in product.fields} for product in self.products}
        self._arrays: dict[str, dict[str, Array]] = {product.name: {} for product in self.products}

    def again(self, uid: str, scan: Any) -> "Gathered":
        """The next scan of the same gatherer."""
        self._start(scan(uid))
        return self

    def fields(self, product: str) -> Mapping[str, Array]:
        """Field name -> what a file would hold of it."""
        return self._arrays[product]

    def saved(self) -> Mapping[str, Saved]:
        """As a killed process would find it in its file."""
        return {
            product: Saved(
                np.array(sorted(self.covered[product]), np.int64),
                {name: array.copy for name, array in arrays.items()},
            )
            for product, arrays in self._arrays.items()
        }

    def partial(self) -> Mapping[str, Partial]:
        """As the master of several processes finds it in the file of one."""
        found = {}
        for product in self.products:
            axes = {axis.name: axis.values for axis in product.axes}
            empty_ones = {each.name: _empty_of(each) for each in product.fields}
            fields = {**axes, **product.constants, **empty_ones, **self._arrays[product.name]}
            covered = np.array(sorted(self.covered[product.name]), np.int64)
            found[product.name] = Partial(covered, fields, tuple(axes))
        return found

    def merge(self, gatherer: Mergeable, parts: Sequence[Mapping[str, Partial]]) -> None:
        """Instead of any frame: what another gatherer, without any start, makes of what several processes have."""
        self.apply(gatherer.merge(self._uid, parts))

    def go_on_from(self, before: "Gathered", has: Iterable[int]) -> None:
        """Begin with the file of a killed process."""
        self._arrays = {
            product: {name: array.copy() for name, array in arrays.items()}
            for product, arrays in before._arrays.items()
        }
        self.covered = {product: set(has) for product in before.covered}

    def take(self, frame: Frame) -> list[Update]:
        """Through the processors and to the gatherer, as the pipeline does it."""
        self._work.take(frame)
        if frame.payloads:
            for each in self._earlier:
                each.process(self._work)
        return self.apply(self.gatherer.take(self._work))

    def tick(self) -> list[Update]:
        """Ask for what is due."""
        return self.apply(self.gatherer.tick())

    def finish(self, expected: int) -> list[Update]:
        """The scan is over."""
        found = self.apply(self.gatherer.finish(ScanEnd(self._uid, announced=expected, expected=expected)))
        for each in self._earlier:
            each.finish(ScanEnd(self._uid))
        return found

    def apply(self, updates: Iterable[Update]) -> list[Update]:
        """Put every piece into its place. Fails where one does not fit its field."""
        found = list(updates)
        for update in found:
            assert update.scan == self._uid, f"an update of scan {update.scan}"
            assert update.product in self._declared, f"an update of {update.product!r}, which was not declared"
            if update.afresh:
                self._arrays[update.product].clear()
                self.covered[update.product].clear()
            for name, piece in update.pieces.items():
                assert name in self._declared[update.product], f"a piece of {name!r}, which was not declared"
                self._put(update.product, self._declared[update.product][name], piece.start, piece.values)
            self.covered[update.product] |= set(update.covers)
        return found

    def _put(self, product: str, field: Field, start: tuple[int, ...], values: Array) -> None:
        where = f"{product}.{field.name}"
        assert len(start) == values.ndim == len(field.shape), f"{where}: a piece of {values.ndim} dimensions at {start}"
        assert np.can_cast(values.dtype, field.dtype, "same_kind"), f"{where}: {values.dtype} into {field.dtype}"
        ends = [at + size for at, size in zip(start, values.shape, strict=True)]
        for dimension, (end, size) in enumerate(zip(ends, field.shape, strict=True)):
            assert dimension == 0 or size is None or end <= size, (
                f"{where}: reaches {end} in dimension {dimension} of {size}"
            )
        array = self._arrays[product].get(field.name)
        if array is None:
            array = _empty_of(field)
        if field.shape and ends[0] > array.shape[0]:
            grown = empty((ends[0], *array.shape[1:]), field.dtype)
            grown[: array.shape[0]] = array
            array = grown
        array[tuple(slice(at, end) for at, end in zip(start, ends, strict=True))] = values
        self._arrays[product][field.name] = array


def _empty_of(field: Field) -> Array:
    return empty(tuple(size or 0 for size in field.shape), field.dtype)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A file's fill values: NaN, -1, the largest unsigned number, zero for all else."""
    fill = {"f": np.nan, "c": np.nan, "i": -1, "u": np.iinfo(dtype).max if dtype.kind == "u" else 0}
    return np.full(shape, fill.get(dtype.kind, 0), dtype)
