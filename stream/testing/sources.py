"""What every source must do."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from stream.codec import blocks, native
from stream.codec.payload import decode
from stream.events import EndStatus, Event, Frame, FrameStatus, ScanEnd, ScanStart
from stream.roles import Restorable, Source
from stream.testing.hooks import missing

SOON_S = 5.0


class SourceConformance:
    """Inherit, and say with `opened` how a source is made and fed.

    The material: at least one scan of `frames` sound frames, numbered from 0, always the same.
    ends: the source ends by itself behind the last scan (recorded data); others wait for the next one.
    identifies: a scan has the same uid at every reading. False for a protocol that names its scans by no more than a
    number, which begins again with the next power cut.
    in_order: the frames come in the order of their numbers. False for a source that takes from several senders.
    """

    frames: int
    ends = True
    identifies = True
    in_order = True

    def opened(self, folder: Path) -> AbstractContextManager[Source]:
        """A new source that gives the material; within the context whoever sends it (a detector, a writer) is at work.

        folder: an empty one, or the one of the last call in the same test.
        """
        missing(self, "opened(self, folder)", "a context manager that gives a new source, and sends what it takes")

    def test_is_a_source(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as source:
            assert isinstance(source, Source)
            source.close()

    def test_scans_begin_and_end_and_every_frame_lies_between(self, tmp_path: Path) -> None:
        uids: list[str] = []
        for start, frames, end in scans_of(self._all(tmp_path)):
            assert start.uid and start.name and start.channels and start.received <= time.time()
            assert end.scan == start.uid and end.status is EndStatus.COMPLETE
            assert sorted(frame.index for frame in frames) == list(range(self.frames))
            assert all(frame.scan == start.uid for frame in frames)
            uids.append(start.uid)
        assert uids and len(set(uids)) == len(uids)

    def test_what_was_announced_is_what_came(self, tmp_path: Path) -> None:
        for start, _, end in scans_of(self._all(tmp_path)):
            assert start.expected in (None, self.frames) and end.announced in (None, self.frames)

    def test_frames_carry_their_pixels_packed_as_the_scan_says(self, tmp_path: Path) -> None:
        for start, frames, _ in scans_of(self._all(tmp_path)):
            for frame in frames:
                assert frame.status is FrameStatus.RECEIVED and not frame.problem and not frame.results
                assert tuple(frame.payloads) == start.channels
                for payload in frame.payloads.values():
                    pixels = decode(payload)
                    assert pixels.shape == start.shape and pixels.dtype == start.dtype.newbyteorder("=")

    def test_frames_say_when_they_came(self, tmp_path: Path) -> None:
        for _, frames, _ in scans_of(self._all(tmp_path)):
            times = [frame.received for frame in sorted(frames, key=lambda frame: frame.index)]
            assert all(0 < each <= time.time() for each in times)

    def test_no_pixel_is_decoded_by_the_source(self, tmp_path: Path) -> None:
        """The source thread has the bytes of all frames to carry; decoding is the workers' part."""
        with self.opened(tmp_path) as source:
            events = self._until_the_end(source)
            next(event for event in events if isinstance(event, ScanStart))  # masks of a header may be decoded
            with undecoded():
                frames = [event for event in until_end(events) if isinstance(event, Frame)]
            assert len(frames) == self.frames and all(frame.payloads for frame in frames)
            source.close()

    def test_the_same_scan_has_the_same_uid_at_every_reading(self, tmp_path: Path) -> None:
        first, second = ([start.uid for start, _, _ in scans_of(self._all(tmp_path))] for _ in range(2))
        assert len(first) == len(second)
        assert (first == second) if self.identifies else not set(first) & set(second)

    def test_closing_ends_the_scan_in_hand_soon(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as source:
            found: list[Event] = []
            began = float("inf")
            for event in source.events():
                found.append(event)
                if isinstance(event, Frame) and began == float("inf"):
                    began = time.monotonic()
                    source.close()
                    source.close()
            assert time.monotonic() - began < SOON_S
            ends = [event for event in found if isinstance(event, ScanEnd)]
            assert len(ends) == 1 and isinstance(found[-1], ScanEnd)
            assert ends[0].status is EndStatus.STOPPED
            assert sum(isinstance(event, Frame) for event in found) < self.frames

    def test_closing_from_another_thread_ends_the_waiting_too(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as source:
            events = source.events()
            until_end(events)
            timer = threading.Timer(0.05, source.close)
            began = time.monotonic()
            timer.start()
            rest = list(events)
            timer.join()
            assert time.monotonic() - began < SOON_S or self.ends
            opened = sum(isinstance(event, ScanStart) for event in rest)
            assert opened == sum(isinstance(event, ScanEnd) for event in rest)

    def test_a_source_that_is_closed_before_it_begins_gives_no_frame(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as source:
            source.close()
            began = time.monotonic()
            assert not [event for event in source.events() if isinstance(event, Frame)]
            assert time.monotonic() - began < SOON_S

    def test_nothing_stays_open_behind_it(self, tmp_path: Path) -> None:
        files, threads = open_below(tmp_path), set(threading.enumerate())
        self._all(tmp_path)
        assert open_below(tmp_path) == files
        assert not set(threading.enumerate()) - threads

    def _all(self, folder: Path) -> list[Event]:
        with self.opened(folder) as source:
            return list(self._until_the_end(source))

    def _until_the_end(self, source: Source) -> Iterator[Event]:
        """All events; a source that waits for the next scan is closed behind the first."""
        for event in source.events():
            yield event
            if isinstance(event, ScanEnd) and not self.ends:
                source.close()


class RestorableSource(Source, Restorable, Protocol):
    """Both roles in one."""


class RestorableConformance(SourceConformance):
    """Of sources that must be told which scan is under way when inbeam is started again (`stream.roles.Restorable`)."""

    ends = False

    def going_on(self, folder: Path, after: int) -> AbstractContextManager[RestorableSource]:
        """A new source; whoever sends is in the middle of the scan: frames from number `after` on, then the end."""
        missing(self, "going_on(self, folder, after)", "as `opened`, from frame number `after` of the scan on")

    def test_a_scan_is_gone_on_with_from_the_messages_that_began_it(self, tmp_path: Path) -> None:
        ((start, _, _),) = scans_of(self._all(tmp_path))
        assert start.header and not start.resumed
        after = self.frames // 2
        with self.going_on(tmp_path, after) as source:
            assert isinstance(source, Restorable)
            source.restore(start.uid, start.header)
            ((again, frames, end),) = scans_of(list(self._until_the_end(source)))
        assert again.resumed and again.uid == start.uid
        assert (again.shape, again.dtype, again.channels) == (start.shape, start.dtype, start.channels)
        numbers = [frame.index for frame in frames]
        assert (numbers if self.in_order else sorted(numbers)) == list(range(after, self.frames))
        assert end.status is EndStatus.COMPLETE


def scans_of(events: list[Event]) -> list[tuple[ScanStart, list[Frame], ScanEnd]]:
    """Each scan with its frames. Fails where a frame or an end lies outside of a scan, or a scan does not end."""
    found: list[tuple[ScanStart, list[Frame], ScanEnd]] = []
    start: ScanStart | None = None
    frames: list[Frame] = []
    for event in events:
        if isinstance(event, ScanStart):
            assert start is None, f"scan {event.uid} begins before {start.uid if start else ''} has ended"
            start, frames = event, []
        elif isinstance(event, Frame):
            assert start is not None, f"frame {event.index} lies outside of every scan"
            frames.append(event)
        elif isinstance(event, ScanEnd):
            assert start is not None, f"scan {event.scan} ends without having begun"
            found.append((start, frames, event))
            start = None
    assert start is None, f"scan {start.uid if start else ''} never ends"
    assert found, "no scan came"
    return found


def until_end(events: Iterator[Event]) -> list[Event]:
    """The events up to the next ScanEnd, which is among them."""
    found: list[Event] = []
    for event in events:
        found.append(event)
        if isinstance(event, ScanEnd):
            break
    return found


@contextmanager
def undecoded() -> Iterator[None]:
    """Within it, every attempt to decode packed pixels fails."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("the source decodes pixels")

    with ExitStack() as stack:
        for module, name in ((blocks, "decode_bslz4"), (blocks, "decode_lz4_blocks"), (native, "lz4_block")):
            stack.enter_context(patch.object(module, name, refuse))
        yield


def open_below(folder: Path) -> set[str]:
    """Files below a folder that this process has open; none where the system does not tell (/proc)."""
    found = set()
    for handle in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found.add(os.readlink(f"/proc/self/fd/{handle}"))
        except OSError:
            continue
    return {name for name in found if name.startswith(str(folder))}
