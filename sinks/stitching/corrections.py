"""The corrections of a sample in a small YAML that a person may edit, and the factors that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from sinks.stitching.joining import Joined
from sinks.stitching.steps import Step
from stream import wording
from stream.document import read
from stream.errors import ConfigError, InbeamError
from stream.events import Array
from stream.registry import Options

HEAD = """# Changes of the attenuator of {sample}. Edit this file and stitch again: it is read, not searched for anew.
# Each ratio is the raw counts of {regions} in `before` over those in `after` (mean of `points` frames each), and
# multiplies all intensities from `after` on; frames between both are NaN. `ratio` and `error` overrule the measured.
"""


NEAR = 25
"""Frames on one side that tell how much the counts scatter."""


class Correction(Options):
    """One change of the attenuator."""

    before: str = Field(description="SCAN/NUMBER of the last frame before it")
    after: str = Field(description="SCAN/NUMBER of the first frame behind it")
    points: int = Field(1, ge=1, le=100, description="Frames on either side whose mean makes the ratio")
    apply: bool = Field(True, description="false: leave it alone")
    ratio: float | None = Field(None, gt=0, description="In place of the measured one")
    error: float | None = Field(None, ge=0, description="Standard error of `ratio`")
    note: str = ""


class Plan(Options):
    """The whole file. events: name -> seconds after the first frame, for the lines in the picture."""

    corrections: tuple[Correction, ...] = ()
    events: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """One correction with its numbers; rows, ratio and its standard error, the cumulative factor behind it."""

    correction: Correction
    before: int
    after: int
    ratio: float
    error: float
    cumulative: float
    cumulative_error: float


@dataclass(frozen=True, slots=True)
class Factors:
    """factor, error: (n,), what multiplies the intensities, and its standard error; NaN between two end points."""

    factor: Array
    error: Array
    applied: tuple[Applied, ...]


def plan_of(path: Path) -> Plan:
    """Read an edited file. Raises ConfigError."""
    found = read(path) or {}
    try:
        return Plan.model_validate(found)
    except ValidationError as error:
        problems = wording.problems(error, found, Plan)
        raise ConfigError([(f"{path}{where}", text) for where, text in problems]) from error


def planned(steps: Sequence[Step], all_rows: Joined, events: Mapping[str, float]) -> Plan:
    """What was found, as a plan: what is doubtful is not applied."""
    corrections = tuple(
        Correction(
            before=all_rows.name(step.before),
            after=all_rows.name(step.after),
            apply=not doubt,
            note=doubt or _found(step, all_rows),
        )
        for step, doubt in ((step, step.doubt or _moved(step, all_rows)) for step in steps)
    )
    return Plan(corrections=corrections, events=dict(events))


def _found(step: Step, rows: Joined) -> str:
    between = rows.scan[step.before] != rows.scan[step.after]
    words = f"from {'a reading' if step.found == 'reading' else 'a step of the raw counts'}"
    return words + (", between two scans: look whether it was the attenuator" if between else "")


def _moved(step: Step, rows: Joined) -> str:
    moved = bool(rows.moved[step.before + 1 : step.after + 1].any())
    return "the regions were changed here: look whether the attenuator was too" if moved else ""


def written(plan: Plan, factors: Factors, sample: str, regions: Sequence[str]) -> str:
    """The plan as text, each correction with what was measured."""
    import yaml

    measured = {each.correction: each for each in factors.applied}
    lines = [
        HEAD.format(sample=sample, regions=", ".join(regions)),
        "corrections:" + ("" if plan.corrections else " []"),
    ]
    for each in plan.corrections:
        found = measured.get(each)
        if found is not None:
            lines.append(
                f"  # x{found.ratio:.5g} +- {found.error:.2g}, together x{found.cumulative:.5g} "
                f"+- {found.cumulative_error:.2g}"
            )
        entry = each.model_dump(exclude_defaults=True)
        lines.append("  - " + yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10_000).strip())
    lines.append("events: " + yaml.safe_dump(dict(plan.events), default_flow_style=True, width=10_000).strip())
    return "\n".join(lines) + "\n"


def factors_of(plan: Plan, rows: Joined, regions: Sequence[str]) -> Factors:
    """Ratios at the end points, multiplied up. regions: the columns of raw counts that they are taken from.

    Raises InbeamError for end points that are not there, are the wrong way round, or have no counts.
    """
    count = len(rows)
    factor, relative = np.ones(count), np.zeros(count)
    between = np.zeros(count, bool)
    applied: list[Applied] = []
    placed = [(rows.row(each.before), rows.row(each.after), each) for each in plan.corrections if each.apply]
    last = -1
    for before, after, each in sorted(placed, key=lambda each: each[:2]):
        if not last <= before < after:
            raise InbeamError(
                f"{each.before} and {each.after}: `before` comes first, and behind the correction above it"
            )
        last = after
        ratio, error = _ratio(each, before, after, rows, regions)
        factor[after:] *= ratio
        relative[after:] = np.hypot(relative[after:], error / ratio)
        between[before + 1 : after] = True
        cumulative = float(factor[after])
        applied.append(Applied(each, before, after, ratio, error, cumulative, cumulative * float(relative[after])))
    factor[between] = np.nan
    return Factors(factor, factor * relative, tuple(applied))


def corrected(name: str, rows: Joined, factors: Factors) -> tuple[Array, Array | None]:
    """An intensity and its standard error, that of the factor included; None where the files have none."""
    values = rows.columns[name]
    errors = rows.columns.get(f"{name}_errors")
    if errors is not None:
        errors = np.hypot(errors * factors.factor, values * factors.error)
    return values * factors.factor, errors


def _ratio(each: Correction, before: int, after: int, rows: Joined, regions: Sequence[str]) -> tuple[float, float]:
    if each.ratio is not None:
        return each.ratio, each.error or 0.0
    low, high = max(before - each.points + 1, 0), min(after + each.points, len(rows))
    sums = []
    first = slice(low, before + 1)
    for part in (first, slice(after, high)):
        counts = np.array([rows.columns[name][part] for name in regions])
        variance = np.array(
            [rows.columns[f"{name}_errors"][part] ** 2 if f"{name}_errors" in rows.columns else counts[number]
             for number, name in enumerate(regions)]
        )  # fmt: skip
        frames = counts.shape[1]
        mean = float(counts.sum()) / frames
        scatter = mean * _scatter(part is first, before, after, rows, regions) / np.sqrt(frames)
        sums.append((mean, max(float(np.sqrt(variance.sum())) / frames, scatter)))
    (one, one_error), (two, two_error) = sums
    if not (np.isfinite((one, two)).all() and one > 0 and two > 0):
        raise InbeamError(f"{each.before} or {each.after} has no counts: choose other end points, or give the ratio")
    return one / two, one / two * float(np.hypot(one_error / one, two_error / two))


def _scatter(left: bool, before: int, after: int, rows: Joined, regions: Sequence[str]) -> float:
    """Relative standard deviation of the counts from frame to frame on one side: no beam is as good as Poisson."""
    part = slice(max(before - NEAR, 0), before + 1) if left else slice(after, after + NEAR + 1)
    total = np.sum([rows.columns[name][part] for name in regions], axis=0)
    level = np.log(total[np.isfinite(total) & (total > 0)])
    return float(1.4826 * np.median(np.abs(np.diff(level))) / np.sqrt(2)) if len(level) > 2 else 0.0


def as_json(factors: Factors) -> list[dict[str, Any]]:
    """For the provenance."""
    return [
        {**each.correction.model_dump(), "measured": each.ratio, "measured_error": each.error}
        for each in factors.applied
    ]
