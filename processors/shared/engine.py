"""What computes the frames of a scan: kernels on the CPU or an OpenCL device, one engine per worker and scan."""

import logging
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from processors.shared.device import Device, choose
from stream.errors import ConfigError
from stream.events import Array

log = logging.getLogger("inbeam")
With = ParamSpec("With")
Result = TypeVar("Result", covariant=True)


class Engine(Protocol[With, Result]):
    """Computes one frame after the other, in one worker. `With`: what it must be told of each besides its pixels."""

    def run(self, image: Array, *args: With.args, **kwargs: With.kwargs) -> Result:
        """The result of one frame, in new arrays. image: raw counts (rows, columns), C-contiguous, in native byte
        order, of the shape and type that the engine was made for. The GIL is released."""
        ...


def start(
    key: str,
    wish: str,
    on_cpu: Callable[[], Engine[With, Result]],
    on_device: Callable[[Device], Engine[With, Result]],
) -> tuple[Engine[With, Result], str]:
    """The engine that the option `key`, `device`, wishes for, and where it runs, for the provenance.

    With `auto` a device that cannot be used is left for the CPU, which is told. Raises ConfigError.
    """
    device = choose(wish, key)
    if device is None:
        return on_cpu(), "cpu"
    try:
        return on_device(device), f"{device} ({device.name})"
    except ConfigError as error:
        if wish != "auto":
            raise
        log.warning("computing on the CPU: %s", error)
        return on_cpu(), "cpu"
