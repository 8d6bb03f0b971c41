"""The text of a .poni: judged without pyFAI, which takes seconds to import, and read by it.

pyFAI computes with whatever stands there, NaN and infinity too, and says nothing.
"""

import difflib
import json
import logging
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.errors import ConfigError

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

# pyFAI logs tracebacks of what it raises as well; ours is the one line that says what is wrong
logging.getLogger("pyFAI").setLevel(logging.CRITICAL)

POSITIVE = ("distance", "wavelength", "pixelsize1", "pixelsize2")
NUMBERS = (*POSITIVE, "poni_version", "poni1", "poni2", "rot1", "rot2", "rot3")
LONGEST_WAVELENGTH_M = 1e-6
ORIENTATIONS = range(5)
"""0: none given; 1 to 4 as EXIF counts them. pyFAI knows 5 to 8, the transposed ones, by name alone."""


def fields(text: str) -> Mapping[str, str]:
    """Name in lower case -> value. Of several calibrations in one file (pyFAI appends) the last counts, line by line,
    as pyFAI reads them."""
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, value in lines}


def number(value: str) -> float | None:
    """The finite number that a field says, None if it says none."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def check(key: str, name: str, text: str) -> None:
    """Raises ConfigError with everything in the text of `name` that cannot be a geometry; `key` is the option."""
    found = fields(text)
    if "distance" not in found:
        raise ConfigError([(key, f"{name} is not a .poni file: it has no line 'Distance: ...'")])
    wrong = [text for each in NUMBERS if each in found and (text := _odd(each, found[each]))]
    wrong += _detector(found["detector_config"]) if "detector_config" in found else []
    if wrong:
        raise ConfigError([(key, f"{name} cannot be used: {each}") for each in wrong])


def load(key: str, name: str, text: str, shape: tuple[int, int] | None = None) -> "AzimuthalIntegrator":
    """pyFAI's geometry of a .poni text, for frames of `shape` if it is given. `name` and `key` are for the message.

    A detector without a shape gets that of the frames: only then does pyFAI 2026.9 look at its orientation. Raises
    ConfigError.
    """
    import pyFAI

    check(key, name, text)
    if wrong := _unknown(fields(text).get("detector", "Detector")):
        raise ConfigError([(key, f"{name} cannot be used: {wrong}")])
    with tempfile.TemporaryDirectory(prefix="inbeam-") as folder:
        path = Path(folder) / "geometry.poni"
        path.write_text(text, encoding="utf-8")
        try:
            integrator = pyFAI.load(str(path))
        except Exception as error:  # pyFAI raises whatever comes up while it reads
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ConfigError([(key, f"pyFAI cannot read the geometry {name}: {reason}")]) from error
    detector = integrator.detector
    if detector.uniform_pixel and not (detector.pixel1 and detector.pixel2):
        text = 'it says no pixel size, such as \'Detector_config: {"pixel1": 1e-4, "pixel2": 1e-4}\''
        raise ConfigError([(key, f"{name} cannot be used: {text}")])
    if int(detector.orientation or 0) not in ORIENTATIONS:  # a file that the .poni names may say so too
        raise ConfigError([(key, f"{name} cannot be used: {_orientation(int(detector.orientation))}")])
    if shape is None:
        return integrator
    known = detector.shape or detector.max_shape
    if known is None:
        detector.shape = detector.max_shape = shape
    elif tuple(known) != shape and not detector.guess_binning(np.empty(shape, np.uint8)):
        raise ConfigError(
            [
                (
                    key,
                    f"{name} is for a detector ({detector.name}) of {tuple(known)} pixels, but the frames have "
                    f"{shape}: give the .poni of this detector (and binning)",
                )
            ]
        )
    return integrator


def _unknown(detector: str) -> str:
    """What is wrong with a detector's name, "" if pyFAI knows it; asked, pyFAI would list them all."""
    import pyFAI.detectors

    known = pyFAI.detectors.ALL_DETECTORS
    short = detector.lower()
    if detector in vars(pyFAI.detectors) or {short, short.replace(" ", "_")} & set(known) or Path(detector).is_file():
        return ""
    near = difflib.get_close_matches(short, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "use `Detector: Detector` and its pixel sizes"
    return f"pyFAI knows no detector {detector!r}: {hint}"


def _odd(name: str, value: str) -> str:
    found = number(value)
    if found is None:
        return f"'{name}: {value}' is not a finite number"
    if name in POSITIVE and found <= 0:
        return f"'{name}: {value}' is not above 0"
    if name == "wavelength" and found > LONGEST_WAVELENGTH_M:
        return f"'{name}: {value}' is in metres (1 angstrom is 1e-10)"
    return ""


def _detector(text: str) -> list[str]:
    try:
        config: Any = json.loads(text)
    except ValueError as error:
        return [f"'detector_config' is not JSON: {error}"]
    if config is None:
        return []
    if not isinstance(config, dict):
        return ["'detector_config' is not a JSON object"]
    wrong = []
    for name in ("pixel1", "pixel2"):
        size = config.get(name)
        if size is not None and not (isinstance(size, int | float) and math.isfinite(size) and size > 0):
            wrong.append(f"{name} {size!r} is not a size in metres")
    orientation = config.get("orientation") or 0
    if orientation not in ORIENTATIONS:
        wrong.append(_orientation(orientation))
    return wrong


def _orientation(orientation: Any) -> str:
    return (
        f"orientation {orientation!r} is not one of 1 to 4, all that pyFAI computes with: transpose the frames, or "
        "calibrate again with one of these"
    )
