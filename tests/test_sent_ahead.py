"""The frame that comes next is sent to an OpenCL device, and decoded there, while this one is computed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_frames import PONI, rings, scan_of
from pipelines import Kept

from processors import correct, integrate, roi, sparsify
from processors.shared import device_frames
from processors.shared.device import devices
from processors.shared.device_frames import Slot
from processors.shared.unpacking import Unpacker
from stream import ScanEnd
from stream.codec.native import bslz4_compress
from stream.config import RunOptions
from stream.events import Array, Encoding, Frame, FrameStatus, Payload
from stream.pipeline.chain import AT_ONCE, Chain, Step
from stream.pipeline.inbox import Inbox
from stream.pipeline.pipeline import Pipeline

pytestmark = [
    pytest.mark.opencl,
    pytest.mark.skipif(not devices(), reason="no OpenCL device, or no pyopencl"),
]
FIRST = rings("uint32")


@pytest.fixture
def poni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tilted.poni"
    path.write_text(PONI)
    return path


def unstarted(poni: Path, device: str, *steps: Step) -> Chain:
    made = integrate.create(integrate.Config(poni=poni, npt=40, error_model="poisson", device=device))
    return Chain([Step("correct", correct.create(correct.Config())), Step("integrate", made), *steps])


def chain_of(poni: Path, device: str = "opencl", *steps: Step) -> Chain:
    chain = unstarted(poni, device, *steps)
    chain.start(scan_of(FIRST))
    assert not chain.refusal
    return chain


def frame(index: int, image: Array, data: bytes | None = None) -> Frame:
    data = bslz4_compress(image) if data is None else data
    return Frame("uid", index, {"threshold_1": Payload(data, Encoding.BSLZ4, image.shape, image.dtype)}, 0.0)


def mixed() -> list[Frame]:
    """Frames that are nearly empty and such as cannot be packed, by turns; damaged ones, and some unlike their scan."""
    dice, made = np.random.default_rng(0), []
    for number in range(24):
        image = rings("uint32", seed=number)
        if number % 3 == 0:
            image = dice.integers(0, 2**32, image.shape, np.uint32)
        elif number % 3 == 1:
            image = (dice.random(image.shape) < 0.001).astype(np.uint32)
        made.append(frame(number, image))
    good = bytes(made[2].payloads["threshold_1"].data)
    raw = Payload(FIRST.tobytes(), Encoding.RAW, FIRST.shape, FIRST.dtype)
    made[4] = frame(4, FIRST, good[:-1])
    made[7] = frame(7, FIRST, good[:16] + bytes([255] * 40) + good[56:])
    made[8] = frame(8, FIRST, good[:5])
    made[11] = frame(11, FIRST[:-1].copy())
    made[14] = replace(made[14], payloads={"threshold_1": raw})
    made[17] = replace(made[17], payloads={})
    made[20] = frame(20, rings("uint16"))
    made[22] = frame(22, FIRST, good[:12] + bytes([255] * 40) + good[52:])
    return made


def assert_as(found: Frame, wanted: Frame) -> None:
    assert (found.index, found.status, found.problem) == (wanted.index, wanted.status, wanted.problem)
    assert list(found.results) == list(wanted.results)
    for name, values in wanted.results.items():
        for key, value in values.items():
            np.testing.assert_array_equal(found.results[name][key], value)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The payloads that are sent from now on."""
    sent: list[bytes] = []
    start = Unpacker.start

    def noting(self: Unpacker, payload: Payload, image: Any) -> bool:
        sent.append(bytes(payload.data))
        return start(self, payload, image)

    monkeypatch.setattr(Unpacker, "start", noting)
    return sent


def data_of(frame: Frame) -> bytes:
    return bytes(frame.payloads["threshold_1"].data)


@pytest.mark.slow
def test_frames_of_all_kinds_and_sizes_give_what_the_cpu_gives_each_in_its_own_place(poni: Path) -> None:
    """A damaged one is refused in its turn, for the reason that the CPU has, and hurts neither of its neighbours."""
    frames = mixed()
    chain, cpu = chain_of(poni), chain_of(poni, "cpu")
    statuses = []
    for each, following in zip(frames, [*frames[1:], None], strict=True):
        found = chain.process(each, following)
        assert_as(found, cpu.process(each))
        statuses.append(found.status)
    assert {statuses[n] for n in (4, 7, 8, 22)} == {FrameStatus.CORRUPT}
    assert statuses[11] is statuses[20] is FrameStatus.FAILED


@pytest.mark.slow
def test_every_frame_is_sent_once_and_before_the_one_ahead_of_it_is_done(
    poni: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all processors together, whoever of them comes first."""
    regions = {"peak": {"kind": "rectangle", "x": [20, 60], "y": [30, 50]}}
    chain, alone = (
        chain_of(
            poni,
            "opencl",
            Step("roi", roi.create(roi.Config.model_validate({"regions": regions}))),
            Step("sparsify", sparsify.create(sparsify.Config(poni=str(poni), device="opencl", bins=30))),
        )
        for _ in range(2)
    )
    frames = [frame(number, rings("uint32", seed=number)) for number in range(5)]
    wanted = [alone.process(each) for each in frames]
    sent = watched(monkeypatch)
    for number, each in enumerate(frames):
        found = chain.process(each, frames[number + 1] if number < 4 else None)
        assert_as(found, wanted[number])
        assert sent == [data_of(each) for each in frames[: number + 2]]


def test_a_frame_that_was_sent_ahead_in_vain_is_forgotten(poni: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is not what had been expected: the same frame again, or another one."""
    frames = [frame(number, rings("uint32", seed=number)) for number in range(6)]
    chain, cpu = chain_of(poni), chain_of(poni, "cpu")
    for now, expected in ((0, 1), (0, 1), (2, 3), (4, 2), (1, 1), (1, 0), (5, None), (0, 5), (5, 0), (3, 4)):
        found = chain.process(frames[now], None if expected is None else frames[expected])
        assert_as(found, cpu.process(frames[now]))


@pytest.mark.slow
def test_a_device_that_has_no_room_for_the_next_frame_gets_it_in_its_turn(
    poni: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyopencl as cl

    frames = [frame(number, rings("uint32", seed=number)) for number in range(3)]
    chain, cpu = chain_of(poni), chain_of(poni, "cpu")

    def full(unpacker: Unpacker, nbytes: int) -> Slot:
        raise cl.MemoryError("no room")

    monkeypatch.setattr(device_frames, "Slot", full)
    for number, each in enumerate(frames):
        assert_as(chain.process(each, frames[(number + 1) % 3]), cpu.process(each))


@pytest.mark.slow
def test_two_frames_at_most_are_on_a_device_whatever_their_sizes(poni: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Slot] = []

    def counted(unpacker: Unpacker, nbytes: int) -> Slot:
        made.append(Slot(unpacker, nbytes))
        return made[-1]

    monkeypatch.setattr(device_frames, "Slot", counted)
    chain, frames = chain_of(poni), mixed()
    rooms = []
    for _ in range(3):
        for each, following in zip(frames, [*frames[1:], frames[0]], strict=True):
            chain.process(each, following)
        rooms.append([each.unpacker._room for each in made])
    assert len(made) == 2 and rooms[0] == rooms[1] == rooms[2]
    assert max(rooms[0]) <= 2 * max(each.nbytes for each in frames) + 4096


@pytest.mark.slow
def test_a_whole_run_with_devices_keeps_order_and_names_the_frames_that_are_damaged(poni: Path) -> None:
    frames, cpu = [each for each in mixed() if each.payloads], chain_of(poni, "cpu")
    sink = Kept()
    chains = [unstarted(poni, "opencl") for _ in range(2)]
    pipeline = Pipeline(chains, {"kept": (sink, True)}, RunOptions(reorder_ms=60_000))
    pipeline.put(scan_of(FIRST))
    for each in frames:
        pipeline.put(each)
    pipeline.put(ScanEnd("uid"))
    pipeline.close()
    assert all(chain.at_once == AT_ONCE for chain in chains)
    found = {each.index: each for each in sink.frames}
    assert [each.index for each in sink.frames] == sorted(found) and len(found) == len(frames)
    for each in frames:
        assert_as(found[each.index], cpu.process(each))


def test_a_worker_with_a_device_has_several_large_frames_in_hand_and_any_other_one() -> None:
    large = [frame(number, np.zeros((1, 1)), bytes(2_000_000)) for number in range(10)]

    def taken(wanted: int) -> Sequence[int]:
        inbox = Inbox(10**9, workers=2)
        inbox.put(scan_of(FIRST))
        inbox.done(inbox.take())
        for each in large:
            inbox.put(each)
        return [len(inbox.take(wanted)) for _ in range(3)]

    assert taken(4) == [4, 3, 2] and taken(1) == [1, 1, 1]


def test_a_bench_without_a_device_does_not_look_ahead(poni: Path) -> None:
    chain = chain_of(poni, "cpu")
    assert chain.at_once == 1 and not chain._work.looks_ahead
