"""What every sink must do."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream.events import Change, EndStatus, Frame, FrameStatus, Piece, ScanEnd, ScanStart, Update
from stream.ledger import Stored
from stream.products import Product
from stream.roles import Counters, Sink
from stream.testing import examples
from stream.testing.hooks import missing
from stream.testing.sources import open_below

SOON_S = 1.0


class SinkConformance:
    """Inherit, and say with `make` how a sink is made; where the small scan of `examples` does not suit it, override
    `scan`, `products` and `frame`."""

    def make(self, folder: Path) -> Sink:
        """A new sink, always with the same configuration; its files go into `folder`."""
        missing(self, "make(self, folder) -> Sink", "return a new sink whose files go into the folder")

    def scan(self, uid: str, expected: int | None = None) -> ScanStart:
        """The start of a scan that the sink can take."""
        return examples.scan(uid, expected)

    def products(self) -> Sequence[Product]:
        """What the processors declare for it."""
        return (examples.PRODUCT,)

    def frame(self, index: int, uid: str = examples.UID, status: FrameStatus = FrameStatus.RECEIVED) -> Frame:
        """A frame with pixels, checksums and the results that `products` declare, always the same for a number."""
        return examples.finished(index, scan=uid, status=status)

    def test_is_a_sink(self, tmp_path: Path) -> None:
        sink = self.make(tmp_path)
        assert isinstance(sink, Sink) and sink.lane in ("block", "latest")
        sink.close()

    def test_scan_after_scan_is_taken(self, tmp_path: Path) -> None:
        sink = self.make(tmp_path)
        for number in range(3):
            uid = f"0{number}-scan"
            stored = sink.start(self.scan(uid, 4), self.products())
            assert stored is None or isinstance(stored, Stored)
            for index in range(4):
                sink.write(self.frame(index, uid))
                sink.tick(Counters(scan="scan42", expected=4, received=index + 1))
            self._end(sink, uid, 4)
        sink.close()

    def test_every_fate_of_a_frame_is_taken(self, tmp_path: Path) -> None:
        """Holes of every kind, repeats of frames that are there, late ones, one whose processing failed; beyond what
        the detector announced."""
        sink = self.make(tmp_path)
        sink.start(self.scan(examples.UID, 6), self.products())
        for index in (0, 1, 2, 4):
            sink.write(self.frame(index))
        sink.write(examples.hole(1, FrameStatus.DUPLICATE, ""))
        sink.write(examples.hole(5, FrameStatus.CORRUPT, "block 3 is cut off"))
        sink.write(examples.hole(6, FrameStatus.DROPPED, "the inbox was full"))
        sink.write(replace(self.frame(7), status=FrameStatus.FAILED, results={}, problem="the processor failed"))
        sink.write(self.frame(3, status=FrameStatus.LATE))
        sink.write(self.frame(8))
        counts = dict.fromkeys(FrameStatus, 0)
        counts |= {
            FrameStatus.RECEIVED: 4,
            FrameStatus.DUPLICATE: 1,
            FrameStatus.CORRUPT: 1,
            FrameStatus.DROPPED: 1,
            FrameStatus.FAILED: 1,
            FrameStatus.LATE: 1,
        }
        end = ScanEnd(examples.UID, announced=6, expected=9, counts=counts, notes=("odd: café \0 \udcff",))
        sink.finish(end)
        sink.close()

    def test_pieces_of_what_belongs_to_the_scan_and_changes_of_options_are_taken(self, tmp_path: Path) -> None:
        """Between the frames, several times, and once more from the beginning."""
        sink = self.make(tmp_path)
        sink.start(self.scan(examples.UID, 6), (*self.products(), examples.MAP))
        for index in range(6):
            if index == 3:
                sink.write(Change(examples.UID, 3, "processors.map.region", [1, 2], "café", 1, 1.7e9))
            sink.write(replace(self.frame(index), revision=int(index >= 3)))
            if index % 2:
                sink.write(examples.update((index - 1, index)))
            sink.tick(Counters())
        sink.write(Update(examples.UID, examples.MAP.name, afresh=True))
        sink.write(examples.update(range(6)))
        sink.write(Update(examples.UID, "somebody's", {"sum": Piece((0,), np.zeros(3))}))
        self._end(sink, examples.UID, 6)
        sink.close()

    def test_frames_are_left_as_they_came(self, tmp_path: Path) -> None:
        """The next sink has the very same frame in its queue."""
        sink = self.make(tmp_path)
        sink.start(self.scan(examples.UID), self.products())
        for status in (FrameStatus.RECEIVED, FrameStatus.LATE):
            given = self.frame(3, status=status)
            before = contents(given)
            sink.write(given)
            sink.tick(Counters())
            assert contents(given) == before
        self._end(sink, examples.UID, 4)
        sink.close()

    def test_a_scan_without_frames_is_taken(self, tmp_path: Path) -> None:
        sink = self.make(tmp_path)
        for status in EndStatus:
            sink.start(self.scan(f"01-{status}", 5), self.products())
            sink.tick(Counters())
            sink.finish(ScanEnd(f"01-{status}", status, 5, 5))
        sink.close()

    def test_a_run_that_stops_in_mid_scan_can_be_started_again(self, tmp_path: Path) -> None:
        for begun in (range(3), range(3, 6)):
            sink = self.make(tmp_path)
            sink.start(self.scan(examples.UID, 6), self.products())
            for index in begun:
                sink.write(self.frame(index))
            sink.close()
        sink = self.make(tmp_path)
        sink.start(self.scan(examples.UID, 6), self.products())
        self._end(sink, examples.UID, 6)
        sink.close()

    def test_a_scan_is_completed_within_a_second(self, tmp_path: Path) -> None:
        sink = self.make(tmp_path)
        sink.start(self.scan(examples.UID), self.products())
        for index in range(200):
            sink.write(self.frame(index))
        began = time.process_time()
        self._end(sink, examples.UID, 200)
        assert time.process_time() - began < SOON_S
        sink.close()

    def test_nothing_stays_open_behind_it(self, tmp_path: Path) -> None:
        """Whatever state it is in when it is closed."""
        threads = set(threading.enumerate())
        for state in range(4):
            sink = self.make(tmp_path)
            if state:
                sink.start(self.scan(f"0{state}-scan", 2), self.products())
            if state > 1:
                sink.write(self.frame(0, f"0{state}-scan"))
            if state > 2:
                self._end(sink, f"0{state}-scan", 2)
            sink.close()
            assert not open_below(tmp_path)
            assert not {thread for thread in set(threading.enumerate()) - threads if thread.is_alive()}

    def _end(self, sink: Sink, uid: str, expected: int) -> None:
        sink.finish(ScanEnd(uid, announced=expected, expected=expected, counts={FrameStatus.RECEIVED: expected}))


def contents(frame: Frame) -> Mapping[str, Any]:
    """All bytes that a frame holds, by name."""
    found: dict[str, Any] = {name: bytes(payload.data) for name, payload in frame.payloads.items()}
    for name, fields in frame.results.items():
        found |= {f"{name}.{field}": np.asarray(value).tobytes() for field, value in fields.items()}
    return found
