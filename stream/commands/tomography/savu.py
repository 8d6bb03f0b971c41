"""Savu's process lists, plugin by plugin: what is the same here, and what has no counterpart.

A list lies in entry/plugin (Savu), entry/process (older ones) or entry/processing (what Mantid's window wrote): a group
per plugin, named by its number, with `name`, `id` (its module), `data` (its parameters, JSON) and `active`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file.advice import foreign
from stream.errors import InbeamError
from stream.formats.hdf5.opening import open_hdf5

PLACES = ("plugin", "process", "processing")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry of a list; `name` in Savu's spelling, VoCentering."""

    number: int
    name: str
    active: bool
    parameters: Mapping[str, Any]


@dataclass(slots=True)
class Mapped:
    """The same here. steps: options of `projection`; offline: of tomo-reconstruct; centre: column of the axis;
    searched: a plugin before the reconstruction finds it, so that what stands there does not count.

    told: one line for each plugin; lacking: those that have no counterpart, or only in part.
    """

    steps: dict[str, Any] = field(default_factory=dict)
    offline: dict[str, str] = field(default_factory=dict)
    centre: float | None = None
    searched: bool = False
    told: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def plugins_of(path: Path) -> list[Plugin]:
    """In their order. Raises InbeamError for a file that holds no process list."""
    try:
        with open_hdf5(str(path)) as file:
            for place in PLACES:
                group = file.get(f"entry/{place}")
                if isinstance(group, h5py.Group):
                    members = [(name, group[name]) for name in group if isinstance(group[name], h5py.Group)]
                    found = [_plugin(name, each) for name, each in members if "data" in each]
                    if found:
                        return sorted(found, key=lambda each: each.number)
    except (OSError, RuntimeError) as error:
        raise InbeamError(foreign(path, "a process list of Savu", error)) from error
    raise InbeamError(f"{path} holds no process list of Savu ({', '.join(f'entry/{each}' for each in PLACES)})")


def mapped(plugins: list[Plugin]) -> Mapped:
    """What they are here."""
    found = Mapped()
    for plugin in plugins:
        what = f"{plugin.number} {plugin.name}"
        if not plugin.active:
            found.told.append(f"{what}: switched off")
            continue
        answer = _answer(plugin, found)
        found.told.append(f"{what}: {answer}")
        if answer.startswith(("no counterpart", "in part")):
            found.lacking.append(f"{what}: {answer}")
    return found


def _answer(plugin: Plugin, found: Mapped) -> str:
    name = plugin.name.lower()
    if name.endswith("loader"):
        if plugin.parameters.get("preview"):
            return f"in part: the file is named when it is processed; its preview {plugin.parameters['preview']} is not"
        return "the file is named when it is processed"
    if name.endswith("saver"):
        found.offline["--out-img-format"] = "tiff" if name.startswith(("tiff", "image")) else "none"
        return "slices are written as NXtomoproc, and as images"
    known = KNOWN.get(name)
    return known(plugin.parameters, found) if known is not None else "no counterpart"


def _flat(given: Mapping[str, Any], found: Mapped) -> str:
    found.steps["from_scan"] = True
    limits = [key for key in ("lower_bound", "upper_bound") if given.get(key) is not None]
    if limits:
        return f"in part: projection: from_scan, without {', '.join(limits)}"
    return "projection: from_scan"


def _time_based(given: Mapping[str, Any], found: Mapped) -> str:
    found.steps["from_scan"] = True
    found.offline["--which-flats"] = "nearest"
    return "in part: the nearest flats, not what lies between two series"


def _median(given: Mapping[str, Any], found: Mapped) -> str:
    size = given.get("kernel_size", 3)
    sizes = size if isinstance(size, list) else [size]
    found.steps["median"] = int(max(sizes))
    flat = isinstance(size, list) and len(size) == 3 and size[0] == 1 and size[1] == size[2]
    if flat or given.get("kernel_dimension", "2D") == "2D":
        return f"projection: median: {max(sizes)}"
    return f"in part: projection: median: {max(sizes)}, within a projection, not between them"


def _paganin(given: Mapping[str, Any], found: Mapped) -> str:
    found.steps["phase"] = {
        "pixel_m": float(f"{float(given.get('Resolution', 1.28)) * 1e-6:.9g}"),
        "distance_m": float(given.get("Distance", 1.0)),
        "energy_kev": float(given.get("Energy", 53.0)),
        "delta_beta": float(given.get("Ratio", 250.0)),
    }
    found.steps["logarithm"] = True
    factor = float(given.get("increment", 0.0))
    text = "projection: phase; -ln follows, so that slices are absorption (Savu multiplies it by half of the ratio"
    return f"{text}, and adds {factor:g} before)" if factor else f"{text})"


def _scale(given: Mapping[str, Any], found: Mapped) -> str:
    found.steps["scale_down"] = int(given.get("bin_size", 1))
    others = [key for key in ("flip_updown", "flip_leftright", "rotate_angle") if given.get(key)]
    if given.get("mode", "mean") != "mean":
        others.append(f"mode {given['mode']}")
    return f"in part: projection: scale_down, without {', '.join(others)}" if others else "projection: scale_down"


def _rings(method: str, how: str = "") -> Callable[[Mapping[str, Any], Mapped], str]:
    def answer(given: Mapping[str, Any], found: Mapped) -> str:
        found.offline["--remove-stripes"] = method
        told = f"tomography: rings; tomo-reconstruct --remove-stripes {method}"
        return f"in part: {told}, {how}" if how else told

    return answer


def _centre(given: Mapping[str, Any], found: Mapped) -> str:
    found.searched = True
    return "the axis is found where it is not given"


def _reconstruction(algorithms: Mapping[str, tuple[str, str]], default: str) -> Any:
    def answer(given: Mapping[str, Any], found: Mapped) -> str:
        asked = str(given.get("algorithm", default))
        if asked not in algorithms:
            return f"no counterpart for the algorithm {asked}"
        tool, algorithm = algorithms[asked]
        found.offline["--tool"], found.offline["--algorithm"] = tool, algorithm
        if algorithm not in ("gridrec", "fbp"):
            found.offline["--num-iter"] = str(int(given.get("n_iterations", 1)))
        if "phase" not in found.steps:
            found.steps["logarithm"] = bool(given.get("log", True))
        if isinstance(given.get("ratio"), int | float):
            found.offline["--circular-mask"] = f"{given['ratio']:g}"
        told = f"tomo-reconstruct --tool {tool} --algorithm {algorithm}"
        centre = given.get("centre_of_rotation", given.get("center_of_rotation"))
        if found.searched:
            centre = None
        if isinstance(centre, int | float) and centre:
            found.centre = float(centre)
        elif centre:
            return f"in part: {told}; several axes ({centre}) are tried one by one"
        lacking = [key for key in ("init_vol", "outer_pad") if given.get(key)]
        if any(each is not None for each in given.get("force_zero") or ()):
            lacking.append("force_zero")
        return f"in part: {told}, without {', '.join(lacking)}" if lacking else told

    return answer


_FILTERED = dict.fromkeys(("FBP", "FBP_CUDA"), ("inbeam", "gridrec"))
_ASTRA = {
    **_FILTERED,
    **dict.fromkeys(("SIRT", "SIRT_CUDA"), ("inbeam", "sirt")),
    **dict.fromkeys(("CGLS", "CGLS_CUDA"), ("inbeam", "cgls")),
}
_TOMOPY = {
    "gridrec": ("inbeam", "gridrec"),
    "fbp": ("inbeam", "fbp"),
    "sirt": ("inbeam", "sirt"),
    **{
        each: ("tomopy", each)
        for each in ("art", "bart", "mlem", "osem", "ospml_hybrid", "ospml_quad", "pml_hybrid", "pml_quad")
    },
}
_SOME = "with its own parameters"
KNOWN: Mapping[str, Callable[[Mapping[str, Any], Mapped], str]] = {
    "darkflatfieldcorrection": _flat,
    "timeseriesfieldcorrections": _flat,
    "timebasedcorrection": _time_based,
    "timebasedplusdriftcorrection": _time_based,
    "medianfilter": _median,
    "medianfiltergpu": _median,
    "paganinfilter": _paganin,
    "downsamplefilter": _scale,
    "ringremovalsorting": _rings("sorting", _SOME),
    "removeallrings": _rings("sorting", "one of its three steps"),
    "ringremovalwaveletfft": _rings("wavelet-fourier", _SOME),
    "ringremovalregularization": _rings("titarenko", _SOME),
    "vocentering": _centre,
    "centering360": lambda given, found: "no counterpart: the axis of a half-acquisition is to be given",
    "astrareconcpu": _reconstruction(_ASTRA, "FBP"),
    "astrarecongpu": _reconstruction(_ASTRA, "FBP_CUDA"),
    "astrarecon": _reconstruction(_ASTRA, "FBP"),
    "simplerecon": _reconstruction({"FBP": ("inbeam", "fbp")}, "FBP"),
    "scikitimagefilterbackprojection": _reconstruction({"FBP": ("inbeam", "fbp")}, "FBP"),
    "tomopyrecon": _reconstruction(_TOMOPY, "gridrec"),
    "ccpicglsrecon": _reconstruction({"CGLS": ("inbeam", "cgls")}, "CGLS"),
    "noprocessplugin": lambda given, found: "does nothing",
}
"""By name, in lower case."""


def _plugin(number: str, group: Any) -> Plugin:
    module = _text(group, "id")
    name = _text(group, "name") or module.rpartition(".")[2]
    if "_" in name or name.islower():
        name = "".join(part.capitalize() for part in name.split("_"))
    digits = re.search(r"\d+", number)
    active = bool(np.ravel(group["active"][()])[0]) if "active" in group else True
    return Plugin(int(digits[0]) if digits else 0, name.replace(" ", ""), active, _parameters(_text(group, "data")))


def _parameters(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(group: Any, name: str) -> str:
    if name not in group:
        return ""
    value = group[name][()]
    first = np.ravel(value)[0] if np.ndim(value) else value
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
