"""Source `files`: recorded scans given by path, for `inbeam process`.

Each HDF5 file (or each entry in it) is a scan; the image files of one folder that differ only by the number in their
names are one scan together, as in a watched folder; a capture made by `inbeam capture` is handed to the `capture`
source. They are read one after the other, in the source thread.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from stream.context import ALONE, Context
from stream.errors import BadMessage, ConfigError, SourceLost
from stream.events import EndStatus, Event, Note, ScanEnd, ScanStart
from stream.fingerprint import of_files
from stream.formats.folder.scans import series_of
from stream.formats.hdf5.monitor import Beam, beside_images
from stream.formats.hdf5.opening import MAGIC, is_hdf5, split
from stream.formats.hdf5.scans import scans as hdf5_scans
from stream.formats.images.file import frame_number, is_image
from stream.formats.images.series import events as image_events
from stream.formats.monitor import Monitor, number_of
from stream.formats.natural import LAST_NUMBER, check_pattern, natural, stem
from stream.registry import Options
from stream.roles import Source
from stream.sources import capture
from stream.wire.limits import NUMBER_AHEAD, NUMBER_MAX

CAPTURES = (".cbor", ".cbors", ".cborseq", ".zip", ".capture")


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

    _pattern = field_validator("pattern")(check_pattern)

    @model_validator(mode="after")
    def _rate_of_what(self) -> Self:
        if self.monitor_per_second and self.monitor is None:
            raise ValueError("monitor_per_second without a monitor: say which it is with `monitor`")
        return self

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
        self._delegate: Source | None = None
        self._of_images = Monitor(config.monitor, per_second=config.monitor_per_second)
        number = number_of(config.monitor)
        self._in_hdf5 = str(config.monitor) if number is None and config.monitor is not None else None
        self._of_hdf5 = Monitor(number, per_second=config.monitor_per_second, on_frames=self._in_hdf5 is not None)
        self._groups = list(_groups(expand(config.files), config))
        self._done = 0

    @property
    def done(self) -> tuple[int, int]:
        """How many recordings have been read to their end, of how many; the images of one series are one."""
        return self._done, len(self._groups)

    def events(self) -> Iterator[Event]:
        """All scans of all files; a file that cannot be read is a Note, a frame that cannot be read a CORRUPT one."""
        for group, key in self._groups:
            open_scan: str | None = None
            for event in self._group(group, key):
                if self._closed and open_scan is not None:
                    yield ScanEnd(open_scan, EndStatus.STOPPED)
                if self._closed:
                    return
                if isinstance(event, ScanStart):
                    open_scan = event.uid
                    event = self._with_options(event)
                elif isinstance(event, ScanEnd):
                    open_scan = None
                yield event
            if open_scan is not None:
                yield ScanEnd(open_scan, EndStatus.ABORTED, notes=(f"{group[0]} could not be read to its end",))
            self._done += 1

    def close(self) -> None:
        """Stop after the frame in hand."""
        self._closed = True
        if self._delegate is not None:
            self._delegate.close()

    def _with_options(self, start: ScanStart) -> ScanStart:
        """The options decide on the frames and their readings as the files do."""
        config = self._config
        told = config.model_dump(mode="json", exclude={"files", "name"}, exclude_defaults=True)
        monitor, inside = split(str(config.monitor or ""))
        folder = os.path.dirname(start.source.partition("::")[0])
        files = [os.path.join(folder, monitor)] if inside is not None else []
        return replace(start, fingerprint=f"{start.fingerprint} {of_files(files, told)}")

    def _group(self, paths: Sequence[str], key: str) -> Iterator[Event]:
        first = paths[0]
        if len(paths) > 1 or is_image(first):
            yield from self._of_images.applied(self._images(paths, key))
        elif is_capture(first):
            yield from self._capture(first)
        else:
            yield from self._of_hdf5.applied(self._hdf5(first))

    def _hdf5(self, path: str) -> Iterator[Event]:
        config = self._config
        try:
            most = int(config.max_frame_mb * 1e6)
            scans = hdf5_scans(path, config.dataset, self._in_hdf5, config.name, config.readings, most)
        except BadMessage as error:
            yield Note(str(error))
            return
        for scan in scans:
            try:
                yield from scan.events()
            except BadMessage as error:
                yield Note(str(error))
        for problem in scans.lost:
            yield Note(f"left out: {problem}")

    def _images(self, paths: Sequence[str], key: str) -> Iterator[Event]:
        config = self._config
        folder = os.path.dirname(os.path.abspath(paths[0]))
        placed = list(enumerate(paths))
        if config.number == "name":
            numbers: dict[int, str] = {}
            for path in paths:
                try:
                    number = frame_number(path, config.pattern)
                except BadMessage as error:
                    yield Note(str(error))
                    continue
                if number in numbers:
                    yield Note(f"{path} has the same number {number} as {numbers[number]}: left out, correct `pattern`")
                else:
                    numbers[number] = path
            first = min(numbers, default=0) if config.first_number is None else config.first_number
            placed = []
            for number in sorted(number for number in numbers if number >= first):
                place = number - first
                if place >= NUMBER_MAX or (placed and place > placed[-1][0] + NUMBER_AHEAD):
                    yield Note(f"{numbers[number]} has a number far beyond its scan: left out, correct `pattern`")
                else:
                    placed.append((place, numbers[number]))
        monitor: Beam | None = None
        if self._of_images.path:
            try:
                monitor = beside_images(folder, self._of_images.path)
            except BadMessage as error:
                yield Note(str(error))
        uid = f"file:{os.path.normpath(os.path.join(folder, key))}"
        name = config.name or os.path.basename(uid)
        if len(paths) == 1:
            uid, name = f"file:{os.path.abspath(paths[0])}", config.name or stem(paths[0])
        yield from image_events(uid, name, folder, placed, monitor, by_name=config.number == "name")

    def _capture(self, path: str) -> Iterator[Event]:
        try:
            self._delegate = capture.create(capture.Config(type="capture", file=Path(path)))
            yield from self._delegate.events()
        except (ValidationError, SourceLost) as error:  # it has vanished meanwhile, or is no capture after all
            yield Note(str(error))
        self._delegate = None


def expand(names: Sequence[str]) -> list[str]:
    """Patterns and folders to file names, in natural order within each; a master's data files come with the master.

    Raises ConfigError naming what is not there.
    """
    return _without_parts(found(names))


def found(names: Sequence[str]) -> list[str]:
    """As `expand`, without a look into the files."""
    matched: list[str] = []
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
            matches = [match for match in matches if is_image(match) or is_capture(match) or is_hdf5(match)]
        elif os.path.exists(path):
            matches = [path]
        else:
            matches = natural(glob.glob(path, recursive=True))
        if not matches:
            kind = "holds no HDF5 file, image or capture" if os.path.isdir(path) else "is not there"
            problems.append((f"stream.files[{place}]", f"{path} {kind}: correct the path"))
        matched += [f"{match}::{inside}" if inside else match for match in matches]
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(matched))


def _without_parts(paths: list[str]) -> list[str]:
    """Leave out the data files that a master among the paths links to: their frames come with the master."""
    plain = [path for path in paths if "::" not in path and not is_image(path) and not is_capture(path)]
    if len(plain) < 2:
        return paths
    parts: set[str] = set()
    for path in plain:
        try:
            for scan in hdf5_scans(path):
                sources = {part.path for segments in scan.located.channels.values() for part in segments}
                parts |= {os.path.realpath(source) for source in (*sources, scan.located.file)} - {
                    os.path.realpath(path)
                }
        except BadMessage:
            continue
    return [path for path in paths if os.path.realpath(path) not in parts]


def _groups(paths: Sequence[str], config: Config) -> Iterator[tuple[list[str], str]]:
    """The files of each scan (or file of scans): a series of images together, all others alone.

    With each group of images what they share in their names, or "" if there is only one series in their folder.
    """
    series: dict[tuple[str, str], list[str]] = {}
    groups: list[tuple[list[str], str, str]] = []
    for path in paths:
        if not is_image(path):
            groups.append(([path], "", path))
            continue
        folder = os.path.dirname(os.path.abspath(path))
        key, _ = series_of(os.path.abspath(path), folder, config.series, config.pattern or LAST_NUMBER)
        if (folder, key) not in series:
            groups.append((series.setdefault((folder, key), []), key, folder))
        series[folder, key].append(path)
    several = Counter(folder for folder, _ in series)
    for files, key, folder in groups:
        yield files, key if several[folder] > 1 else ""


def is_capture(path: str) -> bool:
    """True for a recording of messages: by its extension, or by a first byte that begins a CBOR array, map or tag."""
    base = os.path.basename(path).lower().removesuffix(".gz")
    if base.endswith(CAPTURES):
        return True
    if is_image(path) or "::" in path:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError:
        return False
    return bool(head) and head != MAGIC and 0x80 <= head[0] <= 0xDB and not is_hdf5(path)
