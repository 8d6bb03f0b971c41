"""Run a map's pipeline: show what is run, and at the end what came of it."""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from sinks.file.places import same
from stream.commands.maps.pipeline import Wish, as_typed, beside, configured
from stream.commands.maps.statistics import draw
from stream.commands.progress import show_progress
from stream.commands.replacing import replacing
from stream.config import Config
from stream.errors import ConfigError
from stream.formats.hdf5.opening import split
from stream.pipeline.memory import keep_freed_memory
from stream.pipeline.rehearsal import rehearse
from stream.pipeline.runner import Run, stop_on_signals

log = logging.getLogger("inbeam")


@dataclass(frozen=True)
class Shown:
    """What the user wants to see. stats: a picture of the times; configuration: print the YAML and run nothing."""

    command: str
    verbose: bool = False
    stats: bool = False
    configuration: bool = False


def carry_out(wish: Wish, shown: Shown) -> int:
    """0: all is well; 1: something was lost, failed, or is not in the map. Raises ConfigError before anything runs."""
    config = configured(wish)
    text = f"# made by inbeam {shown.command}\n{yaml.safe_dump(dict(config.document), sort_keys=False)}"
    if shown.configuration:
        print(text, end="")
        return 0
    path = Path(wish.output)
    if same(path, [split(file)[0] for file in wish.files]):
        raise ConfigError([(wish.names["output"], f"{path} is what is to be read: choose another name")])
    path.parent.mkdir(parents=True, exist_ok=True)
    if wish.geometry is not None and wish.poni is not None:
        _write_poni(wish.poni, wish.geometry)
    if wish.watch is None:
        _try(config, wish)
    if shown.verbose:
        print(text, flush=True)
    saved = beside(wish.output, ".yaml")
    saved.write_text(text)
    keep_freed_memory()
    began = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(replacing(path))
        progress = stack.enter_context(show_progress())
        running = Run(config, reopen=wish.watch is not None)
        stack.enter_context(stop_on_signals(running.stop))
        with as_typed(wish.names):
            report = running.execute(progress)
    took = time.perf_counter() - began
    whole = path.exists() and summarise(path, wish, took)
    print(f"The pipeline is in {saved}: inbeam {'run' if wish.watch is not None else 'process'} takes it.")
    if shown.stats and whole:
        print(f"Statistics: {draw(path, beside(wish.output, '_stats.png'))}")
    if report.exit_code or not whole:
        print(f"inbeam {shown.command}: {report.summary() or 'there is no map'}", file=sys.stderr)
        return 1
    return 0


def _write_poni(path: str, geometry: Mapping[str, Any]) -> None:
    from pyFAI.io.ponifile import PoniFile  # takes a second to import

    with open(path, "w") as made:
        PoniFile(dict(geometry)).write(made)


def _try(config: Config, wish: Wish) -> None:
    """The first frame through all of it: a grid or a geometry that does not fit is told before anything is written."""
    files = config.document["stream"]["files"]
    with as_typed(wish.names):
        rehearse(config, files)


def summarise(path: Path, wish: Wish, took: float) -> bool:
    """Say what came out, read back from the file. False if it has no map."""
    try:
        with h5py.File(path, "r") as file:
            frames = file["/entry/map/frames"][()]
            shape = file["/entry/map/I"].shape
            axes = list(file["/entry/map"].attrs["axes"])
    except (OSError, KeyError) as error:
        log.warning("%s has no map: %s", path, error)
        return False
    mapped, empty = int(frames.sum()), int((frames == 0).sum())
    size = " x ".join(f"{length} {name}" for length, name in zip(shape, axes, strict=True))
    print(f"{path}: {size}; {mapped} frames in {took:.2f} s, {1e3 * took / max(mapped, 1):.2f} ms per frame")
    if empty:
        first = ", ".join(f"({row}, {column})" for row, column in np.argwhere(frames == 0)[:3])
        print(f"{empty} points of the map have no frame and are NaN: {first}{' ...' if empty > 3 else ''}")
    lines = wish.slow.get("points")
    if lines is not None and shape[0] > lines:
        print(f"There were more frames than points: the map has {shape[0]} lines instead of {lines}.")
    return True
