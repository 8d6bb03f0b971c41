"""Images made ready for the eye and for later processors: cropped, dead pixels filled in, flat, without background.

Corrections of counts belong into `correct`, and regions of interest need no cropping; this is what the SPring-8 code
did before it looked at its images, each part by itself or, with `compat: sp2014`, as it did it. A pixel that is bad in
the end is NaN. The image is also a channel for the processors behind this one: there every pixel has the place that it
has on the detector, so it is not transposed, and what is cropped away is masked.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from processors.correct import correction_for, the_channel
from processors.correction.images import averaged, same_shape
from processors.correction.options import listed
from processors.preparing.median import median_of_all, median_of_bad
from processors.preparing.options import Area
from processors.preparing.options import Config as Config
from processors.shared.correction import Correction, Corrections
from processors.shared.derived import Derived, pixel_type
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, ScanEnd, ScanStart
from stream.products import Field, Product
from stream.work import Work

Image = NDArray[np.float64]


def create(config: Config, context: Context = ALONE) -> "Prepare":
    """The processor for a validated configuration."""
    return Prepare(config)


class Prepare:
    """One per worker."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._channel = ""
        self._correction: Correction
        self._part: tuple[slice, slice] = (slice(None), slice(None))
        self._dark: Image | None = None
        self._flat: Image | None = None
        self._dtype = np.dtype(np.float64 if config.compat else np.float32)

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Find the channel and its corrections. Raises ConfigError for areas off the detector, and two flats."""
        config, name = self.config, self.config.name
        made = Derived.of(work, scan)
        if name in (*scan.channels, *made.dtypes):
            raise ConfigError([(f"{name}.name", f"scan {scan.name} has a channel {name!r} already: choose another")])
        self._channel = the_channel(scan, config.channel, made.dtypes)
        correction = self._correction = correction_for(work, scan, self._channel)
        if config.flat is not None and correction.flat is not None:
            raise ConfigError(
                [(f"{name}.flat", f"{self._channel} has a flat already ({correction.origin.get('flat')})")]
            )
        for key, area in (("crop", config.crop), ("background", config.background)):
            if area is not None:
                _inside(f"{name}.{key}", area, scan.shape)
        if config.crop is not None:
            self._part = config.crop.part
        self._dark = None if correction.dark is None else correction.dark[self._part].astype(np.float64)
        self._flat = None if correction.flat is None else correction.flat[self._part].astype(np.float64)
        if config.flat is not None:
            self._flat = self._own_flat(scan)
        self._filled(np.zeros(scan.shape, pixel_type(work, scan, self._channel)))  # compiles before the first frame
        left = work.get(Corrections)
        before = left.by_channel if left is not None and left.uid == scan.uid else {}
        away = np.ones(scan.shape, bool)
        away[self._part] = False
        bare = Correction(scan.shape, away, origin={**correction.origin, "prepared": name})
        work.put(Corrections(scan.uid, {**before, name: bare}))
        work.put(Derived(scan.uid, {**made.dtypes, name: self._dtype}))
        if not config.keep:
            return ()
        rows, columns = np.empty(scan.shape, np.uint8)[self._part].shape
        shape = (columns, rows) if config.transpose else (rows, columns)
        divided = config.background is not None and config.background.how == "divide"
        unit = "" if divided else "counts"
        field = Field("data", shape, self._dtype, unit, "prepared image", interpretation="image")
        parameters = {
            "configuration": config.model_dump(mode="json"),
            "channel": self._channel,
            "corrections_from": dict(correction.origin),
        }
        return (Product(name, (field,), signal="data", parameters=parameters),)

    def process(self, work: Work) -> None:
        """Prepare the frame in hand. Raises ValueError where the background cannot be had."""
        config = self.config
        raw = work.image(self._channel)
        image, bad = self._filled(raw)
        if not config.compat and self._dark is not None:
            image -= self._dark
        if self._flat is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                image /= self._flat
        image[bad] = np.nan
        if config.background is not None:
            level = self._level(image)
            if not np.isfinite(level) or (config.background.how == "divide" and not level > 0):
                raise ValueError(
                    f"frame {work.frame.index} has the background {level:g} in the empty area: choose another area"
                )
            image = image - level if config.background.how == "subtract" else image / level
        if config.compat:
            image[image == 0] = 1
        image = np.ascontiguousarray(image, self._dtype)
        if work.will_decode(config.name):
            work.derive(config.name, self._whole(image, raw.shape))
        if config.keep:
            work.results[config.name] = {"data": np.ascontiguousarray(image.T) if config.transpose else image}

    def finish(self, end: ScanEnd) -> None:
        """Free the corrections of this scan."""
        self._dark = self._flat = None

    def _whole(self, image: Array, shape: tuple[int, ...]) -> Array:
        """The image in its place on the detector; NaN around it."""
        if self.config.crop is None:
            return image
        whole = np.full(shape, np.nan, self._dtype)
        whole[self._part] = image
        return whole

    def _filled(self, raw: Array) -> tuple[Image, NDArray[np.bool_]]:
        """The cropped image with the median as asked for, and what is bad of it."""
        config, part = self.config, self._part
        image = np.array(raw[part], np.float64, order="C")
        if config.compat:
            found = np.empty_like(image)
            median_of_all(image, found)
            return found, np.zeros(image.shape, bool)
        bad = np.ascontiguousarray(self._correction.bad(raw)[part])
        if config.median == "none":
            return image, bad
        found, left = np.zeros_like(image), np.zeros_like(bad)
        median_of_bad(image, bad, found, left)
        if config.median == "all":
            smooth = np.empty_like(found)
            median_of_all(found, smooth)
            return smooth, left
        return found, left

    def _level(self, image: Image) -> float:
        """The mean of the empty area after the same steps."""
        background, crop = self.config.background, self.config.crop
        assert background is not None
        top, left = (0, 0) if crop is None else (crop.y[0], crop.x[0])
        rows = slice(background.y[0] - top, background.y[1] - top)
        columns = slice(background.x[0] - left, background.x[1] - left)
        area = image[rows, columns]
        good = np.isfinite(area)
        return float(area[good].mean()) if good.any() else float("nan")

    def _own_flat(self, scan: ScanStart) -> Image:
        """The mean of the files, divided by its own mean over the cropped area."""
        key, names = f"{self.config.name}.flat", listed(self.config.flat)
        total = np.zeros(scan.shape)
        for name in names:
            total += same_shape(key, name, averaged(key, name).pixels, scan.shape)
        flat = (total / len(names))[self._part]
        if self.config.compat:
            return np.asarray(flat / np.nanmean(flat))
        usable = np.isfinite(flat) & (flat > 0)
        if not usable.any():
            raise ConfigError([(key, "no pixel of the cropped area is above 0: record the flat again")])
        return np.where(usable, flat / flat[usable].mean(), np.nan)


def _inside(key: str, area: Area, shape: tuple[int, int]) -> None:
    if area.y[1] > shape[0] or area.x[1] > shape[1]:
        raise ConfigError([(key, f"reaches beyond the frames of {shape[0]} rows and {shape[1]} columns: correct it")])
