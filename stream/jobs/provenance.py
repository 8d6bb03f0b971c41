"""provenance.json: with what a job ran. The environment is not in it: tokens may be."""

import json
import os
import platform
import socket
import sys
from importlib.metadata import PackageNotFoundError, version

from stream.jobs.records import Job, now

PACKAGES = ("inbeam", "numpy", "numba", "h5py", "hdf5plugin", "pyFAI", "silx", "fabio")


def provenance(job: Job) -> str:
    """JSON: machine, Python, versions, the command as it is started, its input files as they were at submission."""
    found = {
        "time": now().isoformat(),
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": sys.version,
        "executable": sys.executable,
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in PACKAGES},
        "directory": str(job.directory),
        "arguments": job.arguments,
        "inputs": [each.model_dump() for each in job.inputs],
    }
    return json.dumps(found, indent=1) + "\n"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
