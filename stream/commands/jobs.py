"""`inbeam jobs submit|list|cancel|log|rerun`: commands that run on, here or on a cluster, when you log out."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from stream.document import read
from stream.errors import ConfigError
from stream.jobs import folders, resources
from stream.jobs.records import Job, Name
from stream.jobs.resources import Batch, Local
from stream.jobs.table import HEAD, row

COLOURS = {"failed": 31, "lost": 31, "unknown": 33, "pending": 90, "running": 34, "done": 32}
WITH_CONFIGURATION = ("process", "run")
TAIL_BYTES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam jobs`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--resources", type=Path, metavar="FILE", help="YAML (default: inbeam-jobs.yaml, if here)")
    common.add_argument("--folder", type=Path, help="where the jobs lie (default: the YAML's folder, else jobs)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    submit = actions.add_parser("submit", parents=[common], help="hand a command over: inbeam process ...")
    submit.add_argument("--resource", default="local", metavar="NAME", help="where it runs (default: local)")
    submit.add_argument("--name", help="its name in the table (default: that of the command)")
    submit.add_argument("line", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command, as you would type it")
    actions.add_parser("list", parents=[common], help="what became of all jobs")
    for action, text in (
        ("cancel", "end jobs, with all of their processes"),
        ("log", "what a job has said"),
        ("rerun", "submit jobs once more, as new ones"),
    ):
        made = actions.add_parser(action, parents=[common], help=text)
        made.add_argument("ids", nargs=1 if action == "log" else "+", type=int, metavar="ID", help="from the table")


def run(options: argparse.Namespace) -> int:
    """0: done as asked, whatever becomes of the jobs; 1: refused by a queue, or not writable; 2: wrong arguments."""
    found = resources.load(options.resources, options.folder)
    root = found.folder
    if options.action == "submit":
        _submit(root, found.find(options.resource), options)
    elif options.action == "list":
        _list(root)
    elif options.action == "cancel":
        for number in options.ids:
            print(folders.cancel(root, number))
    elif options.action == "log":
        _log(root, options.ids[0])
    else:
        for number in options.ids:
            _rerun(root, number)
    sys.stdout.flush()
    return 0


def _submit(root: Path, where: Local | Batch, options: argparse.Namespace) -> None:
    line = options.line[1:] if options.line[:1] == ["--"] else options.line
    if not line:
        raise ConfigError([("COMMAND", "is missing: inbeam jobs submit inbeam process CONFIG.yaml FILE ...")])
    _told(submit_line(root, line, where, options.resource, options.name), root)


def submit_line(root: Path, line: Sequence[str], where: Local | Batch, resource: str, name: str | None) -> Job:
    """A command as it was typed becomes a job. Raises ConfigError, InbeamError."""
    arguments, configuration = understood(line, where)
    made, _ = folders.submit(
        root,
        job_name(line, name),
        resource,
        where,
        line,
        arguments,
        directory=Path.cwd(),
        configuration=configuration,
    )
    return made


def job_name(line: Sequence[str], name: str | None) -> str:
    """The name of a job, by default that of its command. Raises ConfigError."""
    name = name or "-".join(Path(word).name for word in line[: 2 if line[0] == "inbeam" else 1])
    _check_name(name)
    return name


def understood(line: Sequence[str], where: Local | Batch) -> tuple[list[str], tuple[int, Path] | None]:
    """What is to be started, and the configuration it reads. A wrong line of inbeam ends here, not in the queue."""
    if line[0] != "inbeam":
        return list(line), None
    from stream.commands.main import COMMANDS, parser

    words = list(line[1:])
    if not words or words[0] not in COMMANDS or words[0] == "jobs":
        raise ConfigError([("COMMAND", f"inbeam {' '.join(words[:1])}: use one of {', '.join(COMMANDS)}")])
    parsed = parser((words[0],)).parse_args(words)
    arguments = [str(where.python or sys.executable), "-P", "-m", "stream.commands.main", *words]
    if words[0] not in WITH_CONFIGURATION:
        return arguments, None
    configuration = Path(parsed.config)
    read(configuration)
    place = max(number for number, word in enumerate(arguments) if Path(word) == configuration)
    return arguments, (place, configuration)


def _check_name(name: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        text = f"{name!r}: at most 64 letters, digits and any of . _ + -, without blanks"
        raise ConfigError([("--name", text)]) from error


def _rerun(root: Path, number: int) -> None:
    folder, job = folders.find(root, number)
    configuration = None if job.configuration is None else (job.configuration, folder / folders.CONFIGURATION)
    made, _ = folders.submit(
        root,
        job.name,
        job.resource,
        job.options,
        job.command,
        job.arguments,
        directory=job.directory,
        configuration=configuration,
        rerun_of=number,
    )
    _told(made, root)


def _told(job: Job, root: Path) -> None:
    print(f"job {job.id} ({job.name}) on {job.resource}: {root.absolute() / f'{job.id:04d}'}")


def _list(root: Path) -> None:
    rows: list[tuple[str, ...]] = []
    notes = []
    for number, job, status in folders.all_of(root):
        rows.append(row(number, job, status))
        if status.why:
            notes.append(f"{number}: {status.why}")
    if not rows:
        print(f"no jobs in {root.absolute()}")
        return
    widths = [max(len(cells[column]) for cells in (HEAD, *rows)) for column in range(len(HEAD) - 1)]
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for cells in (HEAD, *rows):
        text = "  ".join([*(cell.ljust(size) for cell, size in zip(cells, widths, strict=False)), cells[-1]])[:width]
        colour = COLOURS.get(cells[4]) if coloured else None
        print(text if colour is None else f"\x1b[{colour}m{text}\x1b[0m")
    for note in notes:
        print(note)


def _log(root: Path, number: int) -> None:
    folder, _ = folders.find(root, number)
    for name in ("stdout", "stderr", "runner.log"):
        try:
            with open(folder / name, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            continue
        if text:
            print(f"--- {folder / name}" + (f", the last {TAIL_BYTES} of {size} bytes" if size > TAIL_BYTES else ""))
            print(text, end="" if text.endswith("\n") else "\n")
