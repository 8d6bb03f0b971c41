"""`mosaicity`: moments of every pixel over the motors of a mosaicity, strain or rocking scan, for each omega.

A frame counts where its motors' readings say, whatever the order it comes in; at a position with several frames the one
with the highest number counts. Images are written when every position has its frame, every `update_s` seconds, and at
the end. After a kill all frames come again. Formulas: docs/mosaicity.md.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from processors.correct import correction_for, the_channel
from processors.mapping.described import described
from processors.moments import merging, results
from processors.moments.kept import Kept
from processors.moments.layout import Layout
from processors.moments.making import region_of, signal_for
from processors.moments.options import Config as Config
from processors.moments.positions import Place, positions_of
from processors.moments.sums import Adder, Group, Signal
from processors.shared.announce import announce
from processors.shared.derived import Derived, pixel_type
from processors.shared.merging import once
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, Piece, ScanEnd, ScanStart, Update
from stream.ledger import Partial
from stream.products import Product
from stream.work import Work

MOST_TOLD = 5


def create(config: Config, context: Context = ALONE) -> "Mosaicity":
    """The gatherer for a validated configuration."""
    return Mosaicity(config, context)


class Mosaicity:
    """See the module."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context
        self._layout: Layout
        self._signal: Signal
        self._adder: Adder
        self._cut: tuple[slice, slice]
        self._scan, self._channel, self._dtype = "", "", np.dtype("u2")
        self._shape: tuple[int, int] = (0, 0)
        self._divided = False
        self._reset()

    def _reset(self) -> None:
        self._groups: dict[int, Group] = {}
        self._kept = Kept(self.config.keep_gb * 1e9)
        self._taken: set[int] = set()
        self._aside: list[int] = []

    @property
    def layout(self) -> Layout:
        """Of the running scan."""
        return self._layout

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Find motors, region and background. Raises ConfigError where one of them cannot be had."""
        config = self.config
        self._reset()
        self._scan, self._shape = scan.uid, scan.shape
        derived = Derived.of(work, scan)
        self._channel = the_channel(scan, config.channel, derived.dtypes)
        self._dtype = pixel_type(work, scan, self._channel)
        positions = positions_of(config, scan, described(scan).sides)
        self._cut = region_of(config, scan.shape)
        rows, columns = self._cut
        shape = rows.stop - rows.start, columns.stop - columns.start
        self._layout = Layout(config.name, positions, shape, (rows.start, columns.start))
        motors, pixels = len(positions.motors), shape[0] * shape[1]
        needed = positions.omegas * Group.nbytes(motors, pixels) / 1e9
        if needed > config.memory_gb:
            text = f"the sums need {needed:.3g} GB of memory: set memory_gb higher, or choose a smaller roi"
            raise ConfigError([(f"{config.name}.memory_gb", text)])
        self._signal = signal_for(config, correction_for(work, scan, self._channel), self._cut)
        announce(f"the kernels of moments for {self._dtype} pixels", "moments", self._dtype.str)
        self._adder = Adder(self._signal, self._dtype, motors, config.background_lowest)
        parameters = {"configuration": json.loads(config.model_dump_json()), "channel": self._channel}
        self._divided = scan.part is not None
        images = self._layout.images(parameters)
        if self._divided:
            images = replace(images, fields=(*images.fields, *merging.fields(self._layout)))
        return images, self._layout.pictures(), self._layout.colours()

    def take(self, work: Work) -> Iterable[Update]:
        """Add the frame to the sums of its omega. Raises ValueError for one that has no place, or is not as its scan
        began."""
        frame = work.frame
        if not frame.payloads or frame.index in self._taken:
            return []
        place = self._layout.positions.place(frame.index, frame.readings)
        if place is None:
            return self._pass_over(frame.index)
        image = work.image(self._channel)
        if image.shape != self._shape or image.dtype != self._dtype:
            raise ValueError(
                f"frame {frame.index} is {image.dtype} {image.shape}, but its scan began as {self._dtype} "
                f"{self._shape}: check the detector's settings"
            )
        pixels = image[self._cut]
        group = self._groups.get(place.omega)
        if group is None:
            group = self._groups[place.omega] = Group.empty(len(place.where), pixels.size)
        earlier = group.frames.get(place.cell)
        if earlier is not None and earlier > frame.index:
            return self._pass_over(frame.index)
        if earlier is not None:
            self._replace(group, earlier, frame.index, place)
        self._taken.add(frame.index)
        self._kept.keep(frame.index, frame.payloads.get(self._channel), pixels)
        group.frames[place.cell], group.where[frame.index] = frame.index, place.where
        if not group.waiting:
            group.since = time.monotonic()
        group.waiting.append(frame.index)
        if not group.stale:
            self._adder.add(group, frame.index, place.where, pixels)
        if self._kept.full:
            self._sum_again()
            self._kept.trim()
        return self._write(place.omega) if self._complete(group) and not group.stale else []

    def tick(self) -> Iterable[Update]:
        """Images with frames that have waited long enough."""
        now = time.monotonic()
        due = [omega for omega, group in self._groups.items() if now - group.since > self.config.update_s]
        return [update for omega in due for update in self._write(omega)]

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """The rest, and what there is to tell."""
        for omega in list(self._groups):
            yield from self._write(omega)
        if self._aside:
            yield from self._all(({}, {}, {}), ())
        if self._divided:
            name, layout = self.config.name, self._layout
            yield Update(self._scan, name, merging.of_scan(layout, self._signal))
            for omega, group in self._groups.items():  # one by one: they may be large
                yield Update(self._scan, name, self._pieces(omega, merging.of_group(group, layout)))
        else:
            self._tell_what_is_missing()
        self._reset()

    @property
    def undivided(self) -> str:
        """See `stream.roles.Mergeable`."""
        lowest = self.config.background_lowest
        return f"background_lowest: the {lowest} weakest of all frames are the background" if lowest else ""

    def merge(self, scan: str, parts: Sequence[Mapping[str, Partial]]) -> Iterable[Update]:
        """See `stream.roles.Mergeable`."""
        found = [part[self.config.name] for part in parts if self.config.name in part]
        if not found:
            return
        covered = once(found)
        self._reset()
        self._scan, (self._layout, self._signal) = scan, merging.layout_of(self.config.name, found[0])
        for omega, group in merging.groups(self._layout, found):
            given = results.of_group(group, self._layout, self._signal, self.config)
            yield from self._all([self._pieces(omega, values) for values in given], ())
            self._groups[omega] = group
            group.sums = group.maximum = group.peak = np.empty(0)  # only the frames are still asked for
        yield from self._all(({}, {}, {}), covered)
        self._tell_what_is_missing()

    def _pass_over(self, index: int) -> list[Update]:
        """Not in the sums, and it need not be."""
        self._taken.add(index)
        self._aside.append(index)
        return []

    def _replace(self, group: Group, earlier: int, index: int, place: Place) -> None:
        """Frame `earlier` is out of the sums of its omega when these are made again, of the frames that were kept."""
        lost = [number for number in group.where if number != earlier and number not in self._kept]
        if lost:
            raise ValueError(
                f"frame {index} is at the position of frame {earlier} ({self._layout.positions.words(place.cell)}), "
                f"but the sums cannot be made again without that: {len(lost)} frames are no longer in memory. Frame "
                f"{earlier} stays; set keep_gb higher to have the newest"
            )
        if earlier in self._kept:
            self._kept.forget(earlier)
        del group.where[earlier]
        group.stale = True

    def _sum_again(self) -> None:
        for group in self._groups.values():
            if group.stale:
                self._adder.flush()
                group.clear(len(self._layout.positions.motors), self._signal.offset.size)
                for index in sorted(group.where):
                    pixels = self._kept.pixels(index, lambda image: image[self._cut])
                    self._adder.add(group, index, group.where[index], pixels)
                group.stale = False

    def _complete(self, group: Group) -> bool:
        return len(group.frames) == math.prod(self._layout.positions.shape)

    def _write(self, omega: int) -> list[Update]:
        group = self._groups[omega]
        if not group.waiting:
            return []
        self._sum_again()
        self._adder.flush()
        covers, group.waiting = group.waiting, []
        given = results.of_group(group, self._layout, self._signal, self.config)
        return self._all([self._pieces(omega, values) for values in given], covers)

    def _pieces(self, omega: int, found: Mapping[str, Array]) -> Mapping[str, Piece]:
        """Of one omega: with its dimension, if there is one."""
        lead = (omega,) if self._layout.lead else ()
        return {
            name: Piece((*lead, *(0 for _ in values.shape)), values[None] if lead else values)
            for name, values in found.items()
        }

    def _all(self, pieces: Sequence[Mapping[str, Piece]], covers: Sequence[int]) -> list[Update]:
        numbers, self._aside = (*covers, *self._aside), []
        given = zip(self._layout.products, pieces, strict=True)
        return [Update(self._scan, product, each, covers=numbers) for product, each in given]

    def _tell_what_is_missing(self) -> None:
        positions = self._layout.positions
        cells = math.prod(positions.shape)
        told: list[str] = []
        for omega in range(positions.omegas) if self._groups else ():
            group = self._groups.get(omega)
            lacking = [cell for cell in range(cells) if group is None or cell not in group.frames]
            if not lacking:
                continue
            where = "" if positions.omega is None else self._omega(omega)
            first = "; ".join(positions.words(cell) for cell in lacking[:MOST_TOLD])
            more = " ..." if len(lacking) > MOST_TOLD else ""
            told.append(f"{where}{len(lacking)} of {cells} positions have no frame: {first}{more}")
        for text in told[:MOST_TOLD]:
            self._context.trouble(f"{self.config.name}: {text}")
        if len(told) > MOST_TOLD:
            self._context.trouble(f"{self.config.name}: so it is at {len(told) - MOST_TOLD} more positions of omega")

    def _omega(self, omega: int) -> str:
        motor: Any = self._layout.positions.omega
        return f"at {motor.reading} = {motor.direction.first + motor.direction.step * omega:.6g} "
