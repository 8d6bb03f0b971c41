"""`inbeam process CONFIG.yaml FILES...`: the same pipeline over recorded scans, as fast as it goes."""

import argparse
from typing import Any

from stream.commands.given import as_given, has_no_effect
from stream.commands.run import add_config_arguments, execute
from stream.config import load
from stream.document import read
from stream.sources.files import found

READ_AHEAD_MB = 32
"""A disk waits for us, unlike a detector: reading further ahead only fills memory."""


SHARED = ("series", "pattern", "dataset", "monitor", "monitor_per_second", "readings", "max_frame_mb")
"""Options that the sources `watch` and `files` have in common."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam process`."""
    add_config_arguments(parser)
    parser.add_argument(
        "--changes", metavar="FILE", help="repeat the changes of options that this file of a live run recorded"
    )
    parser.add_argument(
        "--force", action="store_true", help="process scans once more that are there already (run.again)"
    )
    parser.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="divide each scan among the workers of tcp://host:port, local://N, slurm://QUEUE?cores=8&memory=16GB"
        "&jobs=4&walltime=01:00:00, or a cluster in inbeam-jobs.yaml (inbeam[dask])",
    )
    parser.add_argument(
        "--parts", type=int, metavar="N", help="of each scan (default: two for each thread of a worker)"
    )
    parser.add_argument("files", nargs="+", help="recorded scans: HDF5, EDF, CBF, TIFF, captures; file.h5::/dataset")


def run(options: argparse.Namespace) -> int:
    """The stream section is replaced by the files; its options are kept where it is of type `files` already, and those
    of a watched folder that say what a scan is."""
    if options.dask is None:
        text = "divides each scan among the workers of Dask: name these with --dask, or leave it out"
        has_no_effect({"--parts": options.parts}, text)
    document = read(options.config)
    section = document.get("stream") if isinstance(document, dict) else None
    kept = section if isinstance(section, dict) and section.get("type") in ("files", "watch") else {}
    if kept.get("type") == "watch":
        kept = {key: kept[key] for key in SHARED if key in kept}
    given = document.get("run") if isinstance(document, dict) else None
    files: dict[str, Any] = {
        "stream": {**kept, "type": "files", "files": options.files},
        "run": {"inbox_mb": READ_AHEAD_MB, **given} if isinstance(given, dict) else {"inbox_mb": READ_AHEAD_MB},
    }
    if options.force:
        files["run"]["again"] = True
    if options.changes is not None:
        files["run"]["changes"] = options.changes
    with as_given({"stream.files": ("FILES", options.files), "run.changes": ("--changes", options.changes)}):
        config = load(options.config, options.overrides, replace=files)
        found(options.files)  # ConfigError before anything is begun
        if options.dask is not None:
            from stream.commands.on_dask import process_on  # an optional extra

            return process_on(options.dask, config, parts=options.parts, quiet=options.quiet)
        return execute(config, reopen=False, quiet=options.quiet)
