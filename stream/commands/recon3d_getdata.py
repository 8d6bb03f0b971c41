"""`inbeam recon3d-getdata`: the five-dimensional array that Recon3D reconstructs from, with its eight arguments."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from processors.correction.images import averaged
from processors.moments.options import GammaOptions
from processors.topotomography import cleaning
from sinks.file.whole import told
from stream.commands.given import has_no_effect
from stream.commands.original3d import frames
from stream.commands.original3d.arrays import Writer
from stream.commands.original3d.frames import Found, Motors
from stream.errors import ConfigError, InbeamError
from stream.events import Array
from stream.numbers import whole

NO_FILES = "-"
SIMULATED = ("phi_upper", "phi_lower", "Omega")
LEAST_AREA_PX = 100
MOST_TOLD = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam recon3d-getdata`: the original's arguments come first, by place."""
    parser.add_argument("datadir", type=Path, help="folder of the frames (EDF, TIFF, HDF5 ...)")
    parser.add_argument("dataname", help="what their names begin with")
    parser.add_argument("bgdir", help="folder of the background's frames, whose mean is subtracted; -: there are none")
    parser.add_argument("bgname", help="what their names begin with; -: there are none")
    parser.add_argument("poi", type=_two, help="x,y: the middle of the region")
    parser.add_argument("imgsize", type=_two, help="nx,ny: its size, pixels")
    parser.add_argument("outputpath", type=Path, help="where the output folder is, or is made")
    parser.add_argument("outputdirname", help="its name")
    parser.add_argument("sim", nargs="?", help=f"anything: simulated frames, whose motors are {', '.join(SIMULATED)}")
    parser.add_argument("--tilt1", metavar="NAME", help="reading of the first tilt (samrz)")
    parser.add_argument("--tilt2", metavar="NAME", help="reading of the second tilt (samry)")
    parser.add_argument("--omega", metavar="NAME", help="reading of the rotation (diffrx)")
    parser.add_argument(
        "--gamma", metavar="PHI,CHI,PHI0,CHI0", help="the second tilt is made of these readings and zeros, degrees"
    )
    for name in ("tilt1", "tilt2", "omega"):
        parser.add_argument(f"--step-{name}", type=float, metavar="STEP", help="default: found by their gaps")
    parser.add_argument("--npy", action="store_true", help="write dataarray.npy instead of dataarray.h5")
    parser.add_argument("--overwrite", action="store_true", help="replace an array that is there")
    clean = parser.add_argument_group("cleaning, in this order, at each omega")
    clean.add_argument(
        "--lowest", type=whole(0), default=0, metavar="N", help="subtract the mean of the N weakest frames"
    )
    clean.add_argument("--highest", type=float, metavar="COUNTS", help="larger signals become 0, as negative ones do")
    clean.add_argument(
        "--border", type=whole(0), default=0, metavar="PX", help="subtract the plane through the borders"
    )
    clean.add_argument("--level", type=float, metavar="COUNTS", help="0 where the sum over the tilts is not above this")
    clean.add_argument("--least-area", type=whole(0), metavar="PX", help="smaller regions above --level become 0 (100)")
    clean.add_argument("--equalise", action="store_true", help="all omegas get the same total")


def run(options: argparse.Namespace) -> int:
    """0: done; 1: done, but cells without a frame are NaN, or some had several; ConfigError: wrong arguments."""
    began = time.perf_counter()
    if options.level is None:
        has_no_effect({"--least-area": options.least_area}, "is of the regions above --level: give that too")
    if options.gamma is not None:
        has_no_effect({"--tilt2": options.tilt2}, "--gamma makes the second tilt of other readings: leave one out")
    folder = options.outputpath / options.outputdirname
    target = folder / ("dataarray.npy" if options.npy else "dataarray.h5")
    if target.exists() and not options.overwrite:
        raise ConfigError([("outputdirname", f"{target} is there already: choose another name, or --overwrite")])
    motors = motors_of(options)
    paths = frames.matching(options.datadir, options.dataname)
    found = frames.look(paths, motors, (options.step_tilt1, options.step_tilt2, options.step_omega))
    cut = region_of(options, found.shape)
    background = background_of(options, found.shape)
    names = ("mu", "gamma", "omega") if motors.gamma is not None else ("alpha", "beta", "omega")
    axes = {name: each.centres for name, each in zip(names, found.axes, strict=True)}
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = cut
    writer = Writer(folder, axes, (rows.stop - rows.start, columns.stop - columns.start), npy=options.npy)
    try:
        with told(target):
            taken = fill(writer, paths, found, cut, background)
            clean(writer, options)
        path = writer.path
        writer.finish({"source": f"{options.datadir}/{options.dataname}*", "arguments": " ".join(sys.argv[1:])})
    finally:
        writer.give_up()
    shape = " x ".join(str(len(values)) for values in axes.values())
    print(f"{path}: {found.frames} frames, {shape} positions in {time.perf_counter() - began:.1f} s")
    return _told(taken, axes)


def motors_of(options: argparse.Namespace) -> Motors:
    """Raises ConfigError."""
    usual = SIMULATED if options.sim else ("samrz", "samry", "diffrx")
    first, second, omega = (
        given or name for given, name in zip((options.tilt1, options.tilt2, options.omega), usual, strict=True)
    )
    if options.gamma is None:
        return Motors(first, second, omega)
    try:
        phi, chi, phi0, chi0 = options.gamma.split(",")
        return Motors(
            first, second, omega, GammaOptions(phi=phi, chi=chi, omega=omega, phi0=float(phi0), chi0=float(chi0))
        )
    except ValueError as error:
        text = f"{options.gamma!r} is not PHI,CHI,PHI0,CHI0: two readings and two numbers"
        raise ConfigError([("--gamma", text)]) from error


def region_of(options: argparse.Namespace, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows y - ny/2 to y + ny/2 - 1, columns in the same way. Raises ConfigError where they leave the frame."""
    (x, y), (width, height) = options.poi, options.imgsize
    left, top = x - width // 2, y - height // 2
    if min(width, height) < 1 or left < 0 or top < 0 or left + width > shape[1] or top + height > shape[0]:
        text = f"columns {left} to {left + width - 1}, rows {top} to {top + height - 1} are not all on the frames"
        raise ConfigError([("poi, imgsize", f"{text} of {shape} (rows, columns)")])
    return slice(top, top + height), slice(left, left + width)


def background_of(options: argparse.Namespace, shape: tuple[int, int]) -> Array | None:
    """float64 (rows, columns), the mean of all. Raises ConfigError."""
    if options.bgdir == NO_FILES and options.bgname == NO_FILES:
        return None
    total = np.zeros(shape)
    paths = frames.matching(Path(options.bgdir), options.bgname)
    for path in paths:
        image = averaged("bgdir", path).pixels
        if image.shape != shape:
            raise ConfigError([("bgdir", f"{path} is {image.shape}, the frames are {shape}")])
        total += image
    return total / len(paths)


def fill(
    writer: Writer, paths: tuple[str, ...], found: Found, cut: tuple[slice, slice], background: Array | None
) -> Array:
    """Put every frame into its cell; of several the last one stays. Returns int (tilt1, tilt2, omega): how many each
    cell had."""
    taken = np.zeros(tuple(len(axis.centres) for axis in found.axes), int)
    for number, (name, frame) in enumerate(frames.read(paths)):
        if number >= found.frames:
            raise InbeamError(f"{name}: more frames than a moment ago: wait until they are all written")
        signal = frames.pixels(name, frame)[cut].astype(np.float64)
        if background is not None:
            signal = np.maximum(signal - background[cut], 0.0)
        first, second, omega = (int(axis.number[number]) for axis in found.axes)
        writer.data[first, second, omega] = signal
        taken[first, second, omega] += 1
    return taken


def clean(writer: Writer, options: argparse.Namespace) -> None:
    """What the user asks for, omega by omega. Raises ConfigError."""
    totals = []
    wanted = options.lowest or options.highest is not None or options.border or options.level is not None
    if not wanted and not options.equalise:
        return
    for omega in range(writer.data.shape[2]):
        stack = np.asarray(writer.data[:, :, omega], np.float64)
        cells = stack.reshape(-1, *stack.shape[2:])
        there = np.isfinite(cells).all(axis=(1, 2))
        images = cells[there]
        cells[there] = cleaned(images, options)
        totals.append(cells[there].sum())
        writer.data[:, :, omega] = cells.reshape(stack.shape)
    if options.equalise:
        for omega, factor in enumerate(cleaning.factors(np.array(totals))):
            writer.data[:, :, omega] = writer.data[:, :, omega] * factor


def cleaned(images: Array, options: argparse.Namespace) -> Array:
    """images: float64 (n, rows, columns) of one omega."""
    if options.lowest:
        total = images.sum(axis=(1, 2))
        weakest = [number for number in np.argsort(total, kind="stable") if total[number] > 0][: options.lowest]
        if weakest:
            images = np.maximum(images - images[weakest].mean(axis=0), 0.0)
    if options.highest is not None:
        images = np.where((images > options.highest) | (images < 0), 0.0, images)
    if options.border:
        images = np.maximum(cleaning.without_slope(images, options.border, np.ones(images.shape[1:], bool)), 0.0)
    if options.level is not None:
        least = LEAST_AREA_PX if options.least_area is None else options.least_area
        images = images * cleaning.region(images.sum(axis=0), options.level, least)
    return images


def _told(taken: Array, axes: dict[str, Array]) -> int:
    """Cells without a frame, and with several."""
    for cells, text in (
        (taken == 0, "have no frame and are NaN"),
        (taken > 1, "had several frames: the last one stays"),
    ):
        if cells.any():
            first = [
                ", ".join(
                    f"{name} = {values[step]:.6g}" for (name, values), step in zip(axes.items(), cell, strict=True)
                )
                for cell in np.argwhere(cells)[:MOST_TOLD]
            ]
            more = " ..." if cells.sum() > MOST_TOLD else ""
            where = "; ".join(first) + more
            print(f"inbeam recon3d-getdata: {cells.sum()} of {cells.size} positions {text}: {where}", file=sys.stderr)
    return int((taken != 1).any())


def _two(text: str) -> tuple[int, int]:
    try:
        first, second = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give two whole numbers, such as 512,512") from None
    return first, second
