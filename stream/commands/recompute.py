"""`inbeam recompute RESULTS`: the whole series once more with the regions as they are now, from the archived frames.

The file of the run is left as it is; a running scan is read as far as its archive is on disk, at the lowest priority.
"""

import argparse
import contextlib
import glob
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import yaml

from sinks.export.results import open_results, parameters_of
from sinks.export.series import values_of
from sinks.file.ledger_layout import GROUP
from sinks.file.naming import UNKNOWN
from sinks.file.places import with_gaps
from stream import registry
from stream.commands.given import must_be_files
from stream.commands.run import execute
from stream.config import validate
from stream.errors import ConfigError, InbeamError
from stream.pipeline.recorded import changes_in

BEFORE = ("correct", "formula", "prepare")
"""Processors that make what the regions are measured on."""
LOWEST_PRIORITY = 19
LOOK_S = 0.5
MOST_TORN = 10
LONGEST_WAIT_S = 20.0
"""For the archive to have what the results have."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam recompute`."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results file with regions of interest")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--revision", type=int, metavar="N", help="the regions as they were after N changes; default: all"
    )
    which.add_argument("--regions", type=Path, metavar="FILE", help="the regions of this JSON file")
    parser.add_argument("--frames", type=Path, metavar="FILE", help="where the frames are; default: as RESULTS says")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: RESULTS with _recomputed, in the same folder"
    )
    parser.add_argument(
        "--follow", action="store_true", help="beside a running scan: again after every change, until the scan is over"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress line")


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be computed. latest: how many changes there were; first: the frame that the last one began with."""

    config: dict[str, Any]
    frames: Path
    latest: int
    first: int
    finished: bool


def run(options: argparse.Namespace) -> int:
    """0: every frame that is there was measured; 1: something failed; 2 (ConfigError): it cannot be."""
    if options.follow and (options.revision is not None or options.regions is not None):
        raise ConfigError([("--follow", "computes with the regions of now: leave --revision and --regions out")])
    must_be_files(options.results)
    os.nice(LOWEST_PRIORITY)
    results = options.results.resolve()
    task = _task(results, options)
    if not options.follow:
        code = execute(validate(task.config), reopen=False, quiet=options.quiet)
        if not task.finished and options.regions is None and options.revision is None:
            _say_where(task, results)
        return code
    done, worst = 0, 0
    while True:
        if task.latest != done:
            _wait_for(task)
            worst = max(worst, execute(validate(task.config), reopen=False, quiet=options.quiet))
            _say_where(task, results)
            done = task.latest
        elif task.finished:
            return worst
        else:
            time.sleep(LOOK_S)
        task = _again(results, options)


def _again(results: Path, options: argparse.Namespace) -> Task:
    """Look once more into a file that is being written: HDF5 may be met in the middle of a write."""
    for _ in range(MOST_TORN):
        with contextlib.suppress(InbeamError, OSError, RuntimeError):
            return _task(results, options)
        time.sleep(LOOK_S)
    return _task(results, options)


def _say_where(task: Task, results: Path) -> None:
    print(f"from frame {task.first} on, {results} has these regions itself", flush=True)


def _wait_for(task: Task) -> None:
    """Until the frames of before the last change are in the archive. Raises InbeamError if they do not come."""
    until = time.monotonic() + LONGEST_WAIT_S
    while True:
        with open_results(task.frames) as file:
            if GROUP not in file or file[f"{GROUP}/finished"][0]:
                return
            there = len(file[f"{GROUP}/status"])
        if there >= task.first:
            return
        if time.monotonic() >= until:
            raise InbeamError(
                f"{task.frames} has {there} of the {task.first} frames of before the last change, the others did not "
                f"come within {LONGEST_WAIT_S:g} s: see whether the run still writes it, then give this command again"
            )
        time.sleep(LOOK_S)  # the run is another process, and HDF5 tells nobody of a write


def _task(results: Path, options: argparse.Namespace) -> Task:
    output = (options.output or results.with_name(f"{results.stem}_recomputed.h5")).resolve()
    chosen = None if options.regions is None else str(options.regions.resolve())
    frames = None if options.frames is None else options.frames.resolve()
    with open_results(results) as file:
        try:
            entry, changes = file["entry"], changes_in(file)
            document = yaml.safe_load(_text(entry["provenance/configuration"]))
            folder = Path(_text(entry["provenance/working_directory"]))
            uid = entry["ledger"].attrs["scan_uid"]
            processors = _processors(entry, document, changes, options.revision, chosen)
            frames = frames or _linked(entry, results) or _archive(document, folder, uid)
            finished = bool(entry["ledger/finished"][0])
        except InbeamError:
            raise
        except Exception as error:  # a file that is damaged, or somebody else's, may raise anything
            raise InbeamError(f"{results} has no regions of interest that could be computed again ({error})") from error
    if frames is None:
        raise InbeamError(f"{results} does not say where its frames are: name the file with --frames")
    stream = document.get("stream") or {}
    ours = _same_scan(frames, uid, results)
    kept = stream if stream.get("type") == "files" and not ours else {}
    config = {
        "stream": {**kept, "type": "files", "files": [str(frames)], "so_far": True},
        "processors": [_located(each, folder) for each in processors],
        "sinks": [{"type": "hdf5", "path": str(output).replace("{", "{{").replace("}", "}}")}],
        "run": {"inbox_mb": 64, "workers": 1},
    }
    latest = max((change.revision for change in changes), default=0)
    return Task(config, frames, latest, max((change.frame for change in changes), default=0), finished)


def _processors(
    entry: Any, document: dict[str, Any], changes: Any, revision: int | None, chosen: str | None
) -> list[dict[str, Any]]:
    """Those of the run that matter, with the regions that are asked for."""
    given = [dict(each) for each in document["processors"]]
    found = [each for each in given if each["type"] == "roi"]
    if not found:
        raise KeyError("no processor roi")
    last = max(place for place, each in enumerate(given) if each["type"] == "roi")
    for each in found:
        name = each.get("name", "roi")
        configured = parameters_of(entry, name)["configuration"]["regions"]
        sets = values_of(configured, changes, f"processors.{name}.regions")
        latest = max((change.revision for change in changes), default=0)
        if revision is not None and not 0 <= revision <= latest:
            raise ConfigError([("--revision", f"{revision}: there were {latest} changes")])
        wanted = [value for number, value in sets if revision is None or number <= revision][-1]
        for key in ("regions", "regions_file", "regions_read"):
            each.pop(key, None)
        each |= {"regions": wanted} if chosen is None else {"regions_file": chosen}
    return [each for each in given[: last + 1] if each["type"] in BEFORE or each["type"] == "roi"]


def _located(processor: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same, its masks and geometries found from the folder that the run was in."""

    def found(name: Any) -> Any:
        return str(folder / os.path.expanduser(name)) if isinstance(name, str) else name

    made = dict(processor)
    for option in registry.marked(registry.model("processors", processor["type"]), "x-reads-file"):
        value = made.get(option)
        if value is not None:
            made[option] = [found(each) for each in value] if isinstance(value, list) else found(value)
    return made


def _linked(entry: Any, results: Path) -> Path | None:
    """The archive that the results link to."""
    if "frames" not in entry:
        return None
    group = entry["frames"]
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            return Path(results.parent, str(link.filename)).resolve()
    return None


def _archive(document: dict[str, Any], folder: Path, uid: Any) -> Path | None:
    """The file of the same scan among those that an archive sink of the run has made."""
    for sink in document.get("sinks") or ():
        if sink["type"] == "archive":
            place = folder / os.path.expanduser(with_gaps(sink["path"]))
            wanted = str(place.with_name(f"{place.stem}{UNKNOWN}{place.suffix}"))
            name = glob.escape(wanted).replace(UNKNOWN, "*")
            for path in sorted(glob.glob(name)):
                with contextlib.suppress(InbeamError):
                    if _uid(Path(path)) == uid:
                        return Path(path).resolve()
    return None


def _uid(path: Path) -> Any:
    """Of the scan in a file of ours; None: it is none."""
    if not h5py.is_hdf5(path):
        return None
    with open_results(path) as file:
        return file[GROUP].attrs.get("scan_uid") if GROUP in file else None


def _same_scan(frames: Path, uid: Any, results: Path) -> bool:
    """True if the frames are in a file of ours. Raises InbeamError if they are of another scan."""
    if not frames.exists():
        raise InbeamError(f"{frames}, the frames of {results}, is not there: name it with --frames")
    told = _uid(frames)
    if told is not None and told != uid:
        raise InbeamError(f"{frames} is of another scan than {results}: name the right one with --frames")
    return told is not None


def _text(dataset: Any) -> str:
    value = dataset[()]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
