"""Sets of regions in JSON files, to be shared between scans and samples: {"inbeam_regions": 1, "regions": {NAME: ...}}.

A list of {pos, size, angle}, as pyqtgraph's saveState gives them, is read too: that is what the SPring-8 code kept in
its pickles, once they are converted. Pickles are never opened.
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash
from pydantic import TypeAdapter, ValidationError

from processors.regions.shapes import Region, Shape, checked_names
from stream import wording
from stream.errors import InbeamError

VERSION = 1
MOST_BYTES = 10_000_000
ORIGINAL = ("ctr", "tw", "wz", "fwhm", "bkg")
"""What the five rectangles of the SPring-8 code are for, in their order."""
COLOURS = ("#ffff00", "#ff0000", "#00ff00", "#ff007b", "#ffc87b")


def read_regions(path: Path, offset: tuple[float, float] = (0.0, 0.0)) -> tuple[dict[str, Any], str]:
    """The regions of a file, JSON-like and not validated, and the digest of its bytes. Raises ValueError.

    offset: see `from_states`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; correct the path") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES // 1_000_000} MB: it holds no regions")
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        text = "convert a pickle to JSON where you trust it, it is never opened here"
        raise ValueError(f"{path} is no JSON ({error}): {text}") from error
    digest = xxhash.xxh3_64_hexdigest(content)
    if isinstance(found, list):
        return from_states(found, offset), digest
    if not isinstance(found, dict) or not isinstance(found.get("regions"), dict):
        raise ValueError(f'{path} holds no regions: it must be {{"inbeam_regions": {VERSION}, "regions": {{...}}}}')
    if found.get("inbeam_regions") != VERSION:
        raise ValueError(f"{path} has inbeam_regions {found.get('inbeam_regions')!r}, this inbeam reads {VERSION}")
    return found["regions"], digest


def load(path: Path, offset: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    """See `inbeam.load_roi`."""
    try:
        regions = read_regions(path, offset)[0]
    except ValueError as error:
        raise InbeamError(f"{path}: {error}") from error
    try:
        return _checked(regions)
    except ValueError as error:
        raise InbeamError(f"{path}: {_words(error, regions)}") from error


def dump(regions: Mapping[str, Any], path: Path) -> None:
    """See `inbeam.dump_roi`: whole or not at all."""
    try:
        checked = _checked(regions)
    except ValueError as error:
        raise InbeamError(f"nothing was written to {path}: {_words(error, regions)}") from error
    text = json.dumps({"inbeam_regions": VERSION, "regions": checked}, indent=1, allow_nan=False) + "\n"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _checked(regions: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-like, as they would be changed. Raises ValueError."""
    adapter: TypeAdapter[dict[str, Shape | None]] = TypeAdapter(dict[str, Region | None])
    found = adapter.validate_python(dict(regions))
    checked_names(found)
    return {
        name: None if each is None else each.model_dump(mode="json", exclude_unset=True) for name, each in found.items()
    }


def _words(error: ValueError, regions: Mapping[str, Any]) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    found = wording.problems(error, regions, Region)
    return "; ".join(f"{place.lstrip('.')}: {text}" if place else text for place, text in found)


def from_states(states: Sequence[Any], offset: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    """Rectangles (JSON-like) from saveState dictionaries; `offset`: (x, y) of the first pixel of the cropped frame.

    pyqtgraph turns a rectangle about its corner `pos`, ours turn about their middle. Raises ValueError.
    """
    found: dict[str, Any] = {}
    for number, state in enumerate(states):
        try:
            (x, y), (width, height) = map(float, state["pos"]), map(float, state["size"])
            angle = math.fmod(float(state.get("angle", 0.0)), 360.0)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"entry {number} is no rectangle: it needs pos, size (two numbers), angle") from error
        if not all(map(math.isfinite, (x, y, width, height, angle))) or width <= 0 or height <= 0:
            raise ValueError(f"entry {number} is no rectangle: pos {state['pos']}, size {state['size']}")
        turn = math.radians(angle)
        middle_x = offset[0] + x + (width * math.cos(turn) - height * math.sin(turn)) / 2
        middle_y = offset[1] + y + (width * math.sin(turn) + height * math.cos(turn)) / 2
        known = number < len(ORIGINAL)
        found[ORIGINAL[number] if known else f"region_{number + 1}"] = {
            "kind": "rectangle",
            "x": [middle_x - width / 2, middle_x + width / 2],
            "y": [middle_y - height / 2, middle_y + height / 2],
            "angle": angle,
            **({"colour": COLOURS[number]} if known else {}),
        }
    return found
