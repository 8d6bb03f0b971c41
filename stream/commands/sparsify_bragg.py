"""`inbeam sparsify-bragg`: the command line of pyFAI's sparsify-Bragg, option for option, over the same pipeline.

Each input file becomes one output file. What pyFAI's needs OpenCL for is done on the CPU unless a device is asked for.
"""

import argparse
import glob
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py

from sinks.file.places import same
from stream.commands.given import has_no_effect
from stream.commands.maps.pipeline import as_typed
from stream.commands.progress import show_progress
from stream.commands.replacing import replacing
from stream.config import Config, validate
from stream.errors import BadMessage, ConfigError
from stream.events import EndStatus
from stream.formats.hdf5.opening import is_hdf5, split
from stream.formats.hdf5.scans import scans as hdf5_scans
from stream.pipeline.runner import Run, stop_on_signals

log = logging.getLogger("inbeam")

EXIT_SUCCESS, EXIT_FAILURE, EXIT_ARGUMENT_FAILURE = 0, 1, 2
INBOX_MB = 32.0
"""Enough to keep the workers busy with any detector; more would only be finished first when the user stops."""
FRAMES, COUNTS = "/entry/sparse_frames", "/entry/counts"


SAME = (
    "poni", "mask", "dark", "flat", "dummy", "delta_dummy", "flags", "radial_range", "polarization", "solidangle",
    "bins", "unit", "cycle", "cutoff_clip", "cutoff_pick", "error_model", "noise", "peak_patch_size",
    "peak_connected", "workgroup",
)  # fmt: skip
"""Options that `sparsify` has too."""
NAMES = {
    **{key: f"--{key.replace('_', '-')}" for key in (*SAME, "device", "cutoff_peak", "beamline", "save_source")},
    "workers": "--workers",
    "path": "--output",
    "files": "IMAGE",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of sparsify-Bragg, under their own names, and a few of ours."""
    parser.add_argument("IMAGE", nargs="*", help="files with input images; each gives its own output file")
    parser.add_argument("-V", "--version", action="version", version=f"inbeam {version('inbeam')}")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each frame")
    parser.add_argument("--debug", action="store_true", help="show debug information")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    group = parser.add_argument_group("main arguments")
    group.add_argument(
        "-o",
        "--output",
        default="{basename}_sparse.h5",
        help="output file, in which {basename} is replaced; what begins with _ is appended to the input's name without "
        "extension (default: %(default)s)",
    )
    group.add_argument("--save-source", action="store_true", help="link to the datasets of the source files")
    group = parser.add_argument_group("experimental setup")
    group.add_argument("-b", "--beamline", default="beamline", help="name of the instrument (NXinstrument)")
    group.add_argument("-p", "--poni", help="geometry description file (mandatory)")
    group.add_argument("-m", "--mask", help="mask of invalid pixels, nonzero = invalid; default: the detector's own")
    group.add_argument("--dark", nargs="+", help="raw counts to subtract; several files are averaged (new)")
    group.add_argument("--flat", nargs="+", help="pixel response to divide by; several are averaged (new)")
    group.add_argument("--dummy", type=float, help="value of dynamically masked pixels")
    group.add_argument("--delta-dummy", type=float, help="precision of the dummy value")
    group.add_argument("--flags", action="store_true", help="mask the largest value and negative counts (new)")
    group.add_argument("--radial-range", nargs=2, type=float, metavar=("MIN", "MAX"), help="radii considered, in UNIT")
    group.add_argument("-P", "--polarization", type=float, help="polarization factor of the beam [-1:1]")
    group.add_argument("-A", "--solidangle", action="store_true", help="correct for the solid angle of the pixels")
    group = parser.add_argument_group("sigma clipping")
    group.add_argument("--bins", type=int, default=800, help="number of radial bins (%(default)s)")
    group.add_argument("--unit", default="r_m", help="radial unit (%(default)s)")
    group.add_argument("--cycle", type=int, default=5, help="most cycles of clipping (%(default)s)")
    group.add_argument(
        "--cutoff-clip", type=float, default=0.0, help="threshold of clipping; at least Chauvenet's (%(default)s)"
    )
    group.add_argument("--cutoff-pick", type=float, default=3.0, help="threshold of picking pixels (%(default)s)")
    group.add_argument(
        "--error-model",
        default="poisson",
        help="poisson, azimuthal, hybrid or the variance as a formula such as 5*I+8 (%(default)s)",
    )
    group.add_argument("--noise", type=float, default=1.0, help="added quadratically to the deviation (%(default)s)")
    group = parser.add_argument_group("peak picking")
    group.add_argument("--cutoff-peak", type=float, help="find peaks above this threshold, 3 to 5; default: none")
    group.add_argument("--peak-patch-size", type=int, help="side of the patch, 3 or 5 (3)")
    group.add_argument("--peak-connected", type=int, help="intense pixels needed in the patch (2)")
    group = parser.add_argument_group("OpenCL")
    group.add_argument("--workgroup", type=int, help="workgroup size: affects the speed, not the result")
    group.add_argument("--device", nargs=2, type=int, metavar=("PLATFORM", "DEVICE"), help="two numbers as in clinfo")
    group.add_argument("--device-type", default="all", choices=("all", "cpu", "gpu", "acc"), help="kind of device")
    group.add_argument(
        "--engine",
        choices=("auto", "cpu", "opencl"),
        default="auto",
        help="auto: OpenCL if a device, its type or a workgroup is given, else the CPU kernels (new)",
    )
    group.add_argument("--workers", type=int, help="worker threads; default: one per core (new)")


def run(options: argparse.Namespace) -> int:
    """0: all is well; 1: frames or files were lost, or could not be written; 2: wrong arguments, or interrupted."""
    if options.debug:
        logging.getLogger("inbeam").setLevel(logging.DEBUG)
    if options.engine == "cpu":
        said = {"--workgroup": options.workgroup, "--device": options.device}
        said["--device-type"] = options.device_type != "all"
        has_no_effect(said, "is of OpenCL: leave it out, or leave out --engine cpu")
    if not options.cutoff_peak:
        said = {"--peak-patch-size": options.peak_patch_size, "--peak-connected": options.peak_connected}
        has_no_effect(said, "belongs to finding peaks: give --cutoff-peak too, or leave it out")
    images = sorted(_expanded(options.IMAGE))
    problems = [("IMAGE", "no input file specified")] if not images else []
    problems += [("IMAGE", f"no such file: {name}") for name in images if not os.path.exists(name.partition("::")[0])]
    if not options.poni:
        problems.append(("--poni", "the geometry is mandatory: give a PONI file made by pyFAI-calib2"))
    if problems:
        raise ConfigError(problems)
    work = [(name, output_name(name, options.output)) for name in images]
    twice = [str(path) for path in {path for _, path in work} if [path for _, path in work].count(path) > 1]
    if twice:
        raise ConfigError([("--output", f"{twice[0]} would be written twice: use {{basename}} in the name")])
    read = [file for name in images for file in [name.partition("::")[0], *_linked(name)]]
    read += [file for option in ("poni", "mask", "dark", "flat") for file in _several(getattr(options, option))]
    for _, path in work:
        if same(path, read):
            raise ConfigError([("--output", f"{path} is what is to be read: choose another name")])
    configs = [(name, path, configure(options, name, path)) for name, path in work]
    code = EXIT_SUCCESS
    for name, path, config in configs:
        done = _one(config, name, path, options)
        code = code or done
        if done == EXIT_ARGUMENT_FAILURE:
            break
    return code


def output_name(name: str, pattern: str) -> Path:
    """Where the result of this input goes: {basename} is replaced (pyFAI's pattern); what begins with _, - or . is
    appended to the input's name without extension (pyFAI's code); any other is the file itself (pyFAI's manual)."""
    name = name.partition("::")[0]
    stem = os.path.splitext(name)[0]
    if os.path.splitext(pattern)[1].lower() not in (".h5", ".nxs"):
        pattern += ".h5"
    if "{basename}" in pattern:
        return Path(pattern.replace("{basename}", os.path.basename(stem)))
    if pattern.startswith(("_", "-", ".")) and os.sep not in pattern:
        return Path(stem + pattern)
    return Path(pattern)


def _linked(name: str) -> list[str]:
    """The other files that the frames of an HDF5 file lie in."""
    try:
        return [file for scan in hdf5_scans(name) for file in scan.located.files] if is_hdf5(split(name)[0]) else []
    except BadMessage:
        return []


def _several(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _expanded(names: list[str]) -> list[str]:
    """Patterns that the shell has left are filled in."""
    found: list[str] = []
    for name in names:
        found += glob.glob(name) if glob.has_magic(name) and not os.path.exists(name) else [name]
    return found


def configure(options: argparse.Namespace, name: str, path: Path) -> Config:
    """The pipeline for one input file. Raises ConfigError with the names of the options."""
    asked = options.device is not None or options.device_type != "all" or options.workgroup is not None
    engine = ("opencl" if asked else "cpu") if options.engine == "auto" else options.engine
    which = ",".join(map(str, options.device)) if options.device else options.device_type.replace("all", "")
    device = ":".join(part for part in ("opencl", which) if part) if engine == "opencl" else "cpu"
    processor = {key: getattr(options, key) for key in SAME if getattr(options, key) is not None}
    processor |= {"type": "sparsify", "device": device, "cutoff_peak": options.cutoff_peak or None}
    sink = {
        "type": "sparse",
        "path": str(path).replace("{", "{{").replace("}", "}}"),
        "beamline": options.beamline,
        "save_source": options.save_source,
        "if_exists": "overwrite",
    }
    document: dict[str, Any] = {
        "stream": {"type": "files", "files": [glob.escape(name)]},
        "processors": [processor],
        "sinks": [sink],
        "run": {"workers": options.workers or "auto", "inbox_mb": INBOX_MB},
    }
    with as_typed(NAMES):
        return validate(document)


def _one(config: Config, name: str, path: Path, options: argparse.Namespace) -> int:
    began = time.perf_counter()
    made: dict[Path, None] = {}
    with ExitStack() as stack:
        stack.enter_context(replacing(path))
        progress: Any = stack.enter_context(_lines(name) if options.verbose else show_progress())
        running = Run(
            config, reopen=False, ended=lambda scan, done: made.update(dict.fromkeys(filter(None, done.files)))
        )
        stack.enter_context(stop_on_signals(running.stop))
        with as_typed(NAMES):
            report = running.execute(progress)
        took = time.perf_counter() - began
    for file in made:
        _summarise(name, file, took, options)
    # A sink that fails stops the run too: whether the scan had ended by then is chance, the failure is not.
    stopped = any(scan.status is EndStatus.STOPPED for scan in report.scans)
    if stopped and not report.failed:
        return EXIT_ARGUMENT_FAILURE
    if report.exit_code or not path.exists():
        print(f"inbeam sparsify-bragg: {name}: {report.summary() or 'nothing was written'}")
        return EXIT_FAILURE
    return EXIT_SUCCESS


@contextmanager
def _lines(name: str) -> Iterator[Any]:
    """A line ten times a second at most; the frames' own numbers follow from the file (see `_summarise`)."""
    said = 0

    def show(counters: Any) -> None:
        nonlocal said
        if counters.finished != said:
            said = counters.finished
            print(f"{name} {said} of {counters.expected or '?'} frames, {counters.rate:.1f} per second", flush=True)

    yield show


def _summarise(name: str, path: Path, took: float, options: argparse.Namespace) -> None:
    """What came out, read back from the file: a line, and one for each frame if asked for."""
    try:
        with h5py.File(path, "r") as file:
            picked = file[f"{COUNTS}/picked"][:]
            hits = int(file[f"{COUNTS}/hit"][:].sum())
            peaks = file["/entry/peaks/nPeaks"][:] if "/entry/peaks" in file else None
            rows, columns = file[f"{FRAMES}/mask"].shape
            itemsize = file[f"{FRAMES}/intensity"].dtype.itemsize
    except (OSError, KeyError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return
    held = picked != 2**32 - 1
    if options.verbose:
        for number, pixels in enumerate(picked):
            found = f"{pixels:6d} intense pixels" if held[number] else "no data"
            more = f" / {peaks[number]:4d} peaks" if peaks is not None and held[number] else ""
            print(f"{name} frame #{number:04d}, found {found}{more}")
    count = max(1, int(held.sum()))
    raw, size = count * rows * columns * itemsize, path.stat().st_size
    more = f", {int(peaks.sum())} peaks" if peaks is not None else ""
    print(
        f"{name} -> {path}: {int(held.sum())} frames, {int(picked[held].sum())} pixels{more}, {hits} hits, "
        f"{size / 1e6:.2f} MB, {raw / size:.0f} times smaller than raw"
    )
    if options.profile:
        print(f"{took:.3f} s in all, {1e3 * took / count:.2f} ms per frame, set-up and compilation included")
