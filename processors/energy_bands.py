"""`energy_bands`: the images of a time-of-flight stack, summed up over bands of energy while they come.

The images of one projection are the frames of one scan, their numbers the time of flight. Bands are as many as wanted,
ranges of frame numbers, or ranges of the time of flight. Counts are added as uint64 (int64 of signed ones), exactly;
float64 of floating-point images. A pixel that is bad in one image of a band (see `correct`) has no sum: it reads as the
largest number, -1 or NaN, and is counted.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from processors.bands.options import Config as Config
from processors.correct import bad_pixels_for, the_channel
from processors.shared.merging import once
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, Frame, Piece, ScanEnd, ScanStart, Update
from stream.ledger import Partial
from stream.products import Field, Product
from stream.work import Work

CHUNK_BYTES = 1 << 20
BUSY = 4
"""Updates take at most a fifth of this thread's time."""


def create(config: Config, context: Context = ALONE) -> "EnergyBands":
    """The gatherer for a validated configuration."""
    return EnergyBands(config, context)


class EnergyBands:
    """See the module."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Raises ConfigError where the bands, or the times of flight, are not known."""
        config, name = self.config, self.config.name
        self._scan, self._channel = scan.uid, the_channel(scan, config.channel)
        self._divided = scan.part is not None
        instead = "counts are summed as they come; leave it out there"
        self._correction = bad_pixels_for(work, scan, name, instead, config.channel)
        kind = {"u": "u8", "i": "i8", "f": "f8"}[scan.dtype.kind]
        self._times = None if config.spectra is None else _times(config.spectra, name)
        if config.tof and self._times is None and scan.readings is not None and config.tof_reading not in scan.readings:
            have = ", ".join(scan.readings) or "none"
            text = f"no reading is called {config.tof_reading!r} (there are: {have}): name it, or give `spectra`"
            raise ConfigError([(f"{name}.tof_reading", text)])
        self._edges = self._by_index(scan)
        count = len(self._edges) if self._edges is not None else len(config.tof)
        self._sums = np.zeros((count, *scan.shape), kind)
        self._bad = np.zeros((count, *scan.shape), bool)
        self._frames = np.zeros(count, np.int64)
        self._wanted = self._expected()
        self._spectrum: dict[int, Any] = {}
        self._taken: set[int] = set()
        self._dirty: set[int] = set(range(count))
        self._covers: list[int] = []
        self._due, self._highest = 0.0, -1
        return (self._product(scan, kind, count),)

    def _by_index(self, scan: ScanStart) -> Array | None:
        """int64 (bands, 2): first and behind the last frame number; None: by time of flight."""
        config = self.config
        if config.tof:
            return None
        if config.index:
            return np.array([(first, last + 1) for first, last in config.index], np.int64)
        images = config.images if config.images is not None else scan.expected
        if images is None:
            text = "how many images a stack has is not known: set `images`, or give ranges in `index`"
            raise ConfigError([(f"{config.name}.images", text)])
        bands = config.uniform or 1
        if bands > images:
            raise ConfigError([(f"{config.name}.uniform", f"{bands} bands of {images} images: choose fewer")])
        width, rest = divmod(images, bands)
        edges = np.concatenate([[0], np.cumsum([width + (band < rest) for band in range(bands)])])
        return np.column_stack([edges[:-1], edges[1:]]).astype(np.int64)

    def _expected(self) -> Array:
        """int64 (bands,): images that each should have, -1 where that is not known."""
        if self._edges is not None:
            found: Array = self._edges[:, 1] - self._edges[:, 0]
            return found
        if self._times is None:
            return np.full(len(self.config.tof), -1, np.int64)
        times = self._times
        return np.array([((times >= first) & (times < last)).sum() for first, last in self.config.tof], np.int64)

    def _product(self, scan: ScanStart, kind: str, count: int) -> Product:
        rows = max(1, min(scan.shape[0], CHUNK_BYTES // (8 * scan.shape[1])))
        chunk = (1, rows, scan.shape[1])
        shape = (count, *scan.shape)
        fields = [
            Field("sum", shape, np.dtype(kind), "counts", "sum of each band", "scan", chunk, "image", compressed=False),
            Field("frames", (count,), np.dtype("i8"), "", "images in each band", "scan"),
            Field("expected", (count,), np.dtype("i8"), "", "images that it should have; -1: not known", "scan"),
            Field("bad_pixels", (count,), np.dtype("i8"), "", "pixels of each band without a sum", "scan"),
            Field(
                "spectrum",
                (scan.expected,),
                np.dtype(kind),
                "counts",
                "counts of the good pixels of each image",
                "scan",
            ),
        ]
        if self.config.average:
            text = "mean of the images of each band"
            fields.append(
                Field("mean", shape, np.dtype("f8"), "counts", text, "scan", chunk, "image", compressed=False)
            )
        ranges = np.array(self.config.tof) if self._edges is None else self._edges - np.array([0, 1])
        parameters = {"configuration": self.config.model_dump(mode="json")}
        return Product(self.config.name, tuple(fields), "sum", constants={"range": ranges}, parameters=parameters)

    def take(self, work: Work) -> Iterable[Update]:
        """One image. Raises ValueError where it has no time of flight."""
        frame = work.frame
        if not frame.payloads or frame.index in self._taken:
            return ()
        bands = self._bands_of(frame)
        image = work.image(self._channel)
        bad = self._correction.bad(image)
        good = np.where(bad, image.dtype.type(0), image) if bad.any() else image
        self._taken.add(frame.index)
        for band in bands:
            np.add(self._sums[band], good, out=self._sums[band], casting="same_kind")
            self._bad[band] |= bad
            self._frames[band] += 1
            self._dirty.add(band)
        self._spectrum[frame.index] = good.sum(dtype=self._sums.dtype)
        self._covers.append(frame.index)
        self._highest = max(self._highest, frame.index)
        return self.tick()

    def tick(self) -> Iterable[Update]:
        """Bands that have changed, if it is time."""
        now = time.monotonic()
        if not self._covers or now < self._due:
            return ()
        updates = self._changed()
        done = time.monotonic()
        self._due = done + max(self.config.picture_s, BUSY * (done - now))
        return updates

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """The rest, and which bands lack images."""
        if not self._divided:
            self._tell_what_is_missing()
        return self._changed()

    def _tell_what_is_missing(self) -> None:
        lacking = np.flatnonzero((self._wanted >= 0) & (self._frames != self._wanted))
        if len(lacking) and self._taken:
            band = int(lacking[0])
            self._context.trouble(
                f"{self.config.name}: {len(lacking)} bands lack images, first band {band}: {self._frames[band]} of "
                f"{self._wanted[band]}; their sums are those of fewer images, see `frames`"
            )

    @property
    def undivided(self) -> str:
        """See `stream.roles.Mergeable`."""
        return ""

    def merge(self, scan: str, parts: Sequence[Mapping[str, Partial]]) -> Iterable[Update]:
        """See `stream.roles.Mergeable`. Counts add up exactly; sums of floating-point images but for their rounding."""
        found = [part[self.config.name] for part in parts if self.config.name in part]
        if not found:
            return []
        self._covers = once(found)
        first = found[0].fields
        self._scan, self._wanted, self._taken = scan, first["expected"][()], set(self._covers)
        self._frames = np.sum([part.fields["frames"][()] for part in found], axis=0)
        self._sums = np.zeros(first["sum"].shape, first["sum"].dtype)
        self._bad = np.zeros(self._sums.shape, bool)
        self._spectrum = {}
        for part in found:
            for band in range(len(self._sums)):
                total = part.fields["sum"][band]
                bad = np.isnan(total) if total.dtype.kind == "f" else total == _no_sum(total.dtype)
                self._bad[band] |= bad
                self._sums[band] += np.where(bad, 0, total)
            values = part.fields["spectrum"][()]
            self._spectrum |= {index: values[index] for index in part.covered.tolist()}
        self._dirty = set(range(len(self._sums)))
        self._tell_what_is_missing()
        return self._changed()

    def _bands_of(self, frame: Frame) -> list[int]:
        if self._edges is not None:
            index = frame.index
            return np.flatnonzero((self._edges[:, 0] <= index) & (index < self._edges[:, 1])).tolist()
        if self._times is not None:
            known = frame.index < len(self._times)
            flight = float(self._times[frame.index]) if known else float("nan")
        else:
            flight = frame.readings.get(self.config.tof_reading, float("nan"))
        if not np.isfinite(flight):
            raise ValueError("the time of flight of this image is not known: it is in no band")
        return [band for band, (first, last) in enumerate(self.config.tof) if first <= flight < last]

    def _changed(self) -> list[Update]:
        if not self._covers and not self._dirty:
            return []
        name, none = self.config.name, _no_sum(self._sums.dtype)
        found = []
        for band in sorted(self._dirty):
            bad, total = self._bad[band : band + 1], self._sums[band : band + 1]
            own = {"sum": Piece((band, 0, 0), np.where(bad, none, total))}
            if self.config.average:
                mean = np.where(bad, np.nan, total / np.float64(self._frames[band] or np.nan))
                own["mean"] = Piece((band, 0, 0), mean)
            found.append(Update(self._scan, name, own))
        numbers = {"frames": self._frames, "expected": self._wanted, "bad_pixels": self._bad.sum(axis=(1, 2))}
        pieces = {key: Piece((0,), np.array(values, np.int64)) for key, values in numbers.items()}
        new = [index for index in self._covers if index in self._spectrum]
        if new:
            first, last = min(new), max(new)
            values = [self._spectrum.get(index, none) for index in range(first, last + 1)]
            pieces["spectrum"] = Piece((first,), np.array(values, self._sums.dtype))
        covers, self._covers, self._dirty = tuple(self._covers), [], set()
        return [*found, Update(self._scan, name, pieces, covers=covers)]


def _no_sum(dtype: np.dtype[Any]) -> Any:
    """What stands in the file for a number that there is not, as a sink fills it."""
    return dtype.type(np.nan if dtype.kind == "f" else -1 if dtype.kind == "i" else np.iinfo(dtype).max)


def _times(path: Path, name: str) -> Array:
    try:
        table = np.loadtxt(path, ndmin=2, delimiter="," if "," in path.read_text().partition("\n")[0] else None)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        text = f"{path} is no table with a time of flight in its first column: {error}"
        raise ConfigError([(f"{name}.spectra", text)]) from error
    return table[:, 0]
