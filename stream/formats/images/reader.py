"""Image files as a kind of recorded files: those of one folder that differ by the number in their names are a scan."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from stream.errors import BadMessage
from stream.events import Event, Note
from stream.formats.hdf5.monitor import Beam, beside_images
from stream.formats.images.file import frame_number, is_image
from stream.formats.images.series import events
from stream.formats.monitor import Monitor
from stream.formats.natural import LAST_NUMBER, series_of, stem
from stream.formats.reader import Choice, Recording
from stream.wire.limits import NUMBER_AHEAD, NUMBER_MAX


class Images:
    """The reader of image files; see `stream.formats.reader.Reader`."""

    grows = False

    def named(self, name: str) -> bool:
        """True for the name of an image file."""
        return is_image(name)

    def knows(self, path: str) -> bool:
        """True for the name of an image file."""
        return is_image(path)

    def leads(self, path: str) -> bool:
        """No file of this kind links to another."""
        return False

    def together(self, paths: Sequence[str], choice: Choice) -> Iterator[Recording]:
        """The files of each series; what they share is told only if there are several series in their folder."""
        series: dict[tuple[str, str], list[str]] = {}
        for path in paths:
            folder = os.path.dirname(os.path.abspath(path))
            key, _ = series_of(os.path.abspath(path), folder, choice.series, choice.pattern or LAST_NUMBER)
            series.setdefault((folder, key), []).append(path)
        several = Counter(folder for folder, _ in series)
        for (folder, key), files in series.items():
            yield Recording(tuple(files), key if several[folder] > 1 else "")

    def parts(self, path: str) -> Iterable[str]:
        """An image has no parts."""
        return ()

    def events(self, recording: Recording, choice: Choice) -> Iterator[Event]:
        """One scan."""
        monitor = Monitor(choice.monitor, per_second=choice.monitor_per_second)
        return monitor.applied(_series(recording, choice, monitor.path))

    def close(self) -> None:
        """Nothing to do: every frame is a chance to stop."""


def _series(recording: Recording, choice: Choice, monitor: str | None) -> Iterator[Event]:
    paths = recording.paths
    folder = os.path.dirname(os.path.abspath(paths[0]))
    placed = list(enumerate(paths))
    if choice.number == "name":
        placed = []
        yield from _by_number(paths, choice, placed)
    beam: Beam | None = None
    if monitor:
        try:
            beam = beside_images(folder, monitor)
        except BadMessage as error:
            yield Note(str(error))
    uid = f"file:{os.path.normpath(os.path.join(folder, recording.key))}"
    name = choice.name or os.path.basename(uid)
    if len(paths) == 1:
        uid, name = f"file:{os.path.abspath(paths[0])}", choice.name or stem(paths[0])
    yield from events(uid, name, folder, placed, beam, by_name=choice.number == "name")


def _by_number(paths: Sequence[str], choice: Choice, placed: list[tuple[int, str]]) -> Iterator[Note]:
    """Place the files by the numbers in their names; what has no place is told."""
    numbers: dict[int, str] = {}
    for path in paths:
        try:
            number = frame_number(path, choice.pattern)
        except BadMessage as error:
            yield Note(str(error))
            continue
        if number in numbers:
            yield Note(f"{path} has the same number {number} as {numbers[number]}: left out, correct `pattern`")
        else:
            numbers[number] = path
    first = min(numbers, default=0) if choice.first_number is None else choice.first_number
    for number in sorted(number for number in numbers if number >= first):
        place = number - first
        if place >= NUMBER_MAX or (placed and place > placed[-1][0] + NUMBER_AHEAD):
            yield Note(f"{numbers[number]} has a number far beyond its scan: left out, correct `pattern`")
        else:
            placed.append((place, numbers[number]))
