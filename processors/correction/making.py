"""What files and the stream's header say of the pixels of one channel, gathered once per scan into a `Correction`."""

from collections.abc import Collection, Iterator
from typing import Any, Literal

import numpy as np

from processors.correction.bad_pixels import HEADER, Part, bad_pixels, blame
from processors.correction.images import averaged, same_shape
from processors.correction.options import Config, listed
from processors.shared.announce import tell
from processors.shared.correction import Correction, Image32
from stream.errors import ConfigError
from stream.events import Array, ScanStart

SAME_EXPOSURE = 1e-3
"""Exposures that differ by less, relatively, are the same."""


def the_channel(scan: ScanStart, channel: str | None, made: Collection[str] = ()) -> str:
    """The channel asked for, the first for None. Raises ConfigError if the scan does not have it.

    made: names of channels that earlier processors make.
    """
    if channel is None:
        return scan.channels[0]
    if channel not in (*scan.channels, *made):
        have = ", ".join([*scan.channels, *made])
        raise ConfigError([("channel", f"scan {scan.name} has no channel {channel!r}, only {have}: correct `channel`")])
    return channel


def make_correction(config: Config, scan: ScanStart, channel: str, key: str = "correct") -> Correction:
    """All that is known of the pixels of `channel` before the first frame.

    `key` is the type of the processor that has the options. Raises ConfigError, also where no pixel is left.
    """
    if scan.dtype.kind == "f" and scan.dtype.itemsize not in (4, 8):
        text = f"the pixels of scan {scan.name} are {scan.dtype}, which nothing computes with: make float32 of them"
        raise ConfigError([(key, text)])
    origin: dict[str, str] = {}
    parts = [*_masks(config, scan, channel, key)]
    if parts:
        origin["mask"] = ", ".join(part.name for part in parts)
    geometry_mask = np.logical_or.reduce([np.zeros(scan.shape, bool), *(part.bad for part in parts)])
    dark = _averaged("dark", config, scan, origin, key)
    if dark is not None:
        parts.append(Part("dark", origin["dark"], bad_pixels("dark", dark)))
    flat = _flat(config, scan, channel, origin, key)
    if flat is not None:
        parts.append(Part("flat", origin["flat"], bad_pixels("flat", flat)))
        flat[parts[-1].bad] = 1
    mask = np.logical_or.reduce([geometry_mask, *(part.bad for part in parts)])
    if parts and mask.all():
        raise ConfigError(blame(parts, scan.name, key))
    low, high = _limits(config, scan, origin, key)
    dummy_low, dummy_high = _dummy(config, scan.dtype)
    return Correction(scan.shape, mask, dark, flat, low, high, dummy_low, dummy_high, geometry_mask, origin)


def _masks(config: Config, scan: ScanStart, channel: str, key: str) -> Iterator[Part]:
    header = _of_channel(scan.detector.pixel_mask, channel) if config.use_detector_mask else None
    if header is not None:
        if header.shape != scan.shape:
            raise ConfigError(
                [
                    (
                        f"{key}.use_detector_mask",
                        f"the pixel mask in the header of scan {scan.name} has the shape {header.shape}, "
                        f"its frames {scan.shape}: set use_detector_mask: false and give a mask file",
                    )
                ]
            )
        yield Part("mask", HEADER, header != 0)
    for name in listed(config.mask):
        image = same_shape(f"{key}.mask", name, averaged(f"{key}.mask", name).pixels, scan.shape)
        yield Part("mask", name, bad_pixels("mask", image))


def _averaged(
    kind: Literal["dark", "flat"], config: Config, scan: ScanStart, origin: dict[str, str], key: str
) -> Image32 | None:
    """Plain mean over files, each the mean of its frames, as pyFAI's Worker does; float32 (rows, columns)."""
    names = listed(config.dark if kind == "dark" else config.flat)
    if not names:
        return None
    total = np.zeros(scan.shape, np.float64)
    for name in names:
        image = averaged(f"{key}.{kind}", name)
        pixels = same_shape(f"{key}.{kind}", name, image.pixels, scan.shape)
        total += (
            pixels * _growth(name, image.exposure_s, scan, origin) if kind == "dark" and config.scale_dark else pixels
        )
    origin[kind] = ", ".join(names)
    return (total / len(names)).astype(np.float32)


def _growth(name: str, exposure_s: float | None, scan: ScanStart, origin: dict[str, str]) -> float:
    """By how much a dark has grown in the exposure of the frames; 1 where nobody knows, which is told."""
    wanted = scan.detector.count_time_s
    if exposure_s and wanted:
        if abs(wanted / exposure_s - 1) > SAME_EXPOSURE:
            origin["dark_scaled"] = f"{name}: {exposure_s:g} s to {wanted:g} s"
            return wanted / exposure_s
        return 1.0
    silent = name if not exposure_s else f"the header of scan {scan.name}"
    tell(
        scan.uid,
        f"{name} is subtracted as it is: {silent} says no exposure to scale it by (scale_dark: false if right)",
    )
    return 1.0


def _flat(config: Config, scan: ScanStart, channel: str, origin: dict[str, str], key: str) -> Image32 | None:
    flat = _averaged("flat", config, scan, origin, key)
    detector = scan.detector
    factor = _of_channel(detector.flatfield, channel)
    if not config.use_detector_flat or detector.flatfield_applied or factor is None:
        return flat
    if factor.shape != scan.shape:
        raise ConfigError(
            [
                (
                    f"{key}.use_detector_flat",
                    f"the flat field in the header of scan {scan.name} has the shape {factor.shape}, "
                    f"its frames {scan.shape}: set use_detector_flat: false and give a flat file",
                )
            ]
        )
    response = np.divide(1.0, factor, out=np.zeros(scan.shape, np.float64), where=factor > 0)
    origin["flat"] = ", ".join(filter(None, (origin.get("flat"), HEADER)))
    return (response if flat is None else response * flat).astype(np.float32)


def _limits(config: Config, scan: ScanStart, origin: dict[str, str], key: str) -> tuple[float, float]:
    low, high = -np.inf, np.inf
    if scan.dtype.kind in "iu":
        info = np.iinfo(scan.dtype)
        low = 0.0 if config.flag_negative else float(info.min)
        high = float(info.max)
        if config.flag_maximum:  # of 64 bits no float holds the maximum less one: the next float below it
            high = min(float(info.max - 1), float(np.nextafter(high, 0.0)))
    if config.saturation == "header":
        if scan.detector.saturation_value:  # 0 says nothing: no detector is saturated by a single photon
            high = min(high, float(scan.detector.saturation_value))
            origin["saturation"] = "header"
    elif config.saturation is not None:
        high = min(high, config.saturation)
        origin["saturation"] = "configuration"
    if high < low:
        text = f"no count is left between {low:g} and {high:g}: correct `saturation`"
        raise ConfigError([(f"{key}.saturation", text)])
    return low, high


def _dummy(config: Config, dtype: np.dtype[Any]) -> tuple[float, float]:
    if config.dummy is None:
        return np.inf, -np.inf
    dummy, delta = config.dummy, config.delta_dummy
    if dtype.kind == "f":  # the file's 0.1 is the float32 nearest to it
        dummy, delta = float(dtype.type(dummy)), float(dtype.type(delta))
    return dummy - delta, dummy + delta


def _of_channel(arrays: Any, channel: str) -> Array | None:
    """The array of this channel, or the only one that the header has for all."""
    if channel in arrays:
        return np.asarray(arrays[channel])
    return np.asarray(next(iter(arrays.values()))) if len(arrays) == 1 else None
