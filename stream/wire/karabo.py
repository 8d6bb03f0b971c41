"""karabo-bridge: trains in, events out. From bytes to events, without sockets; one message is one train of pulses.

Nobody says where a scan begins and ends: it begins with the first train, ends when nothing has come for a while, and
when the train numbers begin anew. The number of a frame is (train - first train) x pulses + pulse, so a train that does
not come leaves a hole. Modules that come as sources of their own, or along an axis, are stacked, in the order of the
numbers in their names: (modules x rows, columns), as EXtra-geom's detectors for pyFAI have them.
"""

import fnmatch
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from stream.errors import BadMessage
from stream.events import (
    MONITOR,
    Array,
    Buffer,
    Detector,
    Encoding,
    EndStatus,
    Event,
    Frame,
    FrameStatus,
    Note,
    Payload,
    ScanEnd,
    ScanStart,
)
from stream.wire.decoder import FAULT
from stream.wire.karabo_message import SourceData, take_apart
from stream.wire.limits import NUMBER_AHEAD, Limits

CHANNEL = "data"
Axis: TypeAlias = Literal["modules", "pulses", "ss", "fs"]
IN_A_ROW = 3
MOST_PULSES = 4096


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a message is the detector's.

    source: its name, or a pattern (*, ?) that several modules' names fit. key: of the pixels. axes: of that array in
    the order of its shape; ss are rows, fs columns; None: (ss, fs), of an array with two. readings: name -> (source,
    key); an array as long as the train has pulses gives each its own. monitor: which of them is the incident beam's.
    """

    source: str
    key: str
    axes: tuple[Axis, ...] | None = None
    readings: Mapping[str, tuple[str, str]] | None = None
    monitor: str | None = None


class Decoder:
    """Never raises, whatever the bytes are: see `feed`. silence_s: a scan ends after this time without a train."""

    def __init__(self, limits: Limits, wanted: Wanted, *, source: str = "karabo", silence_s: float = 10.0) -> None:
        self._limits, self._wanted, self._source, self._silence_s = limits, wanted, source, silence_s
        self.scan: ScanStart | None = None
        self._modules: tuple[str, ...] = ()
        self._pulses = 1
        self._first = 0
        self._highest = 0
        self._arrived = 0
        """Trains so far, where they have no numbers."""
        self._heard = 0.0
        self._elsewhere: tuple[int, int] | None = None
        """A train number out of all proportion, and how many have come near it in a row."""

    def feed(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        """The events of one message that arrived at the Unix time `received`, s. A message that cannot be read gives a
        Note, a train whose modules do not fit CORRUPT frames."""
        try:
            return [*self.tick(received), *self._read(parts, received)]
        except BadMessage as error:
            return [Note(f"{self._source}: {error}", self.scan.uid if self.scan else None)]
        except Exception as error:  # a fault of ours must not end a beamtime: the fuzz run looks for this text
            return [Note(f"{FAULT} {type(error).__name__}: {error}")]

    def tick(self, now: float) -> list[Event]:
        """End a scan of which nothing has come for too long, at the Unix time `now`, s."""
        return self.finish(EndStatus.COMPLETE) if self.scan and now - self._heard > self._silence_s else []

    def finish(self, status: EndStatus) -> list[Event]:
        """Nothing more will come."""
        if self.scan is None:
            return []
        end = ScanEnd(self.scan.uid, status)
        self.scan = None
        return [end]

    def _read(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        data = take_apart(parts, self._limits)
        there = tuple(
            sorted((name for name in data if fnmatch.fnmatchcase(name, self._wanted.source)), key=_by_numbers)
        )
        modules = tuple(name for name in there if self._wanted.key in data[name].arrays)
        if not modules:
            have = ", ".join(sorted(data)[:5]) or "none"
            raise BadMessage(f"no source {self._wanted.source!r} with the array {self._wanted.key!r} (sources: {have})")
        train, events = data[modules[0]].train, []
        if any(data[name].train != train for name in modules):
            raise BadMessage("modules of different trains in one message: left out")
        try:
            images = self._stacked([data[name].arrays[self._wanted.key] for name in modules])
        except BadMessage as error:
            if self.scan is None:
                raise
            return self._holes(train, str(error), received)
        if self.scan is None or (train is not None and self._begins_anew(train)):
            events = [*self.finish(EndStatus.COMPLETE), self._begin(modules, images, train, received)]
        assert self.scan is not None
        self._heard = received
        problem = self._misfit(modules, images)
        if problem:
            return [*events, *self._holes(train, problem, received)]
        if len(images) > self._pulses:
            text = f"a train of {len(images)} pulses, the first of the scan had {self._pulses}: the others are left out"
            events.append(Note(f"{self._source}: {text}", self.scan.uid))
        return [*events, *self._frames(data, images[: self._pulses], train, data[modules[0]].time, received)]

    def _begin(self, modules: tuple[str, ...], images: Array, train: int | None, received: float) -> ScanStart:
        self._modules, self._pulses = modules, len(images)
        self._first = self._highest = train or 0
        self._arrived, self._elsewhere = 0, None
        names = self._wanted.readings or {}
        readings = {**dict.fromkeys(names, ""), **({MONITOR: ""} if self._wanted.monitor else {})}
        shape = (int(images.shape[1]), int(images.shape[2]))
        self.scan = ScanStart(
            uid=str(uuid.uuid4()),
            name=str(train) if train is not None else time.strftime("%Y%m%d_%H%M%S", time.localtime(received)),
            shape=shape,
            dtype=images.dtype.newbyteorder("="),
            channels=(CHANNEL,),
            expected=None,
            detector=Detector(metadata={"modules": list(modules), "pulses": len(images), "first_train": train}),
            received=received,
            source=self._source,
            readings=readings,
        )
        return self.scan

    def _begins_anew(self, train: int) -> bool:
        """True if the train numbers have begun anew: three in a row, near each other, beyond all proportion."""
        ahead = (train - self._highest) * self._pulses
        if train >= self._first and ahead <= NUMBER_AHEAD:
            self._elsewhere = None
            return False
        near = self._elsewhere is not None and 0 < abs(train - self._elsewhere[0]) <= NUMBER_AHEAD
        count = self._elsewhere[1] + 1 if self._elsewhere is not None and near else 1
        self._elsewhere = train, count
        if count < IN_A_ROW:
            raise BadMessage(f"train {train}, out of all proportion to a scan that began with {self._first}: left out")
        return True

    def _misfit(self, modules: tuple[str, ...], images: Array) -> str:
        assert self.scan is not None
        if modules != self._modules:
            gone = [name for name in self._modules if name not in modules]
            return f"without {gone[0]}" if gone else f"with {len(modules)} modules, not {len(self._modules)}"
        shape, dtype = images.shape[1:], images.dtype.newbyteorder("=")
        if shape != self.scan.shape or dtype != self.scan.dtype:
            return f"{shape[0]} x {shape[1]} {dtype}, not {self.scan.shape[0]} x {self.scan.shape[1]} {self.scan.dtype}"
        return ""

    def _numbers(self, train: int | None) -> range:
        """The frame numbers of a train."""
        if train is None:
            place, self._arrived = self._arrived, self._arrived + 1
        else:
            place, self._highest = train - self._first, max(self._highest, train)
        return range(place * self._pulses, (place + 1) * self._pulses)

    def _holes(self, train: int | None, problem: str, received: float) -> list[Event]:
        assert self.scan is not None
        if train is not None and self._begins_anew(train):
            raise BadMessage(f"train {train}: {problem}")
        self._heard = received
        uid = self.scan.uid
        return [
            Frame(uid, number, {}, received, status=FrameStatus.CORRUPT, problem=f"train {train}: {problem}")
            for number in self._numbers(train)
        ]

    def _frames(
        self, data: Mapping[str, SourceData], images: Array, train: int | None, began: float, received: float
    ) -> list[Event]:
        assert self.scan is not None
        uid, shape, dtype = self.scan.uid, self.scan.shape, images.dtype
        readings = self._readings(data, len(images))
        return [
            Frame(
                uid,
                number,
                {CHANNEL: Payload(image.data.cast("B").toreadonly(), Encoding.RAW, shape, dtype)},
                received,
                absolute_time=began,
                readings={name: values[pulse] for name, values in readings.items()},
            )
            for pulse, (number, image) in enumerate(zip(self._numbers(train), images, strict=False))
        ]

    def _readings(self, data: Mapping[str, SourceData], pulses: int) -> dict[str, Sequence[float]]:
        found: dict[str, Sequence[float]] = {}
        for name, (source, key) in (self._wanted.readings or {}).items():
            there = data.get(source)
            if there is None:
                continue
            array, value = there.arrays.get(key), there.values.get(key)
            if array is not None and array.ndim == 1 and len(array) >= pulses and array.dtype.kind in "iuf":
                found[name] = array[:pulses].astype(float).tolist()
            elif array is not None and array.size == 1 and array.dtype.kind in "iuf":
                found[name] = [float(array.reshape(-1)[0])] * pulses
            elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1000:
                found[name] = [float(value)] * pulses
        if self._wanted.monitor in found:
            found[MONITOR] = found[str(self._wanted.monitor)]
        return found

    def _stacked(self, arrays: Sequence[Array]) -> Array:
        """(pulses, modules x rows, columns), C order; a view where the message has it so. Raises BadMessage."""
        parts = [self._ordered(array) for array in arrays]
        if any(part.shape != parts[0].shape or part.dtype != parts[0].dtype for part in parts):
            raise BadMessage("modules of different shapes or types")
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        pulses, modules, rows, columns = whole.shape
        if not whole.size or whole.size // pulses > self._limits.pixels or pulses > MOST_PULSES:
            raise BadMessage(f"{pulses} pulses of {modules * rows} x {columns} pixels")
        order = whole.dtype.newbyteorder("=")  # a frame's bytes are viewed with the machine's own order
        return np.ascontiguousarray(whole, order).reshape(pulses, modules * rows, columns)

    def _ordered(self, array: Array) -> Array:
        """(pulses, modules, rows, columns), a view. Raises BadMessage."""
        axes = self._wanted.axes or (("ss", "fs") if array.ndim == 2 else None)
        if axes is None:
            raise BadMessage(
                f"{self._wanted.key} has the shape {array.shape}: say in stream.axes which axis is which, such as "
                "[modules, fs, ss, pulses] (online) or [pulses, modules, ss, fs] (as files have it)"
            )
        if array.ndim != len(axes) or array.dtype.kind not in "iuf":
            raise BadMessage(
                f"{self._wanted.key} is {array.dtype} {array.shape}, but stream.axes names {len(axes)} axes"
            )
        missing = [axis for axis in ("pulses", "modules") if axis not in axes]
        view = array.reshape(*([1] * len(missing)), *array.shape)
        names = [*missing, *axes]
        return view.transpose([names.index(axis) for axis in ("pulses", "modules", "ss", "fs")])


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """2CH0 comes before 10CH0."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
