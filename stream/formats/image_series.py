"""A series of image files as one scan: which frame number each file has, and its events."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from stream.errors import BadMessage
from stream.events import Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.formats.image_header import describe
from stream.formats.images import Image, read
from stream.formats.locate import ONE_CHANNEL, some


class ImageScan:
    """Turns image files into the frames of one scan. The first readable file decides on shape and data type."""

    def __init__(self, uid: str, name: str, source: str, expected_files: int | None = None) -> None:
        self.uid = uid
        self.frames_per_file = 1
        self.highest = -1
        """The highest frame number given out so far."""
        self._name = name
        self._source = source
        self._expected_files = expected_files
        self._start: ScanStart | None = None

    @property
    def started(self) -> bool:
        """True once a file has been readable."""
        return self._start is not None

    def take(self, path: str, place: int, images: Sequence[Image]) -> Iterator[ScanStart | Frame]:
        """The frames of the file with position `place` (from 0) in the series; the first also begins the scan."""
        if self._start is None:
            yield self._begin(images[0])
        assert self._start is not None
        for image in images:
            problem = self._misfit(image)
            yield self._frame(
                place * self.frames_per_file + image.place,
                Frame(
                    scan=self.uid,
                    index=0,
                    payloads={} if problem else {ONE_CHANNEL: image.payload()},
                    received=time.time(),
                    detector_time=image.time,
                    status=FrameStatus.CORRUPT if problem else FrameStatus.RECEIVED,
                    problem=f"{path} {problem}" if problem else "",
                ),
            )

    def damaged(self, place: int, problem: str, which: Sequence[int] | None = None) -> Iterator[Frame]:
        """Holes where the frames of a file would be that cannot be read; `which` of them, None: all."""
        for inside in range(self.frames_per_file) if which is None else which:
            hole = Frame(self.uid, 0, {}, time.time(), status=FrameStatus.CORRUPT, problem=problem)
            yield self._frame(place * self.frames_per_file + inside, hole)

    def _begin(self, image: Image) -> ScanStart:
        self.frames_per_file = image.frames_in_file
        shape = (image.pixels.shape[0], image.pixels.shape[1])
        self._start = ScanStart(
            uid=self.uid,
            name=self._name,
            shape=shape,
            dtype=image.pixels.dtype,
            channels=(ONE_CHANNEL,),
            expected=self._expected_files * image.frames_in_file if self._expected_files else None,
            detector=describe(image.header),
            received=time.time(),
            source=self._source,
        )
        return self._start

    def _misfit(self, image: Image) -> str:
        assert self._start is not None
        have, want = (image.pixels.shape, image.pixels.dtype), (self._start.shape, self._start.dtype)
        return "" if have == want else f"has {have[0]} {have[1]}, but the scan began with {want[0]} {want[1]}"

    def _frame(self, index: int, frame: Frame) -> Frame:
        self.highest = max(self.highest, index)
        return replace(frame, index=index)


def events(
    uid: str, name: str, source: str, files: Iterable[tuple[int, str]], monitor: Sequence[float] | None = None
) -> Iterator[Event]:
    """A recorded series: `files` are (place in the series, path), in the order of the places.

    Files that cannot be read are holes; if none can, there is no scan, only a note.
    """
    listed = list(files)
    scan = ImageScan(uid, name, source, listed[-1][0] + 1 if listed else None)
    damaged: list[tuple[int, str]] = []
    for place, path in listed:
        try:
            images = read(path, part=True)
        except BadMessage as error:
            damaged.append((place, str(error)))
        else:
            for event in scan.take(path, place, images):
                yield _with_monitor(event, monitor)
            lost = set(range(images[0].frames_in_file)) - {image.place for image in images}
            yield from scan.damaged(place, f"{path}: this frame is damaged or cut off", sorted(lost))
        if scan.started:
            for hole, problem in damaged:
                yield from scan.damaged(hole, problem)
            damaged.clear()
    if scan.started:
        yield ScanEnd(uid, announced=max(scan.highest + 1, (listed[-1][0] + 1) * scan.frames_per_file))
    elif damaged:
        yield Note(f"{source}: no image can be read: {some(problem for _, problem in damaged)}")


def _with_monitor(event: ScanStart | Frame, monitor: Sequence[float] | None) -> ScanStart | Frame:
    if monitor is None or isinstance(event, ScanStart) or event.index >= len(monitor):
        return event
    return replace(event, monitor=float(monitor[event.index]))
