"""karabo-bridge in: the real library's server in both versions and every socket, modules, numbers, hostile bytes."""

import pickle
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from abused import abuse, limited_memory
from hostile_corpus import LENGTHS, VALUES, Case, flips, garbage
from karabo_bridge.serializer import serialize
from karabo_bridge.server import Sender, ServerInThread
from sending import FRAMES, source

from stream.codec.payload import decode
from stream.events import MONITOR, Array, EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.roles import Source
from stream.testing import SourceConformance
from stream.wire.karabo import Axis, Decoder, Wanted
from stream.wire.limits import Limits

NAME = "SPB_DET/CAM:output"
XGM = "SA1_XTD2_XGM/XGM/DOOCS"
SHAPE = (9, 13)
LIMITS = Limits(parts=1000)


def pixels(index: int) -> Array:
    return np.random.default_rng(index).integers(0, 60, SHAPE).astype("u2")


def metadata(train: int, name: str = NAME) -> dict[str, Any]:
    return {
        "source": name,
        "timestamp": 1.7e9 + train,
        "timestamp.sec": str(1_700_000_000 + train),
        "timestamp.frac": f"{25 * 10**16:018d}",
        "timestamp.tid": 10_000 + train,
    }


def train(index: int, image: Array | None = None, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    data = {
        NAME: {"image.data": pixels(index) if image is None else image, "gain": 3, **more},
        XGM: {"flux": 1.5 + index, "per_pulse": np.arange(4.0) + index},
    }
    return data, {name: metadata(index, name) for name in data}


def message(index: int, image: Array | None = None, version: str = "2.2", **more: Any) -> list[bytes]:
    return [bytes(part) for part in serialize(*train(index, image, **more), protocol_version=version)]


@contextmanager
def served(sock: str, version: str) -> Iterator[str]:
    """The endpoint of the library's own server, which gives FRAMES trains, and then nothing."""
    server = ServerInThread("tcp://127.0.0.1:*", sock=sock, protocol_version=version, maxlen=FRAMES + 1)
    for index in range(FRAMES):
        server.feed(*train(index))
    server.thread = threading.Thread(target=server._run, daemon=True)
    server.start()
    try:
        yield server.endpoint
    finally:
        server.stopper_w.send(b"")
        while server.thread.is_alive():  # it looks for its stop only when it has a train to send
            with suppress(Full):
                server.feed(*train(0), block=False)
            server.thread.join(0.05)
        server.zmq_context.destroy(linger=0)


class Bridge(SourceConformance):
    frames = FRAMES
    ends = False
    identifies = False
    sock, ours, version = "REP", "req", "2.2"

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        with served(self.sock, self.version) as endpoint:
            yield source("karabo", endpoint=endpoint, socket=self.ours, source=NAME, silence_s=0.4)


@pytest.mark.slow
class TestAsking(Bridge):
    pass


@pytest.mark.slow
class TestAskingVersion1(Bridge):
    version = "1.0"


@pytest.mark.slow
class TestPulling(Bridge):
    sock, ours = "PUSH", "pull"


def decoder(axes: tuple[Axis, ...] | None = None, name: str = NAME, **more: Any) -> Decoder:
    return Decoder(LIMITS, Wanted(name, "image.data", axes, **more))


def fed(messages: Sequence[Sequence[bytes]], made: Decoder) -> list[Event]:
    return [event for parts in messages for event in made.feed([memoryview(part) for part in parts], 100.0)]


def frames_of(events: Sequence[Event]) -> list[Frame]:
    return [event for event in events if isinstance(event, Frame)]


def images_of(events: Sequence[Event]) -> list[Array]:
    return [decode(frame.payloads["data"]) for frame in frames_of(events)]


@pytest.mark.parametrize("version", ["1.0", "2.2"])
def test_trains_are_frames_with_their_times_and_readings(version: str) -> None:
    made = decoder(readings={"flux": (XGM, "flux"), "absent": (XGM, "nothing")}, monitor="flux")
    start, *events = fed([message(index, version=version) for index in (0, 1, 3)], made)
    assert isinstance(start, ScanStart) and start.shape == SHAPE and start.dtype == np.uint16
    assert start.name == "10000" and set(start.readings or ()) == {"flux", "absent", MONITOR}
    frames = frames_of(events)
    assert [frame.index for frame in frames] == [0, 1, 3], "a train that does not come leaves a hole"
    for frame in frames:
        np.testing.assert_array_equal(decode(frame.payloads["data"]), pixels(frame.index))
        assert frame.absolute_time == pytest.approx(1.7e9 + frame.index + 0.25, abs=1e-6)
        assert frame.readings == {"flux": 1.5 + frame.index, MONITOR: 1.5 + frame.index}


MODULES = np.random.default_rng(5).integers(0, 9, (4, 3, 6, 5)).astype("f4")
"""(pulses, modules, ss, fs)."""
STACKED = MODULES.reshape(4, 18, 5)


@pytest.mark.parametrize(
    ("axes", "sent"),
    [
        (("pulses", "modules", "ss", "fs"), MODULES),
        (("modules", "fs", "ss", "pulses"), MODULES.transpose(1, 3, 2, 0)),
        (("pulses", "ss", "fs"), STACKED),
        (("fs", "ss", "pulses"), STACKED.transpose(2, 1, 0)),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.2"])
def test_pulses_are_frames_and_modules_are_stacked_in_every_order_of_axes(
    version: str, axes: tuple[Axis, ...], sent: Array
) -> None:
    made = decoder(axes, readings={"per_pulse": (XGM, "per_pulse")})
    events = fed([message(index, np.ascontiguousarray(sent) + index, version) for index in (0, 2)], made)
    frames = frames_of(events)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 8, 9, 10, 11]
    np.testing.assert_array_equal(images_of(events), np.concatenate([STACKED, STACKED + 2]))
    assert [frame.readings["per_pulse"] for frame in frames] == [0, 1, 2, 3, 2, 3, 4, 5]


def modules_message(index: int, names: Sequence[str], trains: Sequence[int] | None = None) -> list[bytes]:
    data = {name: {"image.data": MODULES[0, place]} for place, name in enumerate(names)}
    about = {name: metadata((trains or [index] * len(names))[place], name) for place, name in enumerate(names)}
    return [bytes(part) for part in serialize(data, about)]


def test_modules_that_are_sources_are_stacked_by_number_and_one_that_lacks_makes_a_hole() -> None:
    names = ["AGIPD/DET/0CH0:xtdf", "AGIPD/DET/2CH0:xtdf", "AGIPD/DET/10CH0:xtdf"]
    made = decoder(name="AGIPD/DET/*CH0:xtdf")
    events = fed([modules_message(0, names), modules_message(1, names[:2]), modules_message(2, names)], made)
    assert [frame.status for frame in frames_of(events)] == [
        FrameStatus.RECEIVED,
        FrameStatus.CORRUPT,
        FrameStatus.RECEIVED,
    ]
    assert "without AGIPD/DET/10CH0:xtdf" in frames_of(events)[1].problem
    np.testing.assert_array_equal(decode(frames_of(events)[0].payloads["data"]), STACKED[0])
    (note,) = fed([modules_message(3, names, [3, 3, 4])], made)
    assert isinstance(note, Note) and "different trains" in note.text


def test_an_array_with_more_than_two_axes_is_not_guessed_at() -> None:
    (note,) = fed([message(0, MODULES)], decoder())
    assert isinstance(note, Note) and "stream.axes" in note.text and not note.harmless


def test_trains_that_begin_anew_are_a_scan_of_their_own_but_one_forged_number_is_not() -> None:
    made = decoder()
    events = fed([message(index) for index in (5_000_000, 5_000_001, 3, 5_000_002)], made)
    assert sum(isinstance(event, ScanStart) for event in events) == 1 and len(frames_of(events)) == 3
    events = fed([message(index) for index in (10, 11, 12, 13)], made)
    ends = [event for event in events if isinstance(event, ScanEnd)]
    assert len(ends) == 1 and [frame.index for frame in frames_of(events)] == [0, 1]


def test_a_scan_ends_when_nothing_has_come_for_a_while() -> None:
    made = decoder()
    fed([message(0)], made)
    assert not made.tick(109.0)
    (end,) = made.tick(111.0)
    assert isinstance(end, ScanEnd) and end.status is EndStatus.COMPLETE


def test_a_train_of_more_pulses_than_the_first_is_told_and_one_of_another_shape_is_a_hole() -> None:
    made = decoder(("pulses", "ss", "fs"))
    fed([message(0, STACKED[:2])], made)
    events = fed([message(1, STACKED), message(2, STACKED[:1]), message(3, STACKED[:, :2])], made)
    assert [(frame.index, frame.status.has_data) for frame in frames_of(events)] == [
        (2, True),
        (3, True),
        (4, True),
        (6, False),
        (7, False),
    ]
    assert any(isinstance(event, Note) and "4 pulses" in event.text for event in events)


def test_older_servers_image_data_is_read() -> None:
    head, values, *_ = message(0)
    image = {
        "source": NAME,
        "content": "ImageData",
        "path": "image.data",
        "params": {"dtype": "uint16", "shape": SHAPE},
    }
    (start, frame) = fed([[head, values, msgpack.packb(image), pixels(0).tobytes()]], decoder())
    assert isinstance(start, ScanStart) and isinstance(frame, Frame)
    np.testing.assert_array_equal(decode(frame.payloads["data"]), pixels(0))


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<i8", "float64", "uint8"])
def test_every_type_of_number_comes_out_as_it_went_in(dtype: str) -> None:
    image = pixels(1).astype(dtype)
    for version in ("1.0", "2.2"):
        (found,) = images_of(fed([message(0, image, version)], decoder()))
        np.testing.assert_array_equal(found, image)


@pytest.mark.slow
def test_who_subscribes_gets_what_is_sent_from_then_on() -> None:
    server = Sender("tcp://127.0.0.1:*", sock="PUB")
    made = source("karabo", endpoint=server.endpoint, source=NAME, socket="sub", silence_s=30)
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(made.events()))
    sent = iter(range(10_000))

    def some() -> bool:
        server.send(*train(next(sent)))
        return len(frames_of(found)) >= 3

    thread.start()
    until(some)
    made.close()
    thread.join(10)
    server.zmq_context.destroy(linger=0)
    numbers = [frame.index for frame in frames_of(found)]
    assert numbers == list(range(len(numbers))) and isinstance(found[-1], ScanEnd)


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


def test_what_is_pickled_is_never_unpickled() -> None:
    """msgpack_numpy's own reader does so with arrays of objects."""
    objects = np.array([Bomb(), None])
    packed = msgpack_numpy.encode(objects)
    assert packed[b"kind"] == b"O"
    part = msgpack.packb({NAME: {"image.data": packed, "metadata": metadata(0)}})
    (note,) = fed([[part]], decoder())
    assert isinstance(note, Note) and "nothing is unpickled" in note.text
    (note,) = fed([[pickle.dumps({"a": Bomb()})]], decoder())
    assert isinstance(note, Note)


def test_a_server_that_comes_back_is_asked_again() -> None:
    first = Sender("tcp://127.0.0.1:*")
    endpoint = first.endpoint
    made = source("karabo", endpoint=endpoint, source=NAME, silence_s=30)
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(made.events()))
    thread.start()
    first.send(*train(0))
    until(lambda: len(frames_of(found)) == 1)
    first.zmq_context.destroy(linger=0)
    second = Sender(endpoint)
    second.send(*train(1))
    until(lambda: len(frames_of(found)) == 2)
    made.close()
    thread.join(10)
    assert not thread.is_alive()
    second.zmq_context.destroy(linger=0)
    assert [frame.index for frame in frames_of(found)] == [0, 1]


def until(condition: Any, seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        threading.Event().wait(0.01)


def hostile() -> Iterator[Case]:
    yield from garbage()
    for version in ("1.0", "2.2"):
        good = message(3, version=version)
        for place, part in enumerate(good):
            for size in range(0, len(part), 3):
                yield Case(f"{version} part {place} cut at {size}", [*good[:place], part[:size], *good[place + 1 :]])
            for name, data in flips(part, 5):
                yield Case(f"{version} part {place} {name}", [*good[:place], data, *good[place + 1 :]])
        yield Case(f"{version} twice", good * 2)
        yield Case(f"{version} one part more", [*good, b""])
    head, values, about, _ = message(3)[:4]
    array = msgpack.unpackb(about)
    for key in ("source", "content", "path", "dtype", "shape"):
        for name, value in {**VALUES, **{f"length {size}": [size, size] for size in LENGTHS}}.items():
            yield Case(f"{key} {name}", [head, values, pack({**array, key: value}), pixels(3).tobytes()])
    for text in ("O", "object", "V8", "u2,f4", "(2,3)u2", "M8[s]", "S5", "U9", "f16", "{'names':[]}", "<u2" * 99):
        yield Case(f"dtype {text}", [head, values, pack({**array, "dtype": text}), pixels(3).tobytes()])
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    nest = b"\xdd\x00\x00\x4e\x20" * 900  # lists of 20 000 within each other
    for name, part in (
        ("deep", msgpack.packb({"a": deep})),
        ("endless lists", b"\x81\xa1a" + nest),
        ("a huge list", b"\x81\xa1a\xdd\xff\xff\xff\xff"),
        ("a huge map", b"\xdf\xff\xff\xff\xff"),
        ("a huge text", b"\x81\xa1a\xdb\xff\xff\xff\xff"),
        ("an extension", b"\x81\xa1a\xc9\x00\x00\x00\x04\x05abcd"),
        ("a time", b"\x81\xa1a\xd6\xff\x00\x00\x00\x00"),
        ("a million items", msgpack.packb({"a": [[0] * 1000] * 1000})),
    ):
        yield Case(f"1.0 {name}", [part])
        yield Case(f"2.2 {name}", [head, part])


def pack(value: Mapping[str, Any]) -> bytes:
    try:
        return bytes(msgpack.packb(value))
    except (OverflowError, ValueError):
        return b""


@pytest.mark.slow
def test_hostile_messages_harm_nothing_and_the_next_good_frame_comes_out() -> None:
    count = 0
    with limited_memory():
        for case in hostile():
            count += 1
            made = decoder()
            fed([message(0)], made)
            scan = made.scan
            abuse(made, case)  # type: ignore[arg-type]
            assert made.scan is scan, case.name
            (frame,) = frames_of(fed([message(4)], made))
            np.testing.assert_array_equal(decode(frame.payloads["data"]), pixels(4))
    assert count > 1000
