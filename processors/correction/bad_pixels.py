"""Which pixels a mask, a dark or a flat rules out for good, and which of them is to blame if none is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processors.correction.images import averaged
from stream.errors import ConfigError
from stream.events import Array
from stream.preflight import Problem

Kind = Literal["mask", "dark", "flat"]
HEADER = "header"
"""Name of what the stream's own header says, in place of a file's."""

RULED_OUT: Mapping[Kind, str] = {
    "mask": "masks every pixel (nonzero is bad): invert it, or leave it out",
    "dark": "is NaN or infinite in every pixel: record the dark again, or leave it out",
    "flat": "is NaN, 0 or negative in every pixel: record the flat again, or leave it out",
}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Pixels that one image rules out, bool (rows, columns); `name` is its file, or HEADER."""

    kind: Kind
    name: str
    bad: NDArray[np.bool_]


def blame(parts: Sequence[Part], scan: str, key: str) -> list[Problem]:
    """Why no pixel of the scan is left, and what to do: whoever rules out all of them alone, else all together."""
    alone = [part for part in parts if part.bad.all()]
    problems = [(f"{key}.{part.kind}", f"{part.name} {RULED_OUT[part.kind]}") for part in alone if part.name != HEADER]
    for part in alone:
        if part.name == HEADER:
            option = f"use_detector_{part.kind}"
            text = f"the {part.kind} in the header of scan {scan} {RULED_OUT[part.kind]} ({option}: false)"
            problems.append((f"{key}.{option}", text))
    if not problems:
        each = ", ".join(f"{part.kind} {part.name} {int(part.bad.sum())}" for part in parts)
        text = f"no pixel of scan {scan} is left: of {parts[0].bad.size} are ruled out by {each}; correct one of them"
        problems.append((key, text))
    return problems


def bad_pixels(kind: Kind, image: Array) -> NDArray[np.bool_]:
    """bool (rows, columns): pixels that an image of this kind rules out, for good."""
    if kind == "mask":
        return np.asarray((image != 0) | np.isnan(image))
    usable = np.isfinite(image)
    return np.asarray(~(usable & (image > 0) if kind == "flat" else usable))


def first_look(images: Mapping[Kind, Sequence[str]]) -> list[tuple[str, str]]:
    """(option, what is wrong) of files that cannot be read, rule out every pixel or have not all the same shape."""
    problems: list[tuple[str, str]] = []
    first: tuple[str, tuple[int, ...]] | None = None
    for kind, names in images.items():
        for name in names:
            try:
                image = averaged(kind, name).pixels
            except ConfigError as error:
                problems += error.problems
                continue
            first = first or (name, image.shape)
            if image.shape != first[1]:
                problems.append((kind, f"{name} has the shape {image.shape}, but {first[0]} has {first[1]}"))
            if bad_pixels(kind, image).all():
                problems.append((kind, f"{name} {RULED_OUT[kind]}"))
    return problems
