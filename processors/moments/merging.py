"""The sums of a mosaicity scan of which several processes had a part of the frames each.

Moments are made of sums, and sums add up; so each process also gives its sums (`Field.partial`), once, at the end of
its part. Float64 is added up in another order than by one process: what comes out differs by rounding alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from processors.moments.layout import Layout
from processors.moments.positions import Motor, Positions
from processors.moments.sums import Group, Signal, sums_for
from processors.shared.grid import Direction
from stream.errors import InbeamError
from stream.events import Array, Piece
from stream.ledger import Partial
from stream.products import Field

NAME_BYTES = 256
F8, I8 = np.dtype("f8"), np.dtype("i8")


def fields(layout: Layout) -> tuple[Field, ...]:
    """What a process with a part of the frames gives of its sums; part_motors: first, step, points of each motor, and
    of omega if there is one; part_names: in the file, and of the reading."""
    lead, shape, motors = layout.lead, layout.shape, len(layout.motors)
    known = motors + len(lead)
    return tuple(
        Field(f"part_{name}", size, dtype, per="scan", chunk=chunk, partial=True)
        for name, size, dtype, chunk in (
            ("sums", (*lead, sums_for(motors), *shape), F8, (*(1 for _ in lead), 1, *shape)),
            ("maximum", (*lead, *shape), F8, (*(1 for _ in lead), *shape)),
            ("peak", (*lead, *shape), I8, (*(1 for _ in lead), *shape)),
            ("where", (*lead, *layout.positions.shape, motors), F8, None),
            ("mask", shape, np.dtype("u1"), None),
            ("motors", (known, 3), F8, None),
            ("names", (known, 2), np.dtype(f"S{NAME_BYTES}"), None),
        )
    )


def of_scan(layout: Layout, signal: Signal) -> Mapping[str, Piece]:
    """Of those fields, what holds for all of the scan."""
    positions = layout.positions
    known = (*positions.motors, *(() if positions.omega is None else (positions.omega,)))
    numbers = [[each.direction.first, each.direction.step, each.points] for each in known]
    names = [[each.direction.name.encode(), each.reading.encode()] for each in known]
    return {
        "part_mask": Piece((0, 0), signal.mask.reshape(layout.shape).astype(np.uint8)),
        "part_motors": Piece((0, 0), np.array(numbers, np.float64)),
        "part_names": Piece((0, 0), np.array(names, f"S{NAME_BYTES}")),
    }


def of_group(group: Group, layout: Layout) -> Mapping[str, Array]:
    """Of those fields, what there is of one omega."""
    where = np.full((*layout.positions.shape, len(layout.motors)), np.nan)
    flat = where.reshape(-1, len(layout.motors))
    for cell, number in group.frames.items():
        flat[cell] = group.where[number]
    return {
        "part_sums": group.sums.reshape(-1, *layout.shape).copy(),
        "part_maximum": group.maximum.reshape(layout.shape).copy(),
        "part_peak": group.peak.reshape(layout.shape).copy(),
        "part_where": where,
    }


def layout_of(name: str, part: Partial) -> tuple[Layout, Signal]:
    """The layout of the scan, and a signal of which only the mask is known."""
    found = part.fields
    motors = [
        Motor(Direction(named[0].decode(), int(points), first, step, known=True), named[1].decode())
        for named, (first, step, points) in zip(
            found["part_names"][()].tolist(), found["part_motors"][()].tolist(), strict=True
        )
    ]
    omega = motors.pop() if found["sum"].ndim == 3 else None
    mask = np.array(found["part_mask"][()], bool)
    nothing = np.empty(0)
    layout = Layout(name, Positions(tuple(motors), omega, False, 0, False), (mask.shape[0], mask.shape[1]), (0, 0))
    return layout, Signal(nothing, nothing, nothing, mask.ravel())


def groups(layout: Layout, parts: Sequence[Partial]) -> Iterator[tuple[int, Group]]:
    """The sums of each omega that has a frame. Raises InbeamError where two parts have a frame at one position."""
    motors, pixels = len(layout.motors), layout.shape[0] * layout.shape[1]
    for omega in range(layout.positions.omegas):
        group = Group.empty(motors, pixels)
        for part in parts:
            _add(group, _Slice(part, (omega,) if layout.lead else ()), layout)
        if group.frames:
            yield omega, group


class _Slice:
    """One omega of a part."""

    def __init__(self, part: Partial, lead: tuple[int, ...]) -> None:
        self._part, self._lead = part, lead

    def __getitem__(self, name: str) -> Any:
        dataset = self._part.fields[name]
        return dataset[self._lead] if self._lead else dataset[()]


def _add(group: Group, part: _Slice, layout: Layout) -> None:
    cells = part["frame_index"].ravel()
    there = np.flatnonzero(cells >= 0)
    if not len(there):
        return
    where = part["part_where"].reshape(-1, len(layout.motors))
    for cell in there.tolist():
        number, other = int(cells[cell]), group.frames.get(cell)
        if other is not None:
            raise InbeamError(
                f"frames {other} and {number} are at one position ({layout.positions.words(cell)}) and came to two "
                "processes: the sums are those of both. Give the archive's master to `inbeam process`"
            )
        group.frames[cell], group.where[number] = number, tuple(where[cell].tolist())
    group.sums += part["part_sums"].reshape(group.sums.shape)
    highest, peak = part["part_maximum"].ravel(), part["part_peak"].ravel()
    higher = (highest > group.maximum) | ((highest == group.maximum) & (peak < group.peak))
    group.maximum[higher], group.peak[higher] = highest[higher], peak[higher]
    group.bad += part["bad_frames"].ravel()
