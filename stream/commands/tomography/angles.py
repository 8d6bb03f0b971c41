"""The angle of every projection: from the file, or as the user says. Never invented."""

import re
from pathlib import Path

import numpy as np

from stream.commands.tomography.inputs import Radiographs, degrees
from stream.errors import ConfigError, InbeamError
from stream.events import Array
from stream.formats.hdf5.opening import open_hdf5
from stream.turning import Key

PART = re.compile(r"(?P<path>.+?)(\[(?P<first>\d*):(?P<end>\d*)\])?$")


def angles_of(given: str | None, max_angle: float | None, scan: Radiographs) -> Array:
    """float64, one per projection, degrees.

    given: FIRST:LAST, both included; a number and +STEP (0+111.246); FILE::/path of a dataset, or ::/path in the input;
    or a text file with one a line, of which [a:b] are taken. As many as projections or as frames.
    max_angle: from 0 to there, the last included, as the original command has it.
    Raises ConfigError where nobody says them, or not as many as there are.
    """
    numbers = scan.numbers(Key.PROJECTION)
    count = len(numbers)
    if given is not None and max_angle is not None:
        raise ConfigError([("--angles", "and --max-angle both say the angles: leave one of them out")])
    if max_angle is not None:
        return np.linspace(0.0, max_angle, count)
    if given is None:
        if scan.angles is None:
            logs = "".join(f" ({note})" for note in scan.notes if "not used" in note)
            text = f"{scan.source} does not say the angles{logs}: give --angles FIRST:LAST or a file, or --max-angle"
            raise ConfigError([("--angles", text)])
        found = scan.angles
    else:
        found = _in_hdf5(given, scan) if "::" in given else _said(given, count)
    if len(found) == len(scan.keys) != count:
        found = found[numbers]
    if len(found) != count:
        raise ConfigError([("--angles", f"{len(found)} angles for {count} projections: correct them, or take a part")])
    if not np.isfinite(found).all():
        raise ConfigError([("--angles", f"{int((~np.isfinite(found)).sum())} of them are no numbers: correct them")])
    return found


def _in_hdf5(given: str, scan: Radiographs) -> Array:
    path, _, inside = given.partition("::")
    try:
        with open_hdf5(path or scan.source) as file:
            dataset = file[inside]
            return degrees(dataset, Path(path or scan.source))
    except ConfigError:
        raise
    except (InbeamError, KeyError, OSError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError([("--angles", f"{given} cannot be read: {error}")]) from error


def _said(given: str, count: int) -> Array:
    try:
        if not Path(given).exists() and (match := re.fullmatch(r"([-+.\deE]+):([-+.\deE]+)", given)):
            return np.linspace(float(match[1]), float(match[2]), count)
        if not Path(given).exists() and (match := re.fullmatch(r"(-?[.\d]+)([-+][.\d]+)", given)):
            return float(match[1]) + float(match[2]) * np.arange(count)
        part = PART.fullmatch(given)
        assert part is not None
        path = Path(given) if Path(given).exists() else Path(part["path"])
        found = np.loadtxt(path, dtype=np.float64, ndmin=1, comments=("#", "%"))
    except (OSError, ValueError) as error:
        text = f"{given!r} is neither FIRST:LAST, FIRST+STEP nor a file with one angle a line: {error}"
        raise ConfigError([("--angles", text)]) from error
    if path == Path(given):
        return found
    return found[int(part["first"] or 0) : int(part["end"] or len(found))]
