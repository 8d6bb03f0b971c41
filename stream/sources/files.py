"""Source `files`: recorded scans given by path, for `inbeam process`.

Each HDF5 file (or each entry in it) is a scan; the image files of one folder that differ only by the number in their
names are one scan together, as in a watched folder; a capture made by `inbeam capture` is handed to the `capture`
source. They are read one after the other, in the source thread.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import EndStatus, Event, Frame, Note, ScanEnd, ScanStart
from stream.fingerprint import of_files
from stream.formats.hdf5.opening import split
from stream.formats.natural import check_pattern, natural
from stream.formats.reader import Choice, Reader, Recording
from stream.registry import Options
from stream.roles import Source
from stream.sources.joined import joined
from stream.sources.readers import reader_of, readers, unreadable


class Config(Options):
    """Options of the source `files`."""

    type: Literal["files"] = "files"
    files: tuple[str, ...] = Field(
        min_length=1, description="Paths, folders or patterns (*.h5, scan_????.cbf); `file.h5::/entry/data/data` too"
    )
    dataset: str | None = Field(None, description="Path of the frames inside the HDF5 files; null: found by itself")
    monitor: str | float | None = Field(
        None,
        description="Incident-beam reading per frame: a key of the image headers, a number for all, an HDF5 path in "
        "the file, or `other.h5::/path` beside it",
    )
    monitor_per_second: bool = Field(
        False, description="The monitor is a rate: multiply it by the exposure time of each frame"
    )
    readings: tuple[str, ...] | None = Field(
        None,
        description="Readings to take from HDF5 files, by name or pattern, also those with one value for the scan; "
        "null: all that have a value per frame",
    )
    max_frame_mb: float = Field(
        1000.0, gt=0, description="Refuse HDF5 frames that are larger than this when they are decoded, MB (10^6 bytes)"
    )
    number: Literal["position", "name"] = Field(
        "position", description="Frame number of an image file: its place in natural order, or the number in its name"
    )
    pattern: str | None = Field(
        None, description="Regular expression whose first group is the number in a name; null: its last digits"
    )
    series: Literal["prefix", "folder"] = Field(
        "prefix", description="Images of one scan: those that differ in their number alone, or all of a folder"
    )
    first_number: int | None = Field(None, description="Number in the name of frame 0; null: the lowest there is")
    name: str | None = Field(
        None, description="Name of the scan; null: the stem of the file, the folder's name, or what its images share"
    )

    join: bool = Field(
        False,
        description="All recordings are one scan: the frames of each follow those of the one before, and each has room "
        "for as many as the first; false: a scan each",
    )

    so_far: bool = Field(
        False,
        description="An HDF5 file that is still written is wanted as far as it is; false: its scan ends as aborted",
    )

    part: tuple[int, int] | None = Field(
        None,
        description="A part of each scan's frames, and of how many: [0, 4] is the first quarter; the others are not "
        "missing; null: all",
    )

    _pattern = field_validator("pattern")(check_pattern)

    @model_validator(mode="after")
    def _rate_of_what(self) -> Self:
        if self.monitor_per_second and self.monitor is None:
            raise ValueError("monitor_per_second without a monitor: say which it is with `monitor`")
        if self.first_number is not None and self.number != "name":
            raise ValueError("first_number is a number in the names: give `number: name` too, or leave it out")
        if self.part is not None and (not 0 <= self.part[0] < self.part[1] or self.join):
            raise ValueError("part: [number, of how many], numbers from 0, and without join")
        return self

    def choice(self) -> Choice:
        """What is wanted of the files."""
        return Choice(
            dataset=self.dataset,
            monitor=self.monitor,
            monitor_per_second=self.monitor_per_second,
            readings=self.readings,
            frame_bytes=int(self.max_frame_mb * 1e6),
            number=self.number,
            pattern=self.pattern,
            series=self.series,
            first_number=self.first_number,
            name=self.name,
            so_far=self.so_far,
            part=self.part,
        )

    def reads(self) -> list[str]:
        """The files themselves, not those that they link to."""
        return [split(path)[0] for path in found(self.files)]


def create(config: Config, context: Context = ALONE) -> Source:
    """The source. Raises ConfigError naming every file that is not there."""
    return Files(config)


class Files:
    """Recorded scans, one after the other."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._closed = False
        self._readers = readers()
        self._choice = config.choice()
        self._recordings = list(_recordings(expand(config.files), self._readers, self._choice))
        self._done = 0

    @property
    def done(self) -> tuple[int, int]:
        """How many recordings have been read to their end, of how many; the images of one series are one."""
        return self._done, len(self._recordings)

    def events(self) -> Iterator[Event]:
        """All scans of all files; a file that cannot be read is a Note, a frame that cannot be read a CORRUPT one."""
        if not self._config.join:
            return self._events()
        several = len(self._recordings) > 1
        return joined(self._events(), several, lambda: self._closed and self._done < len(self._recordings))

    def _events(self) -> Iterator[Event]:
        for reader, recording in self._recordings:
            open_scan: str | None = None
            wanted: range | None = None
            for event in self._read(reader, recording):
                if self._closed and open_scan is not None:
                    yield ScanEnd(open_scan, EndStatus.STOPPED)
                if self._closed:
                    return
                if isinstance(event, ScanStart):
                    open_scan = event.uid
                    wanted = self._choice.frames(event.expected)
                    event = self._with_options(event)
                elif isinstance(event, Frame) and wanted is not None and event.index not in wanted:
                    continue
                elif isinstance(event, ScanEnd):
                    open_scan = None
                yield event
            if open_scan is not None:
                note = f"{recording.paths[0]} could not be read to its end"
                yield ScanEnd(open_scan, EndStatus.ABORTED, notes=(note,))
            self._done += 1

    def close(self) -> None:
        """Stop after the frame in hand."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    def _read(self, reader: Reader | None, recording: Recording) -> Iterator[Event]:
        """The events of a recording, whatever its reader raises."""
        path = recording.paths[0]
        if reader is None:
            yield Note(f"{path} {unreadable(path)}")
            return
        try:
            yield from reader.events(recording, self._choice)
        except Exception as error:
            yield Note(f"{path} cannot be read: {str(error) or type(error).__name__}")

    def _with_options(self, start: ScanStart) -> ScanStart:
        """The options decide on the frames and their readings as the files do."""
        config = self._config
        told = config.model_dump(mode="json", exclude={"files", "name", "part"}, exclude_defaults=True)
        monitor, inside = split(str(config.monitor or ""))
        folder = os.path.dirname(start.source.partition("::")[0])
        files = [os.path.join(folder, monitor)] if inside is not None else []
        if config.join:
            files += [split(path)[0] for _, recording in self._recordings for path in recording.paths]
        part = None if config.part is None else config.part[0]
        return replace(start, part=part, fingerprint=f"{start.fingerprint} {of_files(files, told)}")


def _recordings(
    paths: Sequence[str], among: Sequence[Reader], choice: Choice
) -> Iterator[tuple[Reader | None, Recording]]:
    """What is read together, in the order of the first file of each."""
    kinds: dict[Reader | None, list[str]] = {}
    for path in paths:
        kinds.setdefault(reader_of(path, among), []).append(path)
    found: list[tuple[Reader | None, Recording]] = []
    for reader, files in kinds.items():
        together = reader.together(files, choice) if reader is not None else (Recording((file,)) for file in files)
        found += [(reader, recording) for recording in together]
    yield from sorted(found, key=lambda each: paths.index(each[1].paths[0]))


def expand(names: Sequence[str]) -> list[str]:
    """Patterns and folders to file names, in natural order within each; a master's data files come with the master.

    Raises ConfigError naming what is not there.
    """
    return _without_parts(found(names))


def found(names: Sequence[str]) -> list[str]:
    """As `expand`, without a look into the files."""
    matched: list[str] = []
    known = readers()
    problems: list[tuple[str, str]] = []
    for place, name in enumerate(names):
        path, inside = split(name)
        path = os.path.expanduser(path)
        if os.path.isdir(path):
            try:
                matches = [os.path.join(path, entry.name) for entry in os.scandir(path) if entry.is_file()]
            except OSError as error:
                problems.append((f"stream.files[{place}]", f"{path} may not be read: {error.strerror}"))
                continue
            matches = [match for match in natural(matches) if not os.path.basename(match).startswith(".")]
            matches = [match for match in matches if reader_of(match, known) is not None]
        elif os.path.exists(path):
            matches = [path]
        else:
            matches = natural(glob.glob(path, recursive=True))
        if not matches:
            there = os.path.isdir(path)
            kind = "holds no HDF5 file, image or capture" if there else f"is not there (looked from {os.getcwd()})"
            problems.append((f"stream.files[{place}]", f"{path} {kind}: correct the path"))
        matched += [f"{match}::{inside}" if inside else match for match in matches]
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(matched))


def _without_parts(paths: list[str]) -> list[str]:
    """Leave out the data files that a master among the paths links to: their frames come with the master."""
    if len(paths) < 2:
        return paths
    known = readers()
    parts: set[str] = set()
    for path in paths:
        reader = reader_of(path, known)
        if reader is not None:
            parts.update(reader.parts(path))
    return [path for path in paths if os.path.realpath(path) not in parts]
