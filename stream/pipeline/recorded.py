"""The changes of options that a file of ours recorded, to be repeated by `inbeam process --changes FILE`."""

import json
import os
from pathlib import Path

import h5py

from stream.document import parse
from stream.errors import ConfigError
from stream.events import Change

GROUP = "/entry/changes"
COLUMNS = ("frame", "revision", "made", "path", "value", "who")


def recorded_changes(path: Path) -> tuple[Change, ...]:
    """From a file that the sinks `hdf5` or `archive` wrote, or from a YAML list of {frame, path, value}.

    Raises ConfigError.
    """
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r", locking=False) as file:
                return changes_in(file)
        listed = parse(path.read_text(encoding="utf-8")) or []
        return tuple(
            Change("", int(each["frame"]), str(each["path"]), each["value"], str(each.get("who", "")), number, 0.0)
            for number, each in enumerate(sorted(listed, key=lambda each: int(each["frame"])), 1)
        )
    except FileNotFoundError as error:
        text = f"{path} is not there (looked from {os.getcwd()}): correct the path"
        raise ConfigError([("run.changes", text)]) from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"{path} holds no changes: give a file of inbeam, or a YAML list of mappings with frame, path and value"
        raise ConfigError([("run.changes", text)]) from error


def changes_in(file: h5py.File) -> tuple[Change, ...]:
    """The table of changes of an open file, also of one that grows. Raises KeyError if it has none."""
    group = file[GROUP]
    whole = len(group["revision"])  # written last: a row that has it has all
    rows = zip(*(group[name][:whole].tolist() for name in COLUMNS), strict=True)
    return tuple(
        Change("", int(frame), path.decode(), json.loads(value), who.decode(), int(revision), float(made))
        for frame, revision, made, path, value, who in rows
    )
