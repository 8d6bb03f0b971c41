"""One map of those of several processes that had a part of the frames each.

A point that one of them has is as it is there, bit for bit. Of a point that several have frames of, the means are
weighed by how many frames are in them: as float32 they were rounded, so that the mean of all may differ by 1e-6 of
itself from that of a single process. A frame that several processes had is known by its number and its values where it
is alone at its point; else the mean cannot be had, and is refused.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from processors.mapping.lines import Line, Lines
from processors.mapping.options import Config
from processors.mapping.pictures import Pictures
from stream.errors import InbeamError
from stream.events import Array, Piece, Update
from stream.ledger import Partial


def updates(scan: str, config: Config, parts: Sequence[Mapping[str, Partial]]) -> Iterator[Update]:
    """The cube and the images of all. Raises InbeamError where they cannot be had."""
    name, other = config.gives()[:2]
    cubes = [part[name] for part in parts if name in part]
    if not cubes:
        if any(other in part for part in parts):
            raise InbeamError(
                f"the images are made of {name}, which the files do not have: add it to `products` of hdf5"
            )
        return
    lines, covered = merged(cubes, config.memory_gb * 1e9, config.offset)
    slow = {cubes[0].axes[0]: Piece((0,), _longest([part.fields[part.axes[0]][()] for part in cubes]))}
    rows = max(part.fields["frames"].shape[0] for part in cubes)
    frames = np.zeros((rows, lines.columns), np.int32)
    for row, line in lines:
        frames[row] = line.frames
        corner = (row, 0, *(0 for _ in line.values.shape[1:]))
        pieces = {"I": Piece(corner, line.values[None]), "frame_index": Piece((row, 0), line.index[None])}
        if line.errors is not None:
            pieces["I_errors"] = Piece(corner, line.errors[None])
        yield Update(scan, name, pieces)
    yield Update(scan, name, {**slow, "frames": Piece((0, 0), frames)} if rows else {}, covers=covered)
    if any(other in part for part in parts):
        axis, shape = cubes[0].axes[-1], cubes[0].fields["I"].shape
        radial = cubes[0].fields[axis][()] if axis in cubes[0].fields else np.arange(shape[-1], dtype=np.float64)
        pictures = Pictures(config.places(), tuple(config.ratios), radial, lines.columns)
        pictures.use(config.rois, config.ratios)
        yield Update(scan, other, {**pictures.whole(lines), **(slow if rows else {})}, covers=covered)


def _longest(positions: Sequence[Array]) -> Array:
    found: Array = max(positions, key=len).copy()
    for each in positions:
        known = np.isfinite(each)
        found[: len(each)][known] = each[known]
    return found


def merged(parts: Sequence[Partial], most_bytes: float, offset: int) -> tuple[Lines, list[int]]:
    """(the lines of all, the frame numbers that they cover). parts: of the cube, one at least. Raises InbeamError."""
    numbers = np.concatenate([part.covered for part in parts])
    covered, times = np.unique(numbers, return_counts=True)
    inside = covered >= offset
    surplus = Counter(dict(zip(covered[inside].tolist(), (times[inside] - 1).tolist(), strict=True)))
    shape = parts[0].fields["I"].shape
    lines = Lines(shape[1], shape[2:], errors="I_errors" in parts[0].fields, most_bytes=most_bytes)
    for part in parts:
        index = part.fields["frame_index"][()]
        for row in np.flatnonzero((index >= 0).any(axis=1)).tolist():
            found = _line(part, row, index[row])
            line = lines.begin(row, int(index[row].max()))
            surplus.subtract(_join(line, found))
    if unsure := [index for index, times in surplus.items() if times > 0]:
        raise InbeamError(
            f"{len(unsure)} frames came to two processes (the first: frame {min(unsure)}), and are twice in the means "
            "of their points: give the archive's master to `inbeam process`"
        )
    return lines, covered.tolist()


def _line(part: Partial, row: int, index: Array) -> Line:
    errors = part.fields["I_errors"][row] if "I_errors" in part.fields else None
    return Line(part.fields["I"][row], errors, part.fields["frames"][row], index)


def _join(line: Line, other: Line) -> list[int]:
    """Put the points of `other` into `line`. Returns the frames that both have, and that were taken once."""
    there = other.index >= 0
    same = there & (line.index == other.index) & (line.frames == other.frames) & (line.frames <= 1)
    unlike = (line.values != other.values) & ~(np.isnan(line.values) & np.isnan(other.values))
    same &= ~unlike.any(axis=tuple(range(1, unlike.ndim)))  # the number is that of the lowest frame at the point
    new, both = there & ~same & (line.frames == 0) & (other.frames > 0), there & ~same & (line.frames > 0)
    both &= other.frames > 0
    mine, theirs = line.frames[both].astype(np.float64), other.frames[both].astype(np.float64)
    line.values[both] = _mean(line.values[both], other.values[both], mine, theirs)
    line.values[new] = other.values[new]
    if line.errors is not None and other.errors is not None:
        own, their = (line.errors[both].astype(np.float64).T * mine) ** 2, other.errors[both].astype(np.float64).T
        line.errors[both] = (np.sqrt(own + (their * theirs) ** 2) / (mine + theirs)).T
        line.errors[new] = other.errors[new]
    twice: list[int] = other.index[same].tolist()
    known = there & ~same
    line.frames[known] += np.maximum(other.frames[known], 0)
    line.index[known] = np.where(line.index[known] < 0, other.index[known], np.minimum(line.index, other.index)[known])
    return twice


def _mean(one: Array, other: Array, mine: Array, theirs: Array) -> Array:
    found: Array = ((one.astype(np.float64).T * mine + other.astype(np.float64).T * theirs) / (mine + theirs)).T
    return found
