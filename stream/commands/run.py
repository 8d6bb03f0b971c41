"""`inbeam run CONFIG.yaml`: live, until stopped or until N scans."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from stream.commands.given import as_given
from stream.commands.progress import show_progress
from stream.config import Config, load
from stream.errors import ConfigError
from stream.pipeline.memory import keep_freed_memory
from stream.pipeline.runner import Run, stop_on_signals
from stream.roles import Counters

if TYPE_CHECKING:
    from stream.commands.submissions import Submissions


MOST_RECEIVERS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam run`."""
    add_config_arguments(parser)
    parser.add_argument("--scans", type=int, metavar="N", help="stop after N scans (run.scans)")
    parser.add_argument(
        "--receivers",
        type=int,
        metavar="N",
        help="N processes that share the detector, each with files of its own, and one master file of each scan",
    )
    parser.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="receivers on the workers of tcp://host:port, local://N, slurm://QUEUE?cores=8&memory=16GB&jobs=4, or a "
        "cluster in inbeam-jobs.yaml; without --receivers one for each worker (inbeam[dask])",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command with a configuration takes."""
    parser.add_argument("config", type=Path, help="the pipeline, a YAML file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one option, e.g. --set stream.endpoint=tcp://dcu:31001 --set sinks.0.path=out.h5",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress line")


def run(options: argparse.Namespace) -> int:
    """Load the configuration and run it live."""
    overrides = [*options.overrides, *([f"run.scans={options.scans}"] if options.scans is not None else [])]
    with as_given({"run.scans": ("--scans", options.scans)}):
        config = load(options.config, overrides)
    if options.receivers is None and options.dask is None:
        return execute(config, reopen=True, quiet=options.quiet)
    from stream.commands.receivers import Receivers  # h5py and the sinks, which a run imports when it needs them

    if options.receivers is not None and not 1 <= options.receivers <= MOST_RECEIVERS:
        raise ConfigError([("--receivers", f"must be 1 to {MOST_RECEIVERS}, not {options.receivers}")])
    if options.dask is None:
        running = Receivers(config, options.receivers)
    else:
        from stream.commands.dask_receivers import crews

        running = Receivers(config, options.receivers, crews(options.dask, config))
    with stop_on_signals(running.stop):
        return running.execute()


def execute(config: Config, *, reopen: bool, quiet: bool) -> int:
    """Run a configuration with progress and signals; the exit code, and one line if it is not 0."""
    keep_freed_memory()
    submissions = _submissions(config) if reopen else None
    running = Run(config, reopen=reopen, ended=submissions.ended) if submissions else Run(config, reopen=reopen)
    progress: Callable[[Counters], None] = lambda counters: None  # noqa: E731
    with ExitStack() as stack:
        if not quiet:
            progress = stack.enter_context(show_progress())
        stack.enter_context(stop_on_signals(running.stop))
        report = running.execute(progress)
        for text in submissions.close() if submissions else ():
            report.trouble(text)
    if report.exit_code:
        _say(f"inbeam: {report.summary()}")
    return report.exit_code


def _submissions(config: Config) -> "Submissions | None":
    """The jobs of scans that have ended; recorded scans submit none. Raises ConfigError if one cannot be."""
    if not config.run.on_end:
        return None
    from stream.commands.submissions import Submissions

    return Submissions(config)


def _say(text: str) -> None:
    """The last line. If nobody can read it any more, the exit code still is that of the run."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
