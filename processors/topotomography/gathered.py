"""The images of moments that `mosaicity` gives, omega by omega, as projections; and what voxels are made of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from processors.moments.positions import Positions
from processors.topotomography import cleaning, original, reconstructing
from processors.topotomography.options import CleaningOptions, Config
from processors.topotomography.projecting import Plan
from processors.topotomography.reconstructing import Projections, Voxels
from stream.events import Array

DENSE = 99.0
"""Percent of the voxels: the density of the densest is above theirs, and not that of a single one."""


@dataclass(slots=True, eq=False)
class Images:
    """images, lit: as of `Projections`, of every omega; frames: int (omegas,), how many tilts are in each."""

    images: Array
    lit: Array
    frames: Array
    names: tuple[str, ...]
    positions: Positions

    @classmethod
    def empty(cls, names: tuple[str, ...], positions: Positions, shape: tuple[int, int]) -> "Images":
        """Nothing has come."""
        omegas = positions.omegas
        images = np.zeros((omegas, 1 + len(names), *shape), np.float32)
        return cls(images, np.full((omegas, *shape), 2, np.uint8), np.zeros(omegas, int), names, positions)

    @staticmethod
    def nbytes(motors: int, omegas: int, shape: tuple[int, int]) -> int:
        """What they need: as they come, as they are cleaned, and in bins."""
        return (18 + 12 * motors) * omegas * shape[0] * shape[1]

    def take(self, omega: int, given: Mapping[str, Array]) -> None:
        """Those of one omega: field -> (rows, columns), as `processors.moments.results` gives them."""
        total = given["sum"]
        known = np.isfinite(total)
        lit = np.isfinite(given[f"com_{self.names[0]}"])
        self.lit[omega] = np.where(known, lit, 2)
        signal = np.where(lit, total, 0.0)
        self.images[omega, 0] = signal
        for place, (name, motor) in enumerate(zip(self.names, self.positions.motors, strict=True)):
            where = (given[f"com_{name}"] - motor.middle) / motor.direction.step
            self.images[omega, 1 + place] = np.where(lit, signal * where, 0.0)
        self.frames[omega] = int(given["frames"])

    def of(self, used: Array, options: CleaningOptions) -> Projections:
        """Of some omegas, bool (omegas,), cleaned."""
        found = Projections(self.images[used], self.lit[used], self.positions.shape)
        for number, images in enumerate(found.images):
            good = found.lit[number] < 2
            if options.border:
                images[:] = np.where(good, cleaning.without_slope(images, options.border, good), 0.0)
            if options.level is not None:
                sample = cleaning.region(np.where(good, images[0], 0.0), options.level, options.least_area)
                images *= sample
                found.lit[number] = np.where(good, sample, 2)
        if options.equalise:
            found.images[...] *= cleaning.factors(found.images[:, 0].sum((1, 2), np.float64))[:, None, None, None]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How they become voxels. plan: of all omegas."""

    config: Config
    plan: Plan
    cells: int
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def used(self, images: Images, *, complete: bool) -> Array:
        """bool (omegas,): those with all their tilts; or with as many as the user asks for."""
        least = self.cells if complete else max(1, int(np.ceil(self.config.least_tilts * self.cells)))
        found: Array = images.frames >= least
        return found

    def live(self, images: Images, used: Array) -> Mapping[str, Array]:
        """By back-projection: see `final`."""
        return self._said(
            reconstructing.moments(images.of(used, self.config.cleaning), self.plan.only(used), self.threads), images
        )

    def final(self, images: Images, used: Array) -> Mapping[str, Array]:
        """Name of a field -> float32 (x, y, z); all NaN where no projection is used."""
        if not used.any():
            nothing = np.full(self.plan.grid.steps, np.nan, np.float32)
            return dict.fromkeys(("density", "completeness", *images.names), nothing)
        config, plan = self.config, self.plan.only(used)
        found = images.of(used, config.cleaning)
        if config.bug_compat:
            return self._as_original(original.reconstructed(found, plan, self.threads), images)
        if config.method == "moments":
            return self._said(reconstructing.moments(found, plan, self.threads), images)
        if config.method == "recon3d":
            return self._said(reconstructing.nearest(found, plan, self.threads), images)
        subsets = min(config.subsets, max(1, len(found.images)))
        made = reconstructing.sirt(found, plan, self.threads, iterations=config.iterations, subsets=subsets)
        return self._said(made, images)

    def _said(self, voxels: Voxels, images: Images) -> Mapping[str, Array]:
        config, density = self.config, voxels.density
        known = density[np.isfinite(density)]
        dense = float(np.percentile(known, DENSE)) if known.size else 0.0
        there = (voxels.completeness >= config.least_completeness) & (density > 0)
        there &= density >= config.least_density * dense
        found = {"density": density, "completeness": voxels.completeness}
        for place, (name, motor) in enumerate(zip(images.names, images.positions.motors, strict=True)):
            found[name] = np.where(there, motor.middle + motor.direction.step * voxels.where[place], np.nan)
        return {name: values.astype(np.float32) for name, values in found.items()}

    def _as_original(self, voxels: Voxels, images: Images) -> Mapping[str, Array]:
        motors = images.positions.motors
        steps = np.array([motor.direction.step for motor in motors])[:, None, None, None]
        middles = np.array([motor.middle for motor in motors])[:, None, None, None]
        tilts = original.absolute(middles + steps * voxels.where)
        found = {"density": voxels.density, "completeness": voxels.completeness}
        found |= dict(zip(images.names, tilts, strict=True))
        return {name: values.astype(np.float32) for name, values in found.items()}
