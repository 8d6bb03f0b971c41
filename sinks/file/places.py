"""Where a file sink may write: never over what the run reads, nor where its files would be taken for input."""

import os
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from sinks.file.naming import UNKNOWN
from stream import registry
from stream.preflight import Follows, Known, Problem, Reads


def problems(pattern: str, overwrite: bool, others: Iterable[str], known: Known) -> Iterator[Problem]:
    """What is wrong with the `path` of a sink. others: the paths of the sinks before it."""
    place = os.path.normpath(os.path.expanduser(pattern))
    if place in [os.path.normpath(os.path.expanduser(other)) for other in others]:
        yield "path", f"{pattern} is the file of an earlier sink too: give each its own"
    source = known.config.stream
    name = with_gaps(place)
    if not os.path.basename(os.path.expanduser(pattern)) or (UNKNOWN not in name and os.path.isdir(name)):
        yield "path", f"{pattern} is a folder: write a file name, such as {os.path.join(pattern, '{scan}.h5')}"
    if problem := unwritable(Path(os.path.dirname(name.split(UNKNOWN)[0]))):
        yield "path", problem
    if isinstance(source, Follows) and source.follows(name):
        yield "path", f"{pattern} is in the folder that is watched and would be taken for input: choose another folder"
    if overwrite and UNKNOWN not in name:
        read = [path for options in known.config.processors for path in registry.named_files(options)]
        if same(Path(name), [*read, *(source.reads() if isinstance(source, Reads) else ())]):
            yield "path", f"{pattern} is read by this run and would be overwritten: choose another name"


def unwritable(folder: Path) -> str:
    """Why no file can be made in this folder, in words, or "": the folders that are there already decide."""
    folder = folder.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder: choose another"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"nothing may be written in {folder}: change its permissions, or choose another folder"
    return ""


def with_gaps(pattern: str) -> str:
    """The pattern with UNKNOWN for what only a scan can say."""
    return "".join(
        text + (UNKNOWN if field is not None else "") for text, field, _, _ in string.Formatter().parse(pattern)
    )


def same(path: Path, others: Iterable[str]) -> bool:
    """True if the file is one of the others, under whatever name: link, other case, other way to it."""
    try:
        found = path.stat()
    except OSError:
        return False
    for other in others:
        try:
            if os.path.samestat(found, os.stat(other)):
                return True
        except OSError:
            continue
    return False
