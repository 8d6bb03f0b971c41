"""The detectors that `inbeam simulate` offers: modules and gaps as the makers build them, rings over the whole of each.

Sizes: data sheets of EIGER2 X and PILATUS3 X. A real PILATUS3 writes files; here it sends as PILATUS4 and EIGER2 do.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from stream.simulate.eiger import Simulated, channel_names, eiger2_4m, small

EIGER2 = {"500k": (1, 1), "1m": (2, 1), "9m": (6, 3), "16m": (8, 4)}
PILATUS = {"100k": (1, 1), "300k": (3, 1), "1m": (5, 2), "2m": (8, 3), "6m": (12, 5)}
"""Modules (down, across)."""
DISTANCE_PER_HEIGHT = 0.15 / (2162 * 75e-6)
"""As the 4M has it: LaB6 at 20 keV fills the detector."""


def _assembled(
    name: str,
    description: str,
    modules: tuple[int, int],
    module_shape: tuple[int, int],
    gap: tuple[int, int],
    pixel_size_m: float,
    dtype: str = "uint32",
    channels: int = 1,
) -> Simulated:
    rows, columns = (
        count * size + (count - 1) * between for count, size, between in zip(modules, module_shape, gap, strict=True)
    )
    return Simulated(
        name,
        f"Dectris {description} (simulated by inbeam)",
        (rows, columns),
        np.dtype(dtype),
        channel_names(channels),
        distance_m=round(DISTANCE_PER_HEIGHT * rows * pixel_size_m, 4),
        module_shape=module_shape,
        gap=gap,
        pixel_size_m=pixel_size_m,
    )


def _eiger2(size: str) -> Callable[..., Simulated]:
    name, label = f"eiger2-{size}", f"EIGER2 Si {size.upper()}"
    return partial(_assembled, name, label, EIGER2[size], (512, 1028), (38, 12), 75e-6)


def _pilatus(size: str) -> Callable[..., Simulated]:
    name, label = f"pilatus-{size}", f"PILATUS3 Si {size.upper()}"
    return partial(_assembled, name, label, PILATUS[size], (195, 487), (17, 7), 172e-6)


DETECTORS: dict[str, Callable[..., Simulated]] = {
    "small": small,
    "eiger2-4m": eiger2_4m,
    **{f"eiger2-{size}": _eiger2(size) for size in EIGER2},
    **{f"pilatus-{size}": _pilatus(size) for size in PILATUS},
}
"""name -> make(dtype, channels)."""
