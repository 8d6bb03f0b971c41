"""Faults on demand: a detector's messages, damaged as asked, repeatably for a seed, with a record of each deed.

    --faults drop=0.01,duplicate=0.01,reorder=8,corrupt=0.001,die-at=500 --seed 7

Of each image at most one of the faults with a probability happens, so what must become of every frame number is known:

    drop=P       never sent                                                   -> missing
    duplicate=P  sent twice                                                   -> duplicate
    late=P[@N]   sent N messages later (default 200), behind any re-order window -> late
    corrupt=P    the compressed blocks are made undecodable, all else is whole   -> corrupt
    truncate=P   the message ends in the middle of the pixels                    -> v1: corrupt
                                                           stream2: a bad message, and the frame is missing
    flip=P       one bit of the pixels' bytes is turned over: bslz4 has no checksum, nobody can be sure to notice
    garbage=P    a message of random bytes is sent before the image           -> a bad message, no frame is touched
    reorder=N    every image may be overtaken by up to N later ones           -> received
    stall=S[@N]  the detector pauses S seconds before it sends image N (default 10)
    die-at=N     it stops for ever instead of sending image N, in the first scan that has it: no end message
    drop-start, drop-end   the scan's first or last message is never sent

Start and end messages are never touched unless asked by name. Nothing here sleeps or sends: see `sender`.
"""

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from stream.errors import InbeamError
from stream.simulate.damage import corrupted, flipped, garbage, truncated
from stream.simulate.messages import Message

PROBABILITIES = ("drop", "duplicate", "late", "corrupt", "truncate", "flip")


@dataclass(frozen=True, slots=True)
class Faults:
    """What shall go wrong. Fields with a probability: 0 ... 1 per image, their sum at most 1."""

    drop: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    late_by: int = 200
    corrupt: float = 0.0
    truncate: float = 0.0
    flip: float = 0.0
    garbage: float = 0.0
    reorder: int = 0
    stall_s: float = 0.0
    stall_at: int = 10
    die_at: int | None = None
    drop_start: bool = False
    drop_end: bool = False


def parse(text: str) -> Faults:
    """The faults of a command line. Raises InbeamError that names the part it cannot read."""
    values: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        number, at, place = value.partition("@")
        try:
            if name in (*PROBABILITIES, "garbage"):
                values[name] = float(number)
                if not 0 <= values[name] <= 1 or (at and name != "late"):
                    raise ValueError
                if at:
                    values["late_by"] = _whole(place)
            elif name == "reorder" and not at:
                values["reorder"] = _whole(number)
            elif name == "stall":
                values["stall_s"] = float(number)
                if at:
                    values["stall_at"] = _whole(place)
                if not 0 <= values["stall_s"] <= 86400:
                    raise ValueError
            elif name == "die-at" and not at:
                values["die_at"] = _whole(number)
            elif name in ("drop-start", "drop-end") and not value:
                values[name.replace("-", "_")] = True
            else:
                raise ValueError
        except ValueError:
            raise InbeamError(
                f"--faults: cannot read {part!r}; known: drop=P, duplicate=P, late=P@N, corrupt=P, truncate=P, flip=P, "
                "garbage=P (P from 0 to 1), reorder=N, stall=SECONDS@N, die-at=N, drop-start, drop-end"
            ) from None
    faults = Faults(**values)
    if sum(getattr(faults, name) for name in PROBABILITIES) > 1:
        raise InbeamError(f"--faults: the probabilities of {', '.join(PROBABILITIES)} add up to more than 1")
    return faults


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


@dataclass(slots=True)
class ScanDeeds:
    """What was done to one scan; the lists hold frame numbers, in the order of sending.

    images: how many images the scan had before any fault. sent: how many image messages went out, copies included.
    late: numbers that went out with the full delay. maybe_late: the end of the scan came before, so that they may still
    have found their place within a reader's re-order window. reordered: the others that went out after a higher number.
    """

    images: int = 0
    sent: int = 0
    dropped: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    maybe_late: list[int] = field(default_factory=list)
    corrupted: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    flipped: list[int] = field(default_factory=list)
    reordered: list[int] = field(default_factory=list)
    stalled: list[int] = field(default_factory=list)
    garbage: int = 0
    died_at: int | None = None
    start_dropped: bool = False
    end_dropped: bool = False


@dataclass(slots=True)
class Report:
    """What was done, scan by scan. Complete once the generator has ended."""

    seed: int
    scans: list[ScanDeeds] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For --report FILE."""
        scans = [{item.name: getattr(scan, item.name) for item in fields(ScanDeeds)} for scan in self.scans]
        return {"seed": self.seed, "scans": scans}


def inject(messages: Iterable[Message], faults: Faults, report: Report) -> Iterator[Message]:
    """The messages as the faulty detector sends them; `report` (with the seed) is filled in on the way."""
    rng = random.Random(report.seed)
    scan: _Scan | None = None
    for message in messages:
        if message.kind == "start":
            if scan is not None:
                yield from scan.rest()
            scan = _Scan(faults, rng, report)
            if faults.drop_start:
                scan.deeds.start_dropped = True
            else:
                yield message
        elif message.kind == "image":
            scan = scan or _Scan(faults, rng, report)
            yield from scan.image(message)
            if scan.deeds.died_at is not None:
                return
        elif message.kind == "end":
            if scan is not None:
                yield from scan.rest()
            if faults.drop_end and scan is not None:
                scan.deeds.end_dropped = True
            else:
                yield message
            scan = None
        else:
            yield message
    if scan is not None:
        yield from scan.rest()


class _Scan:
    """The images of one scan on their way through the faults; a heap holds those that others overtake."""

    def __init__(self, faults: Faults, rng: random.Random, report: Report) -> None:
        self.faults = faults
        self.rng = rng
        self.deeds = ScanDeeds()
        report.scans.append(self.deeds)
        self._waiting: list[tuple[int, int, Message, bool]] = []
        self._position = 0
        self._pushed = 0
        self._highest = -1

    def image(self, message: Message) -> Iterator[Message]:
        """What goes out now that this image has been taken."""
        faults, rng, deeds = self.faults, self.rng, self.deeds
        index = message.index if message.index is not None else self._position
        if faults.die_at is not None and index >= faults.die_at:
            yield from self.rest()
            deeds.died_at = index
            return
        deeds.images += 1
        if faults.stall_s and index == faults.stall_at:
            message = replace(message, pause_s=faults.stall_s)
            deeds.stalled.append(index)
        if faults.garbage and rng.random() < faults.garbage:
            deeds.garbage += 1
            yield replace(message, kind="other", index=None, parts=(garbage(rng),), pause_s=0.0)
        fault, chosen = "", rng.random()
        for name in PROBABILITIES:
            chosen -= getattr(faults, name)
            if chosen < 0:
                fault = name
                break
        if fault == "drop":
            deeds.dropped.append(index)
        else:
            if fault == "corrupt":
                message = replace(message, parts=corrupted(message.parts))
                deeds.corrupted.append(index)
            elif fault == "truncate":
                message = replace(message, parts=truncated(message.parts))
                deeds.truncated.append(index)
            elif fault == "flip":
                message = replace(message, parts=flipped(message.parts, rng))
                deeds.flipped.append(index)
            delay = faults.late_by if fault == "late" else rng.randint(0, faults.reorder)
            self._push(message, delay, fault == "late")
            if fault == "duplicate":
                deeds.duplicated.append(index)
                self._push(replace(message, pause_s=0.0), rng.randint(0, faults.reorder), False)
        while self._waiting and self._waiting[0][0] <= self._position:
            yield self._pop()
        self._position += 1

    def rest(self) -> Iterator[Message]:
        """Everything that still waits: before the end of the scan, or when the detector dies."""
        while self._waiting:
            yield self._pop()

    def _push(self, message: Message, delay: int, late: bool) -> None:
        heapq.heappush(self._waiting, (self._position + delay, -self._pushed, message, late))
        self._pushed += 1

    def _pop(self) -> Message:
        due, _, message, late = heapq.heappop(self._waiting)
        index = message.index if message.index is not None else -1
        self.deeds.sent += 1
        if late:
            (self.deeds.late if due <= self._position else self.deeds.maybe_late).append(index)
        elif index < self._highest:
            self.deeds.reordered.append(index)
        self._highest = max(self._highest, index)
        return message
