"""Corrections of the raw counts: dark, flat, masks, dummy values, saturated and flagged pixels.

No image is made: what is to be corrected is gathered once per scan into a `Correction`, and left on the bench for the
processors that come later, which apply it while they go over the pixels anyway.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from processors.shared.bad_pixels import HEADER, Kind, Part, bad_pixels, blame, first_look
from processors.shared.correction import Correction, Corrections, Image32
from processors.shared.images import mean_image, same_shape
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, ScanEnd, ScanStart
from stream.preflight import Known, Problem
from stream.products import Product
from stream.registry import READS, Options
from stream.work import Work

Files = str | tuple[str, ...] | None


class Config(Options):
    """Options of `correct`. Files: whatever fabio reads, or `file.h5::/path/of/dataset`."""

    type: Literal["correct"] = "correct"
    channel: str | None = Field(None, description="Correct this channel (threshold) only; null: every channel")
    dark: Files = Field(
        None,
        description="File(s) with raw counts to subtract; several files or frames are averaged",
        json_schema_extra=READS,
    )
    flat: Files = Field(
        None, description="File(s) with the pixel response to divide by; several are averaged", json_schema_extra=READS
    )
    mask: Files = Field(None, description="File(s), nonzero = bad pixel; several are combined", json_schema_extra=READS)
    use_detector_mask: bool = Field(True, description="Take the pixel mask of the stream's own header")
    use_detector_flat: bool = Field(
        True, description="Take the flat field of the stream's header, if the detector has not applied it already"
    )
    dummy: float | None = Field(None, description="Raw counts of this value are bad in that frame")
    delta_dummy: float = Field(0.0, ge=0, description="Raw counts this near to `dummy`, inclusive, are bad too")
    saturation: float | Literal["header"] | None = Field(
        "header", description="Raw counts above this are bad; header: the detector's saturation_value; null: no limit"
    )
    flag_maximum: bool = Field(
        True, description="The largest value of an integer type is the detector's flag for a bad pixel"
    )
    flag_negative: bool = Field(
        True, description="Negative counts of signed integer images are flags for bad pixels (Pilatus: -1, -2)"
    )

    @model_validator(mode="after")
    def _dummy_first(self) -> "Config":
        if self.dummy is None and self.delta_dummy:
            raise ValueError("delta_dummy without dummy does nothing: give dummy too")
        return self

    def gives(self) -> Sequence[str]:
        """No product."""
        return ()

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into every file."""
        return first_look({"mask": listed(self.mask), "dark": listed(self.dark), "flat": listed(self.flat)})


def create(config: Config, context: Context = ALONE) -> "Correct":
    """The processor for a validated configuration."""
    return Correct(config)


class Correct:
    """Leaves the `Corrections` of a scan on the bench; does nothing per frame."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Read the files, check them against the scan. Raises ConfigError."""
        wanted = scan.channels if self.config.channel is None else (the_channel(scan, self.config.channel),)
        made = {name: make_correction(self.config, scan, name) for name in wanted}
        earlier = work.get(Corrections)
        if earlier is not None and earlier.uid == scan.uid:
            made = {**earlier.by_channel, **made}
        work.put(Corrections(scan.uid, made))
        return (Product("correct", (), bad_pixels={name: correction.mask for name, correction in made.items()}),)

    def process(self, work: Work) -> None:
        """Nothing: later processors correct while they read the pixels."""

    def finish(self, end: ScanEnd) -> None:
        """Nothing to free."""


def the_channel(scan: ScanStart, channel: str | None) -> str:
    """The channel asked for, the first for None. Raises ConfigError if the scan does not have it."""
    if channel is None:
        return scan.channels[0]
    if channel not in scan.channels:
        have = ", ".join(scan.channels)
        raise ConfigError([("channel", f"scan {scan.name} has no channel {channel!r}, only {have}: correct `channel`")])
    return channel


def correction_for(work: Work, scan: ScanStart, channel: str | None = None) -> Correction:
    """The Correction of a channel (None: the first) of this scan, for use in a processor's `start`.

    Without a `correct` earlier in the chain: as `{type: correct}` with its defaults would make it from the header.
    Raises ConfigError if the scan has no such channel.
    """
    name = the_channel(scan, channel)
    left = work.get(Corrections)
    if left is not None and left.uid == scan.uid and name in left.by_channel:
        return left.by_channel[name]
    return make_correction(Config(type="correct"), scan, name)


def make_correction(config: Config, scan: ScanStart, channel: str, key: str = "correct") -> Correction:
    """All that is known of the pixels of `channel` before the first frame.

    `key` is the type of the processor that has the options. Raises ConfigError, also where no pixel is left.
    """
    origin: dict[str, str] = {}
    parts = [*_masks(config, scan, channel, key)]
    if parts:
        origin["mask"] = ", ".join(part.name for part in parts)
    geometry_mask = np.logical_or.reduce([np.zeros(scan.shape, bool), *(part.bad for part in parts)])
    dark = _averaged("dark", config.dark, scan, origin, key)
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
        image = same_shape(f"{key}.mask", name, mean_image(f"{key}.mask", name), scan.shape)
        yield Part("mask", name, bad_pixels("mask", image))


def _averaged(kind: Kind, files: Files, scan: ScanStart, origin: dict[str, str], key: str) -> Image32 | None:
    """Plain mean over files, each the mean of its frames, as pyFAI's Worker does; float32 (rows, columns)."""
    names = listed(files)
    if not names:
        return None
    total = np.zeros(scan.shape, np.float64)
    for name in names:
        total += same_shape(f"{key}.{kind}", name, mean_image(f"{key}.{kind}", name), scan.shape)
    origin[kind] = ", ".join(names)
    return (total / len(names)).astype(np.float32)


def _flat(config: Config, scan: ScanStart, channel: str, origin: dict[str, str], key: str) -> Image32 | None:
    flat = _averaged("flat", config.flat, scan, origin, key)
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


def listed(files: Files) -> tuple[str, ...]:
    """The names, one by one."""
    if files is None:
        return ()
    return (files,) if isinstance(files, str) else files


def _of_channel(arrays: Any, channel: str) -> Array | None:
    """The array of this channel, or the only one that the header has for all."""
    if channel in arrays:
        return np.asarray(arrays[channel])
    return np.asarray(next(iter(arrays.values()))) if len(arrays) == 1 else None
