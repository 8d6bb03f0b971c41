"""HDF5 files as a kind of recorded files: each scan in one, and each detector of it, is a scan of its own."""

import os
from collections.abc import Iterable, Iterator, Sequence

from stream.errors import BadMessage
from stream.events import Event, Note
from stream.formats.hdf5.names import is_hdf5_name, is_master
from stream.formats.hdf5.opening import is_hdf5, split
from stream.formats.hdf5.scans import scans
from stream.formats.monitor import Monitor, number_of
from stream.formats.reader import Choice, Recording


class Hdf5:
    """The reader of HDF5 files; see `stream.formats.reader.Reader`."""

    grows = True

    def named(self, name: str) -> bool:
        """True for the name of an HDF5 file."""
        return is_hdf5_name(name)

    def knows(self, path: str) -> bool:
        """True for an HDF5 file, and for what has its name and cannot be read as one, which is then told."""
        return "::" in path or is_hdf5_name(path) or is_hdf5(path)

    def leads(self, path: str) -> bool:
        """True for a master."""
        return is_master(path)

    def together(self, paths: Sequence[str], choice: Choice) -> Iterator[Recording]:
        """Each alone: what a master links to comes with it."""
        return (Recording((path,)) for path in paths)

    def parts(self, path: str) -> Iterable[str]:
        """The data files of a master, the sources of virtual datasets, files that follow, and modules."""
        if "::" in path:
            return
        try:
            for scan in scans(path):
                for source in (*scan.located.files, scan.located.file):
                    if os.path.realpath(source) != os.path.realpath(path):
                        yield os.path.realpath(source)
        except BadMessage:  # which is told when it is read
            return

    def events(self, recording: Recording, choice: Choice) -> Iterator[Event]:
        """Every scan of a file."""
        number = number_of(choice.monitor)
        inside = str(choice.monitor) if number is None and choice.monitor is not None else None
        monitor = Monitor(number, per_second=choice.monitor_per_second, on_frames=inside is not None)
        return monitor.applied(_scans(recording.paths[0], choice, inside))

    def close(self) -> None:
        """Nothing to do: every frame is a chance to stop."""


def _scans(path: str, choice: Choice, monitor: str | None) -> Iterator[Event]:
    if not os.path.exists(split(path)[0]):
        yield Note(f"{split(path)[0]} is not there")
        return
    try:
        found = scans(path, choice.dataset, monitor, choice.name, choice.readings, choice.frame_bytes)
    except BadMessage as error:
        yield Note(str(error))
        return
    for scan in found:
        try:
            yield from scan.events(so_far=choice.so_far, wanted=choice.frames)
        except BadMessage as error:
            yield Note(str(error))
    for problem in found.lost:
        yield Note(f"left out: {problem}")
