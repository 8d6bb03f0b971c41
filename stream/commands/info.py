"""`inbeam info`: devices, plug-ins, versions: what to paste into a report."""

import argparse
import importlib.metadata
import platform
import sys
from pathlib import Path

from stream import registry

PACKAGES = ("inbeam", "numpy", "numba", "h5py", "hdf5plugin", "pyFAI", "silx", "fabio", "pyzmq", "pyopencl", "watchdog")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> int:
    """Print what this installation has."""
    print(f"python       {platform.python_version()} ({sys.executable})")
    print(f"machine      {platform.platform()}")
    for name in PACKAGES:
        try:
            print(f"{name:12} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{name:12} not installed")
    for section in registry.BUILT_IN:
        print(f"{section:12} {', '.join(registry.names(section))}")
    for line in devices():
        print(f"opencl       {line}")
    configs = Path(__file__).parents[1] / "configs"
    if configs.is_dir():
        print(f"configs      {configs}")
    return 0


def devices() -> list[str]:
    """One line per OpenCL device, in the order of `device: opencl:platform,device`."""
    try:
        import pyopencl
    except ImportError:
        return ["not installed: pip install 'inbeam[opencl]'"]
    try:
        return [
            f"{p},{d}  {device.name} ({platform_.name})"
            for p, platform_ in enumerate(pyopencl.get_platforms())
            for d, device in enumerate(platform_.get_devices())
        ] or ["no device"]
    except pyopencl.Error:
        return ["no device: no OpenCL driver found (on Debian: apt install pocl-opencl-icd)"]
