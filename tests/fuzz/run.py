"""`make fuzz`: mutated messages through every decoder of untrusted bytes, and their payloads through the decompressors.

    python tests/fuzz/run.py --messages 1000000 --seed 1

A fault is an exception, an internal error, a frame that a number does not allow, a message that takes more than two
seconds, an allocation beyond 512 MB, a good frame that does not come out any more, or the death of the process. Each
chunk of messages is made from seed and chunk number alone, so `--seed S --chunk C` repeats it. Exit code 1 on a fault.
"""

import argparse
import faulthandler
import multiprocessing
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from dectris_messages import (
    lz4_hdf5,
    lz4_literals,
    pixels,
    stream2_end,
    stream2_image,
    stream2_start,
    v1_end,
    v1_header,
    v1_image,
)
from hostile_corpus import CBOR_VALUES, simplon_cases, simplon_headers, stream2_cases

from processors.integration.cpu import CpuEngine
from processors.integration.plan import Plan
from stream.codec.native import bslz4_compress
from stream.codec.payload import check, decode
from stream.errors import CorruptPayload
from stream.events import Encoding, Event, Frame, FrameStatus, Note, Payload, ScanStart
from stream.sources import capture
from stream.wire import simplon, stream2
from stream.wire.capture import Reader, Recorded, Writer
from stream.wire.decoder import FAULT

CHUNK = 10_000
ALIVE_EVERY = 100
SLOW_S = 2.0
ALLOWED_BYTES = 512 * 2**20
RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "streams" / "streaming-receiver"
NUMBERS = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
PACK: dict[Encoding, Callable[[np.ndarray], bytes]] = {
    Encoding.RAW: lambda image: image.tobytes(),
    Encoding.BSLZ4: bslz4_compress,
    Encoding.BSLZ4_BARE: lambda image: bslz4_compress(image)[12:],
    Encoding.LZ4_HDF5: lambda image: lz4_hdf5(image.tobytes()),
    Encoding.LZ4_BLOCK: lambda image: lz4_literals(image.tobytes()),
}


def integrator(shape: tuple[int, int], dtype: np.dtype[Any]) -> CpuEngine:
    """Into 20 bins and nowhere, by turns: what is in them does not matter, only that it is the same by every way."""
    pixels, nothing = shape[0] * shape[1], np.empty(0, np.float32)
    bins = (np.arange(pixels) % 21).astype(np.uint16)
    limits, starts = (0.0, 2.0**32 - 2, np.inf, -np.inf), np.empty(0, np.uint32)
    return CpuEngine(
        Plan(20, bins, starts, nothing, np.ones(pixels, np.float32), nothing, *limits, model=1, empty=0.0), dtype
    )


class Fault(Exception):
    """Something that no bytes may ever cause."""


class Fuzzer:
    """Makes and judges one chunk of messages."""

    def __init__(self, seed: int, chunk: int) -> None:
        self.chance = random.Random(f"{seed}/{chunk}")
        self.counts: Counter[str] = Counter()
        self.series = 1000
        self.decoders: dict[str, Any] = {"stream2": stream2.Decoder(), "simplon": simplon.Decoder()}
        self.stream2_seeds = [case.parts for case in stream2_cases() if case.parts and size(case.parts) < 4000]
        self.stream2_seeds = self.chance.sample(self.stream2_seeds, 300)
        self.stream2_seeds += [[stream2_image(3, encoding)] for encoding in ("bslz4", "lz4", "none")] * 200
        self.stream2_seeds += [[stream2_start()], [stream2_start(image_dtype=None)], [stream2_end()]] * 30
        self.simplon_seeds = [
            case.parts for case in (*simplon_cases(), *simplon_headers()) if case.parts and size(case.parts) < 4000
        ]
        self.simplon_seeds = self.chance.sample(self.simplon_seeds, 300)
        self.simplon_seeds += [v1_image(3, encoding) for encoding in ("bs16-lz4<", "lz4<", "<", ">")] * 150
        self.simplon_seeds += [v1_header("all"), v1_header("basic"), v1_header("none"), v1_end()] * 30
        self._add_recorded()
        self.payloads = [
            Payload(pack(pixels(1, shape, dtype)), encoding, shape, np.dtype(dtype))
            for encoding, pack in PACK.items()
            for dtype in ("uint8", "uint16", "uint32", "uint64")
            for shape in ((6, 50), (1, 7), (64, 65), (70, 70))
        ]

        self.engines = {
            (payload.shape, payload.dtype): integrator(payload.shape, payload.dtype)
            for payload in self.payloads
            if payload.dtype.itemsize <= 4
        }

    def _add_recorded(self) -> None:
        """A real image of each protocol, where the recordings are at hand."""
        for name, seeds in (
            ("derived_dectris_stream2_plain.cborseq.gz", self.stream2_seeds),
            ("eiger_legacy_dump.zip", self.simplon_seeds),
        ):
            if (RECORDED / name).exists():
                messages = iter(Reader(RECORDED / name))
                next(messages)
                image = next(messages)
                assert isinstance(image, Recorded)
                seeds += [[bytes(part) for part in image.parts]] * 2

    def run(self, messages: int) -> Counter[str]:
        """Make `messages` messages, judge what they do."""
        for number in range(messages):
            draw = self.chance.random()
            begin = time.perf_counter()
            try:
                if draw < 0.40:
                    self._feed("stream2", self._stream2_message())
                elif draw < 0.72:
                    self._feed("simplon", self._simplon_message())
                elif draw < 0.99:
                    self._decode(self._payload())
                else:
                    self._play()
                if number % ALIVE_EVERY == 0:
                    self._alive()
            except Exception as error:
                raise Fault(f"message {number} of the chunk: {type(error).__name__}: {error}") from error
            if time.perf_counter() - begin > SLOW_S:
                raise Fault(f"message {number} of the chunk took {time.perf_counter() - begin:.1f} s")
        return self.counts

    def _feed(self, protocol: str, parts: Sequence[bytes]) -> None:
        self.counts[protocol] += 1
        for event in self.decoders[protocol].feed([memoryview(part) for part in parts], 0.0):
            self._judge(event)

    def _judge(self, event: Event) -> None:
        self.counts[type(event).__name__] += 1
        if isinstance(event, Note) and FAULT in event.text:
            raise Fault(event.text)
        if isinstance(event, Frame):
            if not 0 <= event.index < 2**27:
                raise Fault(f"frame number {event.index}")
            if event.status is FrameStatus.CORRUPT and (event.payloads or not event.problem):
                raise Fault("a corrupt frame with pixels, or without a reason")
            for payload in event.payloads.values():
                self._decode(payload)
        if isinstance(event, ScanStart) and (not event.channels or 0 in event.shape or not event.uid):
            raise Fault(f"a scan of nothing: {event.shape}")

    def _decode(self, payload: Payload) -> None:
        if payload.shape[0] * payload.shape[1] > 4_000_000:
            self.counts["payloads too large to decode each"] += 1
            return
        self.counts["payloads"] += 1
        try:
            image = decode(payload)
        except CorruptPayload as error:
            self.counts["payloads corrupt"] += 1
            self._integrate(payload, str(error))
            return
        self._integrate(payload, image)
        check(payload)
        if image.shape != payload.shape or image.dtype != payload.dtype.newbyteorder("="):
            raise Fault(f"decoded {image.shape} {image.dtype} from {payload.shape} {payload.dtype}")
        self.counts["payloads decoded"] += 1

    def _integrate(self, payload: Payload, decoded: np.ndarray | str) -> None:
        """While it is decompressed it gives what its decoded pixels give, or the same refusal."""
        engine = self.engines.get((payload.shape, payload.dtype))
        if engine is None or not engine.takes(payload):
            return
        self.counts["payloads integrated"] += 1
        try:
            engine.add_packed(payload)
            found: Any = engine.result(1.0)
        except CorruptPayload as error:
            found = str(error)
        wanted: Any = decoded if isinstance(decoded, str) else engine.run(decoded, 1.0)
        if isinstance(found, str) or isinstance(wanted, str):
            if found is not wanted and not (isinstance(found, str) and found == wanted):
                raise Fault(f"{payload.shape} {payload.dtype}: decoding gave {wanted!r}, integrating it {found!r}")
        elif not all(map(np.array_equal, found, wanted)):
            raise Fault(f"{payload.shape} {payload.dtype}: other sums than those of its pixels")

    def _alive(self) -> None:
        """A new scan and its frame still come out, pixel for pixel."""
        self.series += 1
        unique = f"ALIVE{self.series}"
        image = self.chance.randrange(200)
        for protocol, start, frame in (
            (
                "stream2",
                [stream2_start(series_id=self.series, series_unique_id=unique)],
                [stream2_image(image, series_id=self.series, series_unique_id=unique)],
            ),
            ("simplon", v1_header("basic", series=self.series), v1_image(image, series=self.series)),
        ):
            decoder = self.decoders[protocol]
            starts = [event for event in decoder.feed(start, 0.0) if isinstance(event, ScanStart)]
            found = [event for event in decoder.feed(frame, 0.0) if isinstance(event, Frame)]
            starts = starts[-1:]  # images of hostile messages may have waited for a start message of their own
            if len(starts) != 1 or len(found) != 1 or found[0].status is not FrameStatus.RECEIVED:
                gave = f"{len(starts)} scans and {[(each.index, each.status) for each in found]}"
                raise Fault(f"{protocol} is deaf: a good scan and frame gave {gave}")
            np.testing.assert_array_equal(decode(found[0].payloads["threshold_1"]), pixels(image))
            # back to the scan that the seeds belong to
            decoder.feed([stream2_start()] if protocol == "stream2" else v1_header("basic"), 0.0)
            self.counts["good frames between"] += 1

    def _stream2_message(self) -> Sequence[bytes]:
        if self.chance.random() < 0.1:
            key = self.chance.choice(("image_id", "series_id", "start_time", "data", "user_data", "type"))
            value = self.chance.choice(list(CBOR_VALUES.values()))
            return [self.mutate(stream2_image(3, **{key: value}))]
        return [self.mutate(part) for part in self.chance.choice(self.stream2_seeds)]

    def _simplon_message(self) -> Sequence[bytes]:
        parts = list(self.chance.choice(self.simplon_seeds))
        draw = self.chance.random()
        place = self.chance.randrange(len(parts))
        if draw < 0.8:
            parts[place] = self.mutate(parts[place])
        elif draw < 0.87:
            del parts[place]
        elif draw < 0.94:
            parts.insert(place, self.chance.choice(parts))
        else:
            self.chance.shuffle(parts)
        return parts

    def _payload(self) -> Payload:
        """A damaged payload, or one that claims to be another's."""
        payload, other = self.chance.choice(self.payloads), self.chance.choice(self.payloads)
        shape = payload.shape if self.chance.random() < 0.8 else other.shape
        encoding = payload.encoding if self.chance.random() < 0.8 else other.encoding
        return Payload(memoryview(self.mutate(bytes(payload.data))), encoding, shape, payload.dtype)

    def _play(self) -> None:
        """A damaged capture."""
        self.counts["captures"] += 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fuzz.cbors"
            writer = Writer(path, "tcp://127.0.0.1:9999")
            for parts in self.chance.choices(self.stream2_seeds, k=3):
                writer.write(parts, time.time())
            writer.close()
            path.write_bytes(self.mutate(path.read_bytes()))
            for event in capture.create(capture.Config(type="capture", file=path)).events():
                self._judge(event)

    def mutate(self, data: bytes) -> bytes:
        """The bytes with one to four changes, mostly near the beginning, where the structure is."""
        chance, changed = self.chance, bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            length = len(changed)
            place = chance.randrange(length + 1)
            if length > 300 and chance.random() < 0.7:
                place = chance.randrange(300)
            kind = chance.randrange(8)
            if kind == 0 and length:
                changed[place % length] ^= 1 << chance.randrange(8)
            elif kind == 1 and length:
                changed[place % length] = chance.randrange(256)
            elif kind == 2:
                del changed[place : place + chance.randrange(1, 9)]
            elif kind == 3:
                changed[place:place] = chance.randbytes(chance.randrange(1, 9))
            elif kind == 4:
                del changed[place:]
            elif kind == 5:
                form = chance.choice((">B", ">H", ">I", ">Q", "<I"))
                number = chance.choice(NUMBERS) & (256 ** struct.calcsize(form) - 1)
                changed[place : place + struct.calcsize(form)] = struct.pack(form, number)
            elif kind == 6:
                begin = chance.randrange(length + 1)
                changed[place:place] = changed[begin : begin + chance.randrange(1, 40)]
            else:
                head = chance.choice((b"\x9f", b"\xbf", b"\x5f", b"\xff", b"\xc1", b"\xd9\xdc\xb4", b"\x9b", b"\x5b"))
                changed[place : place + chance.choice((0, len(head)))] = head
        return bytes(changed)


def size(parts: Sequence[bytes]) -> int:
    """Bytes of a message."""
    return sum(map(len, parts))


def work(seed: int, chunk: int, messages: int, answers: Any) -> None:
    """One chunk, in a process of its own, so that even its death is noticed."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(300, exit=True)
    try:
        fuzzer = Fuzzer(seed, chunk)
        for payload in fuzzer.payloads:
            decode(payload)  # compiles what is compiled, before the clock and the limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ALLOWED_BYTES, hard))
        answers.send((None, fuzzer.run(messages), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    except Fault as fault:
        answers.send((str(fault), Counter(), 0))


def main() -> int:
    """Run chunks until the messages are done; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunk", type=int, help="repeat this chunk only")
    parser.add_argument("--processes", type=int, default=2, help="chunks at a time (default 2)")
    args = parser.parse_args()
    total: Counter[str] = Counter()
    begin, largest, faults = time.monotonic(), 0, 0
    sizes = [min(CHUNK, args.messages - at) for at in range(0, args.messages, CHUNK)]
    todo = list(enumerate(sizes)) if args.chunk is None else [(args.chunk, CHUNK)]
    running: list[tuple[int, Any, Any]] = []
    for payload in Fuzzer(args.seed, 0).payloads:
        decode(payload)  # once for all processes
    spawn = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "fork")
    while todo or running:
        while todo and len(running) < args.processes:
            chunk, messages = todo.pop(0)
            receive, send = spawn.Pipe(duplex=False)
            process = spawn.Process(target=work, args=(args.seed, chunk, messages, send))
            process.start()
            send.close()
            running.append((chunk, process, receive))
        chunk, process, receive = running.pop(0)
        try:
            problem, counts, peak = receive.recv()
        except EOFError:
            problem, counts, peak = "the process died", Counter(), 0
        process.join()
        if process.exitcode:
            problem = f"{problem or 'the process died'} (exit code {process.exitcode})"
        if problem is not None:
            faults += 1
            print(f"FAULT in chunk {chunk}: {problem}\n  again: --seed {args.seed} --chunk {chunk}", flush=True)
        total += counts
        largest = max(largest, peak)
        if sys.stderr.isatty():
            print(f"\r{chunk + 1} of {len(sizes)} chunks", end="", file=sys.stderr)
    seconds = time.monotonic() - begin
    print(f"{args.messages if args.chunk is None else CHUNK} messages, seed {args.seed}: {faults} faults", end="")
    print(f" in {seconds:.0f} s; largest process {largest / 1024:.0f} MB")
    for kind, count in sorted(total.items()):
        print(f"  {kind:34} {count:>10}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
