"""A series of image files as one scan: which frame number each file has, and its events."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream.errors import BadMessage
from stream.events import MONITOR, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.fingerprint import of_beginning, of_files
from stream.formats.hdf5.located import ONE_CHANNEL
from stream.formats.hdf5.monitor import Beam
from stream.formats.hdf5.nexus import some
from stream.formats.images.file import Damaged, Image, ImageFile
from stream.formats.images.header import describe
from stream.formats.images.readings import readings_of


class ImageScan:
    """Turns image files into the frames of one scan. The first readable file decides on shape and data type."""

    def __init__(
        self, uid: str, name: str, source: str, expected_files: int | None = None, fingerprint: str | None = None
    ) -> None:
        """fingerprint: of the recording; None: by the first file that is taken."""
        self.uid = uid
        self.frames_per_file = 1
        self.highest = -1
        """The highest frame number given out so far."""
        self._name = name
        self._source = source
        self._expected_files = expected_files
        self._fingerprint = fingerprint
        self._start: ScanStart | None = None

    @property
    def started(self) -> bool:
        """True once a file has been readable."""
        return self._start is not None

    def take(self, file: ImageFile, base: int, room: int | None = None, *, skip: int = 0) -> Iterator[Event]:
        """The frames of a file, the first of which has the number `base`; the first file also begins the scan.

        room: frame numbers that the file may use, None for as many as it has; skip: frames that were taken before.
        """
        yield from self._begin(file, base)
        for image in file:
            if image.place < skip or (room is not None and image.place >= room):
                continue
            index = base + image.place
            problem = image.problem if isinstance(image, Damaged) else self._misfit(file.path, image)
            if problem or isinstance(image, Damaged):
                yield self._hole(index, problem)
            else:
                self.highest = max(self.highest, index)
                readings = readings_of(image.header)
                yield Frame(
                    self.uid,
                    index,
                    {ONE_CHANNEL: image.payload()},
                    received=time.time(),
                    detector_time=image.time,
                    absolute_time=readings.absolute,
                    exposure_s=readings.exposure_s,
                    readings=readings.values,
                )
        if room is not None and file.frames > room:
            text = f"{file.path} has {file.frames} frames, but the first file of its scan {room}: the rest is left out"
            yield Note(text, self.uid)

    def take_at(self, file: ImageFile, place: int, *, alone: bool = False, skip: int = 0) -> Iterator[Event]:
        """The frames of the file with position `place` (from 0) in the series, each file having as many as the first.

        alone: it is the only one so far; one that grows may then have more than before.
        """
        yield from self._begin(file, place * self.frames_per_file)
        if alone and place == 0:
            self.frames_per_file = max(self.frames_per_file, file.frames)
        yield from self.take(file, place * self.frames_per_file, self.frames_per_file, skip=skip)

    def damaged(self, base: int, problem: str) -> Iterator[Frame]:
        """Holes where the frames of a file would be that cannot be read."""
        for inside in range(self.frames_per_file):
            yield self._hole(base + inside, problem)

    def _begin(self, file: ImageFile, base: int) -> Iterator[ScanStart]:
        if self._start is not None:
            return
        self.frames_per_file = file.frames
        image = file.first
        self._start = ScanStart(
            uid=self.uid,
            name=self._name,
            shape=(image.pixels.shape[0], image.pixels.shape[1]),
            dtype=image.pixels.dtype,
            channels=(ONE_CHANNEL,),
            expected=self._expected_files * file.frames if self._expected_files else None,
            detector=describe(image.header),
            received=time.time(),
            source=self._source,
            fingerprint=of_beginning(base, image.payload().data) if self._fingerprint is None else self._fingerprint,
            readings=readings_of(image.header).units,
        )
        yield self._start

    def _misfit(self, path: str, image: Image) -> str:
        assert self._start is not None
        have, want = (image.pixels.shape, image.pixels.dtype), (self._start.shape, self._start.dtype)
        if have == want:
            return ""
        return f"{path} has {have[0]} {have[1]}, but the scan began with {want[0]} {want[1]}"

    def _hole(self, index: int, problem: str) -> Frame:
        self.highest = max(self.highest, index)
        return Frame(self.uid, index, {}, time.time(), status=FrameStatus.CORRUPT, problem=problem)


def events(
    uid: str,
    name: str,
    source: str,
    files: Iterable[tuple[int, str]],
    monitor: Beam | None = None,
    *,
    by_name: bool = False,
) -> Iterator[Event]:
    """A recorded series: `files` are (place in the series, path), in the order of the places.

    by_name: the places are numbers in names, so that each file has room for as many frames as the first one has; else
    the files follow each other, however many frames they have. Files that cannot be read are holes; if none can, there
    is no scan, only a note.
    """
    listed = list(files)
    scan = ImageScan(uid, name, source, listed[-1][0] + 1 if listed else None, of_files([path for _, path in listed]))
    damaged: list[tuple[int, str]] = []
    extra = 0
    for place, path in listed:
        try:
            file = ImageFile(path, part=True)
        except BadMessage as error:
            damaged.append((place, str(error)))
        else:
            if by_name:
                found = scan.take_at(file, place)
            else:
                if not scan.started:
                    scan.frames_per_file = file.frames
                found = scan.take(file, place * scan.frames_per_file + extra)
                extra += file.frames - scan.frames_per_file
            for event in found:
                yield _with_monitor(event, monitor)
        if scan.started:
            for hole, problem in damaged:
                yield from scan.damaged(hole * scan.frames_per_file + extra, problem)
            damaged.clear()
    if scan.started:
        announced = max(scan.highest + 1, (listed[-1][0] + 1) * scan.frames_per_file + extra)
        if monitor is not None and len(monitor.values) not in (1, announced):
            text = f"{monitor.where} has {len(monitor.values)} readings for {announced} frames: correct `monitor`"
            yield Note(text, uid)
        yield ScanEnd(uid, announced=announced)
    elif damaged:
        yield Note(f"{source}: no image can be read: {some(problem for _, problem in damaged)}")


def _with_monitor(event: Event, monitor: Beam | None) -> Event:
    if monitor is not None and isinstance(event, ScanStart):
        return replace(event, readings={**(event.readings or {}), MONITOR: monitor.unit})
    if monitor is not None and isinstance(event, Frame):
        return replace(event, readings={**event.readings, MONITOR: monitor.at(event.index)})
    return event
