"""Regions of interest: what one set of numbers per region and frame says, while the scan runs.

Regions are options that may change at any frame (`inbeam set processors.roi.regions.NAME...`): each frame is measured
with those of its own revision. Masked and flagged pixels (see `correct`) never count; see docs/roi.md for every number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from processors.correct import correction_for, the_channel
from processors.regions.field import Rays
from processors.regions.layout import product, rows_of
from processors.regions.measuring import Regions
from processors.regions.options import MOST_PIXELS
from processors.regions.options import Config as Config
from processors.regions.pixels import Pixels
from processors.regions.shapes import Shape
from processors.shared.announce import announce, tell
from processors.shared.correction import Correction
from processors.shared.derived import Derived, pixel_type
from processors.shared.device_frames import Desk, DeviceFrames, Taken
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, Frame, ScanEnd, ScanStart
from stream.products import Product
from stream.work import Work

MOST_SETS = 4
"""Sets of regions that are kept ready: late frames want those of before."""
WARM = Config.model_validate(
    {
        "regions": {
            "above": {"kind": "rectangle", "x": [0, 1], "y": [0, 1], "background": "below", "fit": "linear"},
            "below": {"kind": "rectangle", "x": [1, 2], "y": [0, 1]},
        }
    }
)


def create(config: Config, context: Context = ALONE) -> "Roi":
    """The processor for a validated configuration."""
    return Roi(config, context)


class Roi:
    """One per worker."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context
        self._scan: ScanStart | None = None
        self._channel = ""
        self._dtype: np.dtype[Any] = np.dtype(np.uint32)
        self._correction: Correction
        self._rays: Rays
        self._sets: dict[int, Regions] = {}
        self._shapes: dict[Shape, Pixels] = {}
        self._without_monitor: list[int] = []
        self._desk: Desk | None = None
        self._taken: dict[int, Taken] = {}

    @property
    def pixels_of(self) -> tuple[str, ...]:
        """The channel that is measured, unless a device decodes it."""
        return (self._channel,) if self._frames() is None else ()

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Find the pixels of the regions. Raises ConfigError where the scan does not have what they need."""
        config = self.config
        derived = Derived.of(work, scan)
        self._channel = the_channel(scan, config.channel, derived.dtypes)
        self._dtype = pixel_type(work, scan, self._channel)
        if config.error_model == "poisson" and self._channel in derived.dtypes:
            text = f"{self._channel} is made of counts, its pixels are none: choose none"
            raise ConfigError([(f"{config.name}.error_model", text)])
        if max(scan.shape) > MOST_PIXELS:
            raise ConfigError([(config.name, f"frames of {scan.shape} pixels: {MOST_PIXELS} rows and columns at most")])
        announce(f"the kernels of regions for {self._dtype} pixels", "regions", self._dtype.str)
        self._scan, self._sets, self._shapes, self._without_monitor = scan, {}, {}, []
        self._correction = correction_for(work, scan, self._channel)
        self._rays = Rays(config.name, config.poni, config.wavelength_angstrom, scan)
        nothing = np.zeros(scan.shape, self._dtype)
        Regions(WARM, self._correction, self._rays, {}).measure(nothing)  # compiles what any later change may need
        self._regions(config).measure(nothing)
        self._desk = None if self._channel in derived.dtypes else Desk.of(work)
        self._taken = {}
        return (product(config, self._channel, self._correction, scan, self._rays.poni()),)

    def process(self, work: Work) -> None:
        """Measure the frame in hand. Raises ValueError for one that is not as its scan began."""
        config = work.options(self.config)
        assert self._scan is not None, "start comes first"
        regions, frames = self._regions(config), self._frames()
        if frames is None:
            measured = regions.measure(self._image(work))
        else:
            if id(config) not in self._taken:
                self._taken = {key: each for key, each in self._taken.items() if key in self._sets}
                self._taken[id(config)] = Taken(frames, regions.index, self._dtype)
            payload = work.frame.payloads.get(self._channel)
            counts = self._taken[id(config)].of(payload, lambda: self._image(work))
            measured = regions.measure_taken(counts)
        work.results[config.name] = rows_of(config, regions, measured, self._factor(work.frame))

    def finish(self, end: ScanEnd) -> None:
        """Free the lists of this scan, and tell what had no monitor."""
        if lost := self._without_monitor:
            self._context.trouble(
                f"{self.config.name}: {len(lost)} frames of this worker have no usable reading "
                f"{self.config.normalize_by!r} (the first: frame {min(lost)}): their values are NaN"
            )
        self._scan, self._sets, self._shapes, self._without_monitor = None, {}, {}, []
        self._desk, self._taken = None, {}

    def _frames(self) -> DeviceFrames | None:
        """Those of another processor, before or behind this one, that has them on a device: then only the pixels of
        the regions come back from there."""
        if self._desk is None or self._scan is None:
            return None
        return self._desk.there(self._channel, self._scan.shape, self._dtype)

    def _image(self, work: Work) -> Array:
        image, scan = work.image(self._channel), self._scan
        assert scan is not None, "start comes first"
        if image.shape != scan.shape or image.dtype != self._dtype:
            raise ValueError(
                f"frame {work.frame.index} is {image.dtype} {image.shape}, but its scan began as {self._dtype} "
                f"{scan.shape}: check the detector's settings"
            )
        return image

    def _regions(self, config: Config) -> Regions:
        """Those of this revision of the options, which is kept with them: so its identity is its own."""
        found = self._sets.get(id(config))
        if found is None:
            while len(self._sets) >= MOST_SETS:
                self._sets.pop(next(iter(self._sets)))
            found = self._sets[id(config)] = Regions(
                config, self._correction, self._rays, self._shapes, strict=config is self.config
            )
            kept = {region for each in self._sets.values() for region in each.config.regions.values()}
            self._shapes = {shape: pixels for shape, pixels in self._shapes.items() if shape in kept}
            assert self._scan is not None, "start comes first"
            for name in found.empty:
                tell(self._scan.uid, f"{config.name}: no pixel is in the region {name!r}: it is NaN")
            for name, where in found.clipped.items():
                tell(self._scan.uid, f"{config.name}: the region {name!r} reaches beyond the detector {where}")
            for name in found.overlapping:
                words = f"the region {name!r} overlaps its background: the errors of its sum and mean are NaN"
                tell(self._scan.uid, f"{config.name}: {words}")
            for words in found.refused:
                self._context.trouble(f"{config.name}: {words}")
        return found

    def _factor(self, frame: Frame) -> float:
        """What the values are divided by; NaN where the reading is of no use."""
        name = self.config.normalize_by
        if name is None:
            return 1.0
        factor = frame.readings.get(name, float("nan")) / self.config.reference
        if np.isfinite(factor) and factor > 0:
            return factor
        self._without_monitor.append(frame.index)
        return float("nan")
