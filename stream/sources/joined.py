"""Recorded scans as one: the frames of each recording follow those of the one before.

Every recording has room for as many frame numbers as the first one has, so that one that is cut short leaves a hole and
shifts nothing: files of a thousand frames each, a folder or a file for each line of a map.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from stream.events import EndStatus, Event, Frame, Note, ScanEnd, ScanStart, nothing_recorded


@dataclass
class _Joined:
    """What is known of the whole so far. room: frame numbers of each recording, None until the first has ended."""

    start: ScanStart
    room: int | None = None
    past: int = 0
    """Recordings that have ended."""
    highest: int = -1
    """Of the running recording."""
    left_out: int = 0
    misfit: bool = False
    """The running recording does not fit the first."""
    last: ScanEnd | None = None
    broken: bool = False
    notes: tuple[str, ...] = ()


def joined(events: Iterator[Event], several: bool, stopped: Callable[[], bool]) -> Iterator[Event]:
    """The events of several scans as those of one.

    several: there is more than one recording, so that the length of the whole is not known at the start. stopped: asked
    at the end, whether there would have been more. A scan of another shape, type or channels, and frames for which
    there is no room, are left out, and told.
    """
    whole: _Joined | None = None
    for event in events:
        if whole is None and not isinstance(event, ScanStart):
            yield event
        elif isinstance(event, ScanStart):
            if whole is None:
                whole = _Joined(_first(event, several))
                yield whole.start
            else:
                yield from _next(whole, event)
        elif whole is not None and isinstance(event, Frame):
            if not whole.misfit:
                yield from _placed(whole, event)
        elif whole is not None and isinstance(event, ScanEnd):
            yield from _ended(whole, event)
        elif whole is not None and isinstance(event, Note):
            yield replace(event, scan=whole.start.uid)
    if whole is not None and whole.last is not None:
        last, room = whole.last, whole.room or 0
        status = EndStatus.ABORTED if whole.broken else last.status
        announced = (whole.past - 1) * room + min(max(last.announced or 0, whole.highest + 1), room)
        yield replace(
            last,
            scan=whole.start.uid,
            status=EndStatus.STOPPED if stopped() else status,
            announced=announced,
            notes=whole.notes,
        )


def _first(start: ScanStart, several: bool) -> ScanStart:
    if not several:
        return start
    return replace(start, uid=f"joined:{start.uid}", expected=None, recorded=nothing_recorded)


def _next(whole: _Joined, start: ScanStart) -> Iterator[Note]:
    whole.highest, whole.left_out = -1, 0
    whole.misfit = _layout(start) != _layout(whole.start)
    if whole.misfit:
        text = f"{start.source} has {_words(start)}, but the joined scan began with {_words(whole.start)}"
        yield Note(f"{text}: left out, give it to a run of its own", whole.start.uid)


def _placed(whole: _Joined, frame: Frame) -> Iterator[Frame]:
    whole.highest = max(whole.highest, frame.index)
    if whole.room is not None and frame.index >= whole.room:
        whole.left_out += 1
    else:
        yield replace(frame, scan=whole.start.uid, index=whole.past * (whole.room or 0) + frame.index)


def _ended(whole: _Joined, end: ScanEnd) -> Iterator[Note]:
    length = max(end.announced or 0, whole.highest + 1)
    if whole.room is None:
        whole.room = length
    if whole.left_out:
        yield Note(
            f"{end.scan} has {length} frames, but the first of the joined scans {whole.room}: {whole.left_out} are "
            "left out; mend or leave out the first",
            whole.start.uid,
        )
    whole.past += 1
    whole.last, whole.notes = end, (*whole.notes, *end.notes)
    whole.broken |= end.status is EndStatus.ABORTED


def _layout(start: ScanStart) -> tuple[object, ...]:
    return start.shape, start.dtype, start.channels


def _words(start: ScanStart) -> str:
    return f"{start.dtype} {start.shape} {', '.join(start.channels)}"
