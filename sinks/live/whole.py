"""The current whole of products that belong to the scan (a map's images), made of the pieces that gatherers give.

Whoever comes late sees all of it, not what happened to be newest. What is too large to be shown several times a second
(a map's cube) is there with its newest piece alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sinks.file.storage import fill_of
from stream.events import Array, Piece, Update
from stream.products import Field, Product


@dataclass
class _Held:
    """One product. wholes: fields that are kept whole; pieces: the newest of the others; room: bytes that are left."""

    fields: Mapping[str, Field]
    room: int
    wholes: dict[str, Array] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)


class Wholes:
    """Of one scan. One thread."""

    def __init__(self, products: Sequence[Product], most_bytes: int) -> None:
        """most_bytes: for the arrays of one product; its small ones come first."""
        self._held: dict[str, _Held] = {}
        for product in products:
            fields = {each.name: each for each in product.fields if each.per == "scan"}
            if fields:
                self._held[product.name] = _begun(fields, most_bytes)

    @property
    def products(self) -> Sequence[str]:
        """Those of which something is known."""
        return tuple(name for name, held in self._held.items() if held.wholes or held.pieces)

    def take(self, update: Update) -> None:
        """Put the pieces where they belong. Products and fields that nobody has declared are passed over."""
        held = self._held.get(update.product)
        if held is None:
            return
        if update.afresh:
            for array in held.wholes.values():
                array[...] = fill_of(array.dtype)
            held.pieces.clear()
        for name, piece in update.pieces.items():
            if name in held.fields:
                _put(held, name, piece)

    def of(self, product: str) -> tuple[Mapping[str, Array], Mapping[str, Piece]]:
        """Copies of the fields that are there whole; and the newest piece of the others."""
        held = self._held[product]
        return {name: array.copy() for name, array in held.wholes.items()}, dict(held.pieces)


def _begun(fields: Mapping[str, Field], most_bytes: int) -> _Held:
    held = _Held(fields, most_bytes)
    for each in sorted(fields.values(), key=lambda each: _nbytes(_shape(each), each.dtype)):
        nbytes = _nbytes(_shape(each), each.dtype)
        if max(nbytes, _nbytes((1, *_shape(each)[1:]), each.dtype)) <= held.room:
            held.room -= nbytes
            held.wholes[each.name] = np.full(_shape(each), fill_of(each.dtype), each.dtype)
    return held


def _put(held: _Held, name: str, piece: Piece) -> None:
    values = np.asarray(piece.values)
    whole = held.wholes.get(name)
    if whole is not None and not _fits(whole, piece):
        whole = None
    elif whole is not None and piece.start:
        length = piece.start[0] + values.shape[0]
        if length > whole.shape[0]:
            whole = _grown(held, name, whole, length)
    if whole is None:
        held.pieces[name] = piece
    else:
        whole[tuple(slice(first, first + size) for first, size in zip(piece.start, values.shape, strict=True))] = values


def _fits(whole: Array, piece: Piece) -> bool:
    """False for what a gatherer gives that it had not declared."""
    shape = np.shape(piece.values)
    ends = [first + size for first, size in zip(piece.start, shape, strict=False)]
    return len(piece.start) == len(shape) == whole.ndim and all(
        end <= size for end, size in zip(ends[1:], whole.shape[1:], strict=True)
    )


def _grown(held: _Held, name: str, whole: Array, length: int) -> Array | None:
    """The array with more rows; None, from then on, if there is no room for them."""
    more = _nbytes((length - whole.shape[0], *whole.shape[1:]), whole.dtype)
    if more > held.room:
        held.room += whole.nbytes
        del held.wholes[name]
        return None
    held.room -= more
    grown = np.full((length, *whole.shape[1:]), fill_of(whole.dtype), whole.dtype)
    grown[: whole.shape[0]] = whole
    held.wholes[name] = grown
    return grown


def _shape(item: Field) -> tuple[int, ...]:
    return tuple(size or 0 for size in item.shape)


def _nbytes(shape: Sequence[int], dtype: np.dtype[np.generic]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
