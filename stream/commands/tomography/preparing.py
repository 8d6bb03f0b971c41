"""All projections of a scan, made ready: line integrals, in a file beside the result while they are needed."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from processors.projections.normalise import OpenBeam, Which
from processors.projections.options import Steps
from processors.projections.references import References
from processors.projections.stage import Counted, Stage
from stream.commands.tomography.engine import engine_for
from stream.commands.tomography.inputs import Radiographs
from stream.commands.tomography.options import option_of
from stream.errors import ConfigError
from stream.events import Array
from stream.room import take_room
from stream.turning import Key


@dataclass(frozen=True, slots=True)
class Flats:
    """How projections are normalised. exclude: frame numbers that are of no use.

    raw: without flats, each projection by its own brightest pixel: a preview. monitor: by its readings, too.
    """

    which: Which = "mean"
    exclude: frozenset[int] = frozenset()
    raw: bool = False
    monitor: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """lines: float32 (projections, rows, columns), on disk. counted: pixels that were set right, in all of them.
    device: where they were made ready."""

    lines: Array
    stage: Stage
    counted: Counted
    unusable: int
    flats: int
    darks: int
    raw: bool
    device: str


@contextmanager
def prepared(
    scan: Radiographs,
    numbers: Array,
    steps: Steps,
    flats: Flats,
    folder: Path,
    threads: int,
    progress: Callable[[int, int], None],
    device: str = "cpu",
) -> Iterator[Prepared]:
    """numbers: of the frames that are projections. device: as the option of `projection`.

    Raises ConfigError where there is no flat and nothing to take its place, and for what cannot be normalised."""
    if not len(numbers):
        raise ConfigError([("--input-path", f"{scan.source} has no projection that is of use")])
    try:
        stage = Stage(steps, scan.shape, "")
    except ConfigError as error:
        problems = [(option_of(step.strip(".").partition(".")[0]), text) for step, text in error.problems]
        raise ConfigError(problems) from error
    references, monitor = _references(scan, flats), scan.monitor if flats.monitor else None
    raw = False
    if not references.flats and steps.air is None:
        if not flats.raw:
            text = (
                f"{scan.source} has no flat field: name its folder or file, or an --air-region, or --raw for a preview"
            )
            raise ConfigError([("--input-path-flat", text)])
        raw = True
    if flats.raw and not raw:
        text = f"{scan.source} has a flat field, or an air region is given, and is no raw preview: leave it out"
        raise ConfigError([("--raw", text)])
    if flats.which != "mean" and not references.flats:
        raise ConfigError([("--which-flats", f"{scan.source} has no flat field to choose from: leave it out")])
    if flats.monitor and scan.monitor is None:
        raise ConfigError([("--monitor", f"{scan.source} has no reading of the beam for every frame: leave it out")])
    beams = [_beam(references, int(number), flats.which) for number in numbers]  # before the threads
    dtype = np.dtype("f4") if raw else scan.read(int(numbers[0])).dtype.newbyteorder("=")
    ready, where = engine_for(device, stage, dtype, any(beam is not None for beam in beams))
    path, lines = _on_disk(folder, (len(numbers), *stage.shape))

    def one(place: int) -> Counted:
        number = int(numbers[place])
        image = _read(scan, number)
        if raw:
            image = np.asarray(image, np.float32) / max(float(np.max(image)), 1e-30)
        try:
            reading = None if monitor is None else float(monitor[number])
            lines[place], counted = ready(image, beams[place], reading)
        except ValueError as error:
            raise ConfigError([("", f"frame {number} of {scan.source}: {error}")]) from error
        return counted

    total = Counted()
    try:
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for place, counted in enumerate(pool.map(one, range(len(numbers)))):
                progress(place + 1, len(numbers))
                total = replace(
                    total,
                    mended=total.mended + counted.mended,
                    outliers=total.outliers + counted.outliers,
                    low=total.low + counted.low,
                )
        known = [beam.unusable for beam in beams if beam is not None]
        yield Prepared(lines, stage, total, max(known, default=0), references.flats, references.darks, raw, where)
    finally:
        path.unlink(missing_ok=True)


def _on_disk(folder: Path, shape: tuple[int, int, int]) -> tuple[Path, Array]:
    """All of its room is taken at once: a full disk would end the process when it is written to."""
    number, name = tempfile.mkstemp(prefix=".projections_", dir=folder)
    path, size = Path(name), 4 * int(np.prod(shape, dtype=np.int64))
    try:
        take_room(number, size)
    except OSError as error:
        path.unlink()
        text = f"{folder} has no room for the projections ({size / 1e9:.2f} GB): {error}"
        raise ConfigError([("--output-path", text)]) from error
    finally:
        os.close(number)
    return path, np.memmap(path, np.float32, "r+", shape=shape)


def _read(scan: Radiographs, number: int) -> Array:
    try:
        return scan.read(number)
    except ConfigError as error:
        advice = f"mend it, or leave it out: --exclude {number}"
        raise ConfigError([(option, f"{text}: {advice}") for option, text in error.problems]) from error


def _references(scan: Radiographs, flats: Flats) -> References:
    found = References()
    for key, kind in ((Key.FLAT, "flat"), (Key.DARK, "dark")):
        for number in scan.numbers(key).tolist():
            if number not in flats.exclude:
                reading = float("nan") if scan.monitor is None else float(scan.monitor[number])
                found.add(kind, number, _read(scan, number), reading)
    return found


def _beam(references: References, number: int, which: Which) -> OpenBeam | None:
    try:
        return references.beam(number, which)
    except ValueError as error:
        raise ConfigError([("--input-path-flat", str(error))]) from error
