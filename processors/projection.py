"""`projection`: from the counts of a radiograph to line integrals, a step of which is a processor in its own right.

The worker does all steps where the flats are files; where they come with the scan, the gatherer behind does, see
`processors.projections.chain`. Frames that are no projections by their image_key are left alone.
"""

from collections.abc import Sequence

import numpy as np

from processors.correct import bad_pixels_for, the_channel
from processors.correction.images import averaged, same_shape
from processors.correction.options import listed
from processors.projections.chain import IMAGE, Link, Projections, travelling
from processors.projections.engines import Given, engine_for
from processors.projections.normalise import OpenBeam, open_beam
from processors.projections.opencl import OpenClEngine
from processors.projections.options import Config as Config
from processors.projections.stage import Stage
from processors.shared.correction import Correction
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, ScanEnd, ScanStart
from stream.products import Field, Product
from stream.turning import Key
from stream.work import Work

IMAGE_KEY = "image_key"


def create(config: Config, context: Context = ALONE) -> "Projection":
    """The processor for a validated configuration."""
    return Projection(config)


class Projection:
    """One per worker."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._before: Link | None = None
        self._link: Link
        self._by_the_gatherer = False

    @property
    def pixels_of(self) -> tuple[str, ...]:
        """The channel, where it is worked on here, by the first of several, and not decoded on a device."""
        elsewhere = self._by_the_gatherer or isinstance(self._link.engine, OpenClEngine)
        return () if self._before is not None or elsewhere else (self._link.channel,)

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Read flats and darks. Raises ConfigError where they do not fit, and for areas off the image."""
        config, name = self.config, self.config.name
        chain = Projections.of(work, scan)
        self._before = chain.links[-1] if chain.links else None
        if self._before is not None and (config.flat is not None or config.from_scan):
            text = f"{self._before.name} stands before: the flat divides counts, so it belongs to the first"
            raise ConfigError([(f"{name}.flat", text)])
        if self._before is not None and self._before.stage.steps.logarithm and config.logarithm:
            text = f"{self._before.name} gives logarithms already: set logarithm: false in one of them"
            raise ConfigError([(f"{name}.logarithm", text)])
        channel = the_channel(scan, config.channel) if self._before is None else self._before.channel
        shape = scan.shape if self._before is None else self._before.stage.shape
        stage = Stage(config, shape, name)
        beam = work.once(("projection", name, "open beam"), lambda: self._beam(scan))
        if config.logarithm and beam is None and not config.from_scan and config.air is None and self._before is None:
            text = "of counts, without flat and air region, tells nothing: give one of them, or logarithm: false"
            raise ConfigError([(f"{name}.logarithm", text)])
        self._by_the_gatherer = chain.waits or config.from_scan
        sent = self._before is None
        dtype = scan.dtype.newbyteorder("=") if sent else np.dtype("f4")
        given = Given(stage, dtype, self._correction(scan, work) if sent else None, beam, config.from_scan)
        images = channel if sent else travelling(name)
        engine, where = engine_for(config, given, images, work, self._by_the_gatherer)
        told = (beam, config.from_scan, config.monitor, sent)
        self._link = Link(name, stage, channel, dtype, engine, *told)
        work.put(Projections(scan.uid, (*chain.links, self._link)))
        fields = []
        if not self._by_the_gatherer:
            fields = [
                Field("mended", (), np.dtype("u4"), "", "pixels put between their neighbours"),
                Field("outliers", (), np.dtype("u4"), "", "pixels that stood out"),
                Field("low", (), np.dtype("u4"), "", "pixels too dark for a logarithm"),
                Field("air", (), np.dtype("f4"), "", "level of the air region"),
            ]
        if config.keep:
            fields.insert(0, Field(IMAGE, stage.shape, np.dtype("f4"), "", "projection", interpretation="image"))
        parameters = {
            "configuration": config.model_dump(mode="json"),
            "channel": channel,
            "unusable_pixels": 0 if beam is None else beam.unusable,
        }
        return (Product(name, tuple(fields), IMAGE if config.keep else "", parameters=parameters, device=where),)

    def process(self, work: Work) -> None:
        """Raises ValueError where a step cannot be done."""
        if self._by_the_gatherer or work.frame.readings.get(IMAGE_KEY, 0) != Key.PROJECTION:
            return
        link = self._link
        found, counted = link.made(work.frame, lambda: self._image(work), link.beam)
        work.results[travelling(link.name)] = {IMAGE: found}
        work.results[link.name] = {
            **({IMAGE: found} if self.config.keep else {}),
            "mended": np.array(counted.mended, np.uint32),
            "outliers": np.array(counted.outliers, np.uint32),
            "low": np.array(counted.low, np.uint32),
            "air": np.array(counted.air, np.float32),
        }

    def finish(self, end: ScanEnd) -> None:
        """Nothing to free."""

    def _image(self, work: Work) -> Array:
        if self._before is None:
            return work.image(self._link.channel)
        return work.results[travelling(self._before.name)][IMAGE]

    def _correction(self, scan: ScanStart, work: Work) -> Correction:
        """Bad pixels. A response that the header tells is in the flat field too, and goes with it."""
        return bad_pixels_for(work, scan, self.config.name, "put dark and flat here instead", self.config.channel)

    def _beam(self, scan: ScanStart) -> OpenBeam | None:
        if self.config.flat is None:
            return None
        flat, dark = self._mean("flat", scan), self._mean("dark", scan)
        assert flat is not None
        try:
            monitor = self.config.monitor_of_flat
            return open_beam(flat, dark, monitor=float("nan") if monitor is None else monitor)
        except ValueError as error:
            raise ConfigError([(f"{self.config.name}.flat", str(error))]) from error

    def _mean(self, option: str, scan: ScanStart) -> Array | None:
        """Of all files, each of which counts alike."""
        key = f"{self.config.name}.{option}"
        names = listed(self.config.flat if option == "flat" else self.config.dark)
        if not names:
            return None
        total = np.zeros(scan.shape)
        for name in names:
            total += same_shape(key, name, averaged(key, name).pixels, scan.shape)
        return total / len(names)
