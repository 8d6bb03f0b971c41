"""Which OpenCL device to use: by the numbers of platform and device, never by name (two platforms may share one)."""

from dataclasses import dataclass
from typing import Any

from stream.errors import ConfigError

INSTALL = "`pip install inbeam[opencl]` and a driver (PoCL, NVIDIA, AMD, Intel), or set device: cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `platform` and `number` are the two numbers of `device: opencl:platform,number`."""

    platform: int
    number: int
    name: str
    platform_name: str
    is_gpu: bool
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
                    is_gpu=bool(device.type & cl.device_type.GPU),
                    has_double=bool(device.double_fp_config),
                    memory_bytes=int(device.global_mem_size),
                )
            )
    return tuple(found)


def choose(wish: str) -> Device | None:
    """The device for `auto`, `cpu`, `opencl` or `opencl:platform,device`; None stands for the CPU kernels.

    auto: the first GPU, else None. opencl: the first GPU, else the first device of any kind. Raises ConfigError.
    """
    if wish == "cpu":
        return None
    found = devices()
    gpus = [device for device in found if device.is_gpu]
    if wish == "auto":
        return gpus[0] if gpus else None
    if not found:
        raise ConfigError([("integrate.device", f"no OpenCL device is there: {INSTALL}")])
    if wish == "opencl":
        return (gpus or found)[0]
    for device in found:
        if str(device) == wish:
            return device
    have = ", ".join(f"{device} ({device.name})" for device in found)
    raise ConfigError([("integrate.device", f"there is no device {wish}; there are {have}")])
