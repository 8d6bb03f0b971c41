"""A channel by arithmetic on those of the detector, such as `threshold_1 - 0.5*threshold_2`.

Dark, flat and masks of each channel (see `correct`) are applied before; a pixel that is flagged, masked or saturated in
one of them is NaN, and so is one where the formula has no value. Processors behind this one take the result as a
channel: `channel: difference`. It is a result of its own as well, an image for each frame.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field as Option
from pydantic import field_validator

from processors.correct import correction_for
from processors.shared.correction import Correction, Corrections
from processors.shared.derived import Derived
from processors.shared.formula import Formula as Arithmetic
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import ScanEnd, ScanStart
from stream.products import Field, Product
from stream.registry import Options
from stream.work import Work


class Config(Options):
    """Options of `formula`."""

    type: Literal["formula"] = "formula"
    name: str = Option("formula", min_length=1, description="Name of the channel, and of the result in the file")
    formula: str = Option(description="Arithmetic (+, -, *, /, **) on channels, such as threshold_1 - 0.5*threshold_2")
    keep: bool = Option(True, description="Write the images into the results file; false: for later processors only")

    @field_validator("formula")
    @classmethod
    def _arithmetic(cls, text: str) -> str:
        try:
            Arithmetic(text)
        except ValueError as error:
            raise ValueError(f"{text[:80]!r} {error}") from error
        return text

    def gives(self) -> Sequence[str]:
        """Name of the product, if there is one."""
        return (self.name,) if self.keep else ()


def create(config: Config, context: Context = ALONE) -> "Formula":
    """The processor for a validated configuration."""
    return Formula(config)


class Formula:
    """One per worker: leaves the channel on the bench, its pixels float32."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._formula = Arithmetic(config.formula)
        self._corrections: dict[str, Correction] = {}

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Find the channels and their corrections. Raises ConfigError if the scan has none of that name."""
        name, made = self.config.name, Derived.of(work, scan)
        if name in (*scan.channels, *made.dtypes):
            raise ConfigError([("formula.name", f"scan {scan.name} has a channel {name!r} already: choose another")])
        missing = [channel for channel in self._formula.names if channel not in scan.channels]
        if missing:
            have = ", ".join(scan.channels)
            text = f"scan {scan.name} has no channel {missing[0]!r}, only {have}: correct the formula"
            raise ConfigError([("formula.formula", text)])
        self._corrections = {channel: correction_for(work, scan, channel) for channel in self._formula.names}
        applied = self._corrections.values()
        mask = np.logical_or.reduce([each.mask for each in applied])
        without_dark_and_flat = [each.mask if each.geometry_mask is None else each.geometry_mask for each in applied]
        bare = np.logical_or.reduce(without_dark_and_flat)
        origin = {
            f"{kind} of {channel}": text
            for channel, each in self._corrections.items()
            for kind, text in each.origin.items()
        }
        correction = Correction(scan.shape, mask, geometry_mask=bare, origin={**origin, "formula": self.config.formula})
        left = work.get(Corrections)
        before = left.by_channel if left is not None and left.uid == scan.uid else {}
        work.put(Corrections(scan.uid, {**before, name: correction}))
        work.put(Derived(scan.uid, {**made.dtypes, name: np.dtype(np.float32)}))
        if not self.config.keep:
            return ()
        image = Field("data", scan.shape, np.dtype(np.float32), "counts", self.config.formula, interpretation="image")
        parameters = {"configuration": self.config.model_dump(mode="json"), "corrections_from": origin}
        return (Product(name, (image,), signal="data", parameters=parameters),)

    def process(self, work: Work) -> None:
        """The channel of the frame in hand."""
        applied = {name: correction.apply(work.image(name)) for name, correction in self._corrections.items()}
        image = self._formula({name: signal for name, (signal, _) in applied.items()})
        for _, bad in applied.values():
            image[bad] = np.nan
        image[~np.isfinite(image)] = np.nan
        work.derive(self.config.name, image)
        if self.config.keep:
            work.results[self.config.name] = {"data": image}

    def finish(self, end: ScanEnd) -> None:
        """Free the corrections of this scan."""
        self._corrections = {}
