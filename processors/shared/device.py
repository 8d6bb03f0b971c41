"""Which OpenCL device to use: by the numbers of platform and device, never by name (two platforms may share one)."""

import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from stream.errors import ConfigError

SPELLING = r"^(auto|cpu|opencl(:(gpu|cpu|acc|\d+,\d+))?)$"
"""Of the option `device`."""
WORDS = "cpu, opencl, opencl:gpu (cpu, acc), opencl:PLATFORM,DEVICE (numbers, see `inbeam info`); auto: a GPU, if any"
INSTALL = "`pip install inbeam[opencl]` and a driver (PoCL, NVIDIA, AMD, Intel), or set device: cpu"
_BUILDING = threading.Lock()
"""Warnings are silenced while a kernel is built, which Python can only do for all threads at once."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `platform` and `number` are those of `device: opencl:platform,number`; kind: gpu, cpu or acc."""

    platform: int
    number: int
    name: str
    platform_name: str
    kind: str
    has_double: bool
    memory_bytes: int

    def __str__(self) -> str:
        return f"opencl:{self.platform},{self.number}"


def devices() -> tuple[Device, ...]:
    """All OpenCL devices; empty where pyopencl or a driver is missing."""
    try:
        import pyopencl as cl

        platforms: list[Any] = cl.get_platforms()
    except Exception:  # ImportError, or whatever a broken driver raises
        return ()
    found = []
    for platform_number, platform in enumerate(platforms):
        try:
            listed = platform.get_devices()
        except cl.Error:
            continue
        for number, device in enumerate(listed):
            found.append(
                Device(
                    platform=platform_number,
                    number=number,
                    name=device.name.strip(),
                    platform_name=platform.name.strip(),
                    kind=_kind(cl, device),
                    has_double=bool(device.double_fp_config),
                    memory_bytes=int(device.global_mem_size),
                )
            )
    return tuple(found)


def choose(wish: str, key: str = "integrate.device") -> Device | None:
    """The device that the option `key` asks for, as in SPELLING; None stands for the CPU kernels.

    auto: the first GPU, else None. opencl: the first GPU, else the first device of any kind. Raises ConfigError.
    """
    if wish == "cpu":
        return None
    found = devices()
    gpus = [device for device in found if device.kind == "gpu"]
    if wish == "auto":
        return gpus[0] if gpus else None
    if not found:
        raise ConfigError([(key, f"no OpenCL device is there: {INSTALL}")])
    if wish == "opencl":
        return (gpus or found)[0]
    for device in found:
        if wish in (str(device), f"opencl:{device.kind}"):
            return device
    have = ", ".join(f"{device} ({device.kind}, {device.name})" for device in found)
    raise ConfigError([(key, f"there is no device {wish}; there are {have}; correct it, or set device: cpu")])


def opened(device: Device) -> Any:
    """pyopencl's own object for it. Raises pyopencl.Error."""
    import pyopencl as cl

    return cl.get_platforms()[device.platform].get_devices()[device.number]


@cache
def context_of(device: Device) -> Any:
    """The one context of a device in this process: what one worker sends and another one computes can only then go on
    at the same time. Raises pyopencl.Error."""
    import pyopencl as cl

    return cl.Context([opened(device)])


def build(context: Any, package: str, name: str, defines: Mapping[str, object]) -> Any:
    """The program in the file `name` beside the modules of `package`. Raises pyopencl.Error.

    Every worker has one of its own: kernels keep their arguments.
    """
    import pyopencl as cl

    source = files(package).joinpath(name).read_text(encoding="utf-8")
    program = cl.Program(context, source)
    with _BUILDING, warnings.catch_warnings():
        # compilers talk about optimisations they did not do; a real error raises cl.Error
        warnings.simplefilter("ignore", cl.CompilerWarning)
        program.build([f"-D{key}={value}" for key, value in defines.items()])
    return program


def _kind(cl: Any, device: Any) -> str:
    if device.type & cl.device_type.GPU:
        return "gpu"
    return "cpu" if device.type & cl.device_type.CPU else "acc"
