"""The JSON that pyFAI-diffmap saves (`--config`), in our words. What we cannot do as it says is refused, not ignored.

Fields: DiffmapConfig of pyFAI/io/diffmap_config.py, and those of `ai` WorkerConfig of pyFAI/io/integration_config.py.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyFAI.io.integration_config import WorkerConfig

from stream.commands.maps.inputs import local
from stream.errors import ConfigError

WITHOUT_MEANING = (
    "diffmap_config_version", "experiment_title", "application", "version", "shape", "integrator_method",
    "chi_discontinuity_at_0", "do_2D",
)  # fmt: skip
"""Those that change no number here: names, and what follows from the rest."""


def read(path: str) -> dict[str, Any]:
    """What the file says: files, output, geometry (as pyFAI's JSON has it), fast, slow, offset, zigzag, dark, flat,
    mask, gpu, and options of `integrate` and `correct`. Raises ConfigError."""
    try:
        document = json.loads(Path(local(path)).read_text())
    except OSError as error:
        raise ConfigError([("--config", f"{path} cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError([("--config", f"{path} is no JSON: {error}")]) from error
    if not isinstance(document, dict):
        raise ConfigError([("--config", f"{path} is no configuration of pyFAI-diffmap: a mapping is expected")])
    found: dict[str, Any] = {
        "offset": document.pop("offset", None) or 0,
        "zigzag": bool(document.pop("zigzag_scan", False)),
        "fast": _motor(document, "fast"),
        "slow": _motor(document, "slow"),
    }
    if output := document.pop("output_file", None):
        found["output"] = output
    files = [_dataset(each) for each in document.pop("input_data", None) or ()]
    found["files"] = tuple(files)
    worker = document.pop("ai", None) or {}
    for old, new in (("npt_rad", "nbpt_rad"), ("npt_azim", "nbpt_azim")):
        if (value := document.pop(old, document.pop(f"nb{old}", None))) is not None:
            worker[new] = value
    found |= _worker(worker, path)
    left = [key for key, value in document.items() if key not in WITHOUT_MEANING and value is not None]
    if left:
        raise ConfigError([("--config", f"{path} has {', '.join(left)}, which are not known here: leave them out")])
    return found


def _motor(document: dict[str, Any], side: str) -> dict[str, Any]:
    """Points, name and limits of one direction: of today's `fast_motor`, and of earlier versions' many names."""
    motor = document.pop(f"{side}_motor", None) or {}
    older = {
        "points": [f"nbpt_{side}", f"npt_{side}", f"{side}_motor_points"],
        "name": [f"{side}_motor_name"],
        "range": [f"{side}_motor_range"],
    }
    old = {key: next((v for name in names if (v := document.pop(name, None))), None) for key, names in older.items()}
    limits = old["range"] or (None, None)
    points, name = motor.get("points") or old["points"], motor.get("name") or old["name"]
    first, last = motor.get("start", limits[0]), motor.get("stop", limits[-1])
    found: dict[str, Any] = {key: value for key, value in (("points", points), ("motor", name)) if value}
    if points and None not in (first, last) and (first != last or points == 1):
        found |= {"first": first, "last": last}
    return found


def _dataset(each: Any) -> str:
    """One of `input_data`: a list, mapping or name, whose path and HDF5 path are used."""
    if isinstance(each, str):
        return each
    path, inside = (each.get("path"), each.get("h5")) if isinstance(each, Mapping) else (each[0], (*each, None)[1])
    return f"{path}::{inside}" if isinstance(inside, str) else str(path)


def _worker(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    worker = WorkerConfig.from_dict(dict(given)).as_dict() if given else {}
    found: dict[str, Any] = {}
    integrate: dict[str, Any] = {}
    problems: list[str] = []
    told = {key: value for key, value in worker.items() if value is not None and key not in WITHOUT_MEANING}
    if poni := told.pop("poni", None):
        found["geometry"] = poni
    for key, name in (("dark_current", "dark"), ("flat_field", "flat"), ("mask_file", "mask")):
        if value := told.pop(key, None):
            found[name] = [value] if isinstance(value, str) else list(value)
    for key, (name, translate) in TRANSLATED.items():
        if key in told:
            try:
                value = translate(told.pop(key))
            except (ValueError, TypeError) as error:
                problems.append(f"{key}: {error}")
            else:
                integrate |= {name: value} if value is not None else {}
    method = told.pop("method", None)
    if method:
        splitting, implementation = _method(method)
        integrate["splitting"] = splitting
        found["gpu"] = implementation == "opencl"
    told.pop("opencl_device", None)
    dummy, delta = told.pop("val_dummy", None), told.pop("delta_dummy", None)
    if dummy is not None:
        found["correct"] = {"dummy": dummy, **({"delta_dummy": delta} if delta else {})}
    for key, expected in (("normalization_factor", 1.0), ("integrator_class", "AzimuthalIntegrator")):
        if told.pop(key, expected) != expected:
            problems.append(f"{key}: only {expected} is known here")
    problems += [f"{key} is not known here: leave it out" for key, value in told.items() if value not in ({}, [], "")]
    if problems:
        raise ConfigError([("--config", f"{path}: ai: {text}") for text in problems])
    return {**found, "integrate": integrate}


def _method(method: Any) -> tuple[str, str]:
    """(splitting, implementation) of pyFAI's (split, algorithm, implementation), with the dimension before or not."""
    words = [str(word).lower() for word in ([method] if isinstance(method, str) else method)]
    split = next(
        (name for word in words for name in ("pseudo", "bbox", "full", "no") if word in (name, f"{name}split")), ""
    )
    if split not in ("bbox", "full", "no"):
        raise ConfigError(
            [("--config", f"the method {method} has a pixel splitting that is not known here: no, bbox, full")]
        )
    return split, "opencl" if "opencl" in words else "cython"


def _azimuthal(value: int) -> int | None:
    return value if value > 1 else None


def _polarization(value: Any) -> float | None:
    factor, offset = (*value, 0)[:2] if isinstance(value, list | tuple) else (value, 0)
    if factor is not None and offset:
        raise ValueError("an axis that is turned is not known here")
    return None if factor is None else float(factor)


def _model(value: str) -> str:
    name = str(value).lower()
    if name not in ("no", "none", "poisson", "azimuthal"):
        raise ValueError(f"{value} is not known here: no, poisson, azimuthal")
    return "none" if name == "no" else name


def _range(value: Any) -> list[float] | None:
    if all(each is None for each in value):
        return None
    if any(each is None or not math.isfinite(each) for each in value):
        raise ValueError("both limits are needed")
    return [float(each) for each in value]


TRANSLATED: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "nbpt_rad": ("npt", int),
    "nbpt_azim": ("npt_azimuthal", _azimuthal),
    "unit": ("unit", str),
    "polarization_description": ("polarization", _polarization),
    "correct_solid_angle": ("solid_angle", bool),
    "error_model": ("error_model", _model),
    "radial_range": ("radial_range", _range),
    "azimuth_range": ("azimuth_range", _range),
}
"""Field of the worker -> option of `integrate`, and how."""
