"""`topotomo`: the images of `mosaicity` at each omega, and from these a volume: density and tilts of every voxel.

A live view by back-projection is made of all complete omegas while the sample turns, the volume itself at the end, from
the beginning, so that it does not depend on what came when. Formulas: docs/topotomo.md.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from processors.moments.positions import Positions
from processors.mosaicity import Mosaicity
from processors.topotomography import layout, original
from processors.topotomography.gathered import Images, Recipe
from processors.topotomography.geometry import Grid, covered_deg, is_seen
from processors.topotomography.options import Config as Config
from processors.topotomography.projecting import Plan, compile_kernels
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, Piece, ScanEnd, ScanStart, Update
from stream.products import Product
from stream.work import Work

BUSY = 4
"""The live view takes at most a fifth of this thread's time: the next one waits at least so many times as long as the
last one took."""
DEGREES = ("", "deg", "degree", "degrees", "°")
MOST_TOLD = 8


def create(config: Config, context: Context = ALONE) -> "Topotomo":
    """The gatherer for a validated configuration."""
    return Topotomo(config, context)


class Topotomo:
    """See the module."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context
        self._mosaicity = Mosaicity(config, context)
        self._images: Images
        self._recipe: Recipe
        self._grid: Grid
        self._scan, self._range = "", 0.0
        self._new: list[int] = []
        self._all: list[int] = []
        self._fresh, self._due = False, 0.0

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """As `mosaicity`; raises ConfigError also for a range of omega that leaves a cone unseen, unless forced."""
        config = self.config
        products = self._mosaicity.start(scan, work)
        placed = self._mosaicity.layout
        positions = placed.positions
        self._scan, self._new, self._all, self._fresh, self._due = scan.uid, [], [], False, 0.0
        self._check(positions, placed.motors)
        self._grid = grid = config.volume.made()
        needed = Images.nbytes(len(placed.motors), positions.omegas, placed.shape)
        needed += 4 * 4 * (2 + len(placed.motors)) * int(np.prod(grid.steps))
        if needed > config.memory_gb * 1e9:
            text = f"projections and volume need {needed / 1e9:.3g} GB: set memory_gb higher, or a smaller roi"
            raise ConfigError([(f"{config.name}.memory_gb", text)])
        if config.cleaning.border * 2 >= min(placed.shape):
            text = f"{config.cleaning.border} rows at each edge are all of a frame of {placed.shape}: give fewer"
            raise ConfigError([(f"{config.name}.cleaning.border", text)])
        compile_kernels()
        self._images = Images.empty(placed.motors, positions, placed.shape)
        plan = self._plan(positions, placed.shape, placed.corner)
        cells = int(np.prod(positions.shape))
        self._recipe = Recipe(config, plan, cells, **({} if config.threads is None else {"threads": config.threads}))
        motors = dict(zip(placed.motors, positions.motors, strict=True))
        made = layout.volume(config, grid, motors, positions.omegas, products[0].parameters)
        return (*products, made, *layout.slices(config, grid, motors))

    def take(self, work: Work) -> Iterable[Update]:
        """As `mosaicity`."""
        return self._follow(list(self._mosaicity.take(work)))

    def tick(self) -> Iterable[Update]:
        """Images that have waited long enough, and the live view."""
        return self._follow(list(self._mosaicity.tick()))

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """The rest of the images; then the volume, and what there is to tell."""
        updates = list(self._mosaicity.finish(end))
        self._note(updates)
        yield from updates
        if not self._all:
            return
        used = self._recipe.used(self._images, complete=False)
        came = used.copy()
        self._range, seen = self._covered(used)
        if not seen and not self.config.force:
            used[:] = False
        found = self._recipe.final(self._images, used)
        yield Update(self._scan, self.config.gives()[0], self._pieces(found, used), covers=tuple(self._all))
        yield from self._slices(found)
        self._tell(came)
        if not seen and not self.config.force:
            text = f"the projections that came cover {self._range:.6g} degrees only: no volume is made of them, "
            self._context.trouble(f"{self.config.name}: {text}unless you say `force: true`")

    def _check(self, positions: Positions, names: Sequence[str]) -> None:
        config = self.config
        for name in names:
            if name in layout.RESERVED:
                text = f"{name!r} is the name of something else in the volume: rename the motor"
                raise ConfigError([(f"{config.name}.motors", text)])
        omega = positions.omega
        assert omega is not None
        if omega.direction.unit not in DEGREES:
            text = f"is in {omega.direction.unit!r}: it must be an angle in degrees"
            raise ConfigError([(f"{config.name}.omega", text)])
        covered = abs(omega.direction.step) * omega.points
        if not is_seen(covered, omega.direction.step, whole=True) and not config.force:
            text = f"covers {covered:.6g} degrees: with less than 180 a cone is not seen, and tilts there are wrong"
            raise ConfigError([(f"{config.name}.omega", f"{text}. Set `force: true` to reconstruct all the same")])

    def _covered(self, used: Array) -> tuple[float, bool]:
        """Degrees of these projections, and True if they leave no cone unseen."""
        omega = self._images.positions.omega
        assert omega is not None
        found = covered_deg(omega.direction.positions(omega.points)[used], omega.direction.step)
        return found, is_seen(found, omega.direction.step, whole=bool(used.all()))

    def _plan(self, positions: Positions, shape: tuple[int, int], corner: tuple[int, int]) -> Plan:
        config, omega = self.config, positions.omega
        assert omega is not None
        centre = (shape[0] / 2, shape[1] / 2)
        if config.geometry.center is not None:
            column, row = config.geometry.center
            centre = (row - corner[0], column - corner[1])
        geometry = config.geometry.made(theta_deg=config.theta_deg())
        angles = omega.direction.positions(omega.points)
        if not config.bug_compat:
            return Plan.of(geometry, self._grid, angles, shape, centre)
        ends = [motor.direction.positions(motor.points)[[0, -1]] for motor in positions.motors]
        return original.plan_of(geometry, self._grid, angles, shape, centre, np.array(ends))

    def _follow(self, updates: list[Update]) -> Iterable[Update]:
        self._note(updates)
        yield from updates
        now = time.monotonic()
        if not self._fresh or now < self._due:
            return
        self._fresh = False
        used = self._recipe.used(self._images, complete=True)
        if not used.any():
            return
        found = self._recipe.live(self._images, used)
        done = time.monotonic()
        self._due = done + max(self.config.picture_s, BUSY * (done - now))
        yield from self._slices(found)

    def _note(self, updates: Sequence[Update]) -> None:
        for update in updates:
            if update.product != self.config.name:
                continue
            self._new += update.covers
            self._all += update.covers
            if update.pieces:
                omega = update.pieces["sum"].start[0]
                self._images.take(omega, {name: piece.values[0] for name, piece in update.pieces.items()})
                self._fresh = True

    def _pieces(self, found: Mapping[str, Array], used: Array) -> Mapping[str, Piece]:
        summary = self._summary(used).encode()[: layout.WORDS_BYTES]
        said: dict[str, Any] = {
            "used": used.astype(np.uint8),
            "theta": np.float64(self.config.theta_deg()),
            "omega_range": np.float64(self._range),
            "summary": np.array(summary, f"S{layout.WORDS_BYTES}"),
        }
        arrays = {**found, **said}
        return {name: Piece((0,) * np.ndim(values), np.asarray(values)) for name, values in arrays.items()}

    def _slices(self, found: Mapping[str, Array]) -> Iterable[Update]:
        covers, self._new = tuple(self._new), []
        for axis, name in enumerate(self.config.gives()[1:]):
            middle = self._grid.steps[axis] // 2
            pieces = {
                field: Piece((0, 0), np.ascontiguousarray(values.take(middle, axis))) for field, values in found.items()
            }
            yield Update(self._scan, name, pieces, covers=covers)

    def _summary(self, used: Array) -> str:
        config = self.config
        how = (
            f"sirt, {config.iterations} iterations of {config.subsets} subsets"
            if config.method == "sirt"
            else config.method
        )
        told = [f"{how}{' with the bugs of the original' if config.bug_compat else ''}"]
        told.append(f"{int(used.sum())} of {len(used)} projections over {self._range:.6g} degrees")
        if not self._covered(used)[1]:
            told.append("less than 180 degrees: a cone of directions is not seen, tilts and densities are uncertain")
        return "; ".join(told)

    def _tell(self, used: Array) -> None:
        left = np.flatnonzero(~used)
        if not len(left):
            return
        positions = self._images.positions
        assert positions.omega is not None
        where = positions.omega.direction.positions(positions.omegas)[left[:MOST_TOLD]]
        first = ", ".join(f"{each:.6g}" for each in where) + (" ..." if len(left) > MOST_TOLD else "")
        self._context.trouble(
            f"{self.config.name}: {len(left)} of {len(used)} projections have too few tilts and are not in the volume: "
            f"omega = {first}"
        )
