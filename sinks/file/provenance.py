"""How a file came to be: configuration, command line, versions, host; kept in every file at /entry/provenance."""

import getpass
import json
import os
import platform
import re
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from sinks.file import nexus
from stream.events import ScanStart
from stream.products import Product

GROUP = "/entry/provenance"
RESUMED = f"{GROUP}/resumed"
"""When the file was gone on with, one ISO 8601 time each."""


@cache
def versions() -> Mapping[str, str]:
    """Package -> version, of inbeam, Python, HDF5 and everything that inbeam asks for, where it is installed."""
    inbeam = _told(distribution("inbeam"))
    python, hdf5 = platform.python_version(), h5py.version.hdf5_version
    found = {"inbeam": inbeam["Version"][0], "python": python, "HDF5": hdf5}
    for requirement in inbeam["Requires-Dist"]:
        if "extra ==" in requirement and "opencl" not in requirement:
            continue
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            installed = _told(distribution(name))
        except PackageNotFoundError:
            continue
        found[installed["Name"][0]] = installed["Version"][0]
    return found


def _told(package: Distribution) -> Mapping[str, Sequence[str]]:
    """The fields of a package's metadata. importlib parses its whole README with them, a tenth of a start."""
    told = defaultdict[str, list[str]](list)
    for line in (
        (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0].splitlines()
    ):
        name, colon, value = line.partition(": ")
        if colon and not line[0].isspace():
            told[name].append(value.strip())
    return told


def describe(configuration: Mapping[str, Any] | None) -> dict[str, str]:
    """What is known of this run, as text. configuration: the document that the user wrote, after --set."""
    told = {
        "command_line": shlex.join(sys.argv),
        "working_directory": os.getcwd(),
        "host": platform.node(),
        "platform": platform.platform(),
        "user": _user(),
        "process_id": str(os.getpid()),
    }
    if configuration is not None:
        told["configuration"] = yaml.safe_dump(plain(configuration), sort_keys=False, allow_unicode=True)
        for number, path in enumerate(_ponis(configuration)):
            told["poni" if number == 0 else f"poni_{number + 1}"] = path.read_text(encoding="utf-8", errors="replace")
    return told


def write(
    root: Any, scan: ScanStart, configuration: Mapping[str, Any] | None, products: Sequence[Product] = ()
) -> None:
    """Write the provenance of a new file, before it is SWMR."""
    group = nexus.group(root, GROUP, "NXcollection")
    for name, text in describe(configuration).items():
        nexus.text(group, name, text)
    nexus.text(group, "source", scan.source)
    nexus.text(group, "scan_uid", scan.uid)
    nexus.text(group, "started", now())
    packages = nexus.group(group, "versions", "NXcollection")
    for name, text in versions().items():
        nexus.text(packages, name, text)
    for product in products:
        nexus.text(group, f"parameters_{nexus.safe_name(product.name)}", json.dumps(plain(product.parameters)))


def now() -> str:
    """The present, ISO 8601, UTC."""
    return nexus.iso_time(time.time())


def plain(value: Any) -> Any:
    """JSON-like values only: paths and other objects as text, arrays as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _ponis(value: Any) -> Iterator[Path]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "poni" and isinstance(item, str) and os.path.isfile(item):
                yield Path(item)
            else:
                yield from _ponis(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _ponis(item)
