"""Where the attenuator was changed: from a reading, or from steps of the raw counts.

A step of the attenuator is sharp, it stays, and it is the same factor in every region. A monitor does not enter: its
noise would make steps of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stream.events import Array

WINDOW = 5
"""Frames on either side whose median must differ."""
SHARP = 4
"""Most frames from the last one before a step to the first one behind it."""
NOISES = 6.0
"""A step is larger than so many standard deviations of its neighbourhood."""
NEIGHBOURS = 25
ALIKE = 0.2
"""Two regions see the same factor if the logarithms agree as well, or within 4 standard errors."""
LEAST_COUNTS = 100.0


@dataclass(frozen=True, slots=True)
class Step:
    """before, after: rows. found: from what. doubt: why it is rather none, or ""."""

    before: int
    after: int
    found: str
    doubt: str = ""


def from_reading(values: Array) -> list[Step]:
    """Steps where the reading (n,) changes; several within SHARP frames are one."""
    there = np.flatnonzero(np.isfinite(values))
    turns = np.flatnonzero(values[there][1:] != values[there][:-1])
    steps: list[Step] = []
    for turn in turns:
        before, after = int(there[turn]), int(there[turn + 1])
        if steps and before - steps[-1].after < SHARP - 1:
            before = steps.pop().before
            if values[before] == values[after]:
                continue
        steps.append(Step(before, after, "reading"))
    return steps


def from_counts(counts: Mapping[str, Array], factor: float) -> list[Step]:
    """Steps of raw counts by at least `factor`, up or down. counts: by region, (n,) each.

    A step that not every region shares is given with a `doubt`.
    """
    total = np.sum([np.where(np.isfinite(each), each, 0.0) for each in counts.values()], axis=0)
    rows = np.flatnonzero(total > 0)
    if len(rows) < 2 * WINDOW:
        return []
    level = np.log(total[rows])
    steps: list[Step] = []
    jumps = np.zeros(len(level))
    for i in range(2, len(level) - 1):
        jumps[i] = np.median(level[i : i + WINDOW]) - np.median(level[max(i - WINDOW, 0) : i])
    turns = np.abs(np.diff(level, prepend=level[0]))
    i = 0
    while i < len(level):
        if abs(jumps[i]) < np.log(factor) or abs(jumps[i]) < NOISES * _noise(turns, i):
            i += 1
            continue
        end = i
        while end < len(level) and abs(jumps[end]) >= np.log(factor) and jumps[end] * jumps[i] > 0:
            end += 1
        edges = _edges(level, jumps, i, end)
        if edges is not None:
            before, after = int(rows[edges[0]]), int(rows[edges[1]])
            steps.append(Step(before, after, "step", _doubt(counts, before, after, factor)))
            end = max(end, edges[1] + 1)
        i = end
    return steps


def _noise(turns: Array, i: int) -> float:
    """Standard deviation of the level from frame to frame, without the steps themselves."""
    near = turns[max(i - NEIGHBOURS, 1) : i + NEIGHBOURS]
    return float(1.4826 * np.median(near) / np.sqrt(2)) if len(near) else 0.0


def _edges(level: Array, jumps: Array, first: int, end: int) -> tuple[int, int] | None:
    """(last before, first behind) of the sharpest place; None if it is a slope."""
    at = first + int(np.argmax(np.abs(jumps[first:end])))
    low, high = np.median(level[max(at - WINDOW, 0) : at]), np.median(level[at : at + WINDOW])
    near = abs(high - low) / 4
    before = at - 1
    while before > max(at - SHARP, 0) and abs(level[before] - low) > near:
        before -= 1
    after = at
    while after < min(at + SHARP, len(level) - 1) and abs(level[after] - high) > near:
        after += 1
    sharp = after - before <= SHARP and abs(level[before] - low) <= near and abs(level[after] - high) <= near
    return (before, after) if sharp else None


def _doubt(counts: Mapping[str, Array], before: int, after: int, factor: float) -> str:
    seen: dict[str, tuple[float, float]] = {}
    for name, each in counts.items():
        low = np.nanmean(each[max(before - 2, 0) : before + 1])
        high = np.nanmean(each[after : after + 3])
        if min(low, high) >= LEAST_COUNTS:
            seen[name] = float(np.log(high / low)), float(np.sqrt(1 / low + 1 / high))
    for name, (jump, error) in seen.items():
        for other, (wanted, spread) in seen.items():
            if abs(jump - wanted) > max(ALIKE, 4 * np.hypot(error, spread)):
                return (
                    f"{name} changes by x{np.exp(jump):.3g}, {other} by x{np.exp(wanted):.3g}: no attenuator does that"
                )
    if not seen:
        return f"fewer than {LEAST_COUNTS:.0f} counts beside it"
    return ""
