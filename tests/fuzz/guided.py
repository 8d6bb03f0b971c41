"""Coverage-guided fuzzing of the decoders with atheris, which `make fuzz` does not need: `pip install atheris` first.

    python tests/fuzz/guided.py -runs=1000000 -max_total_time=300

Starts from the hostile corpus and from good messages, kept in a temporary folder. The arguments are libFuzzer's. The
first byte of an input is the protocol; the parts of a v1 message are separated by SEPARATOR.
"""

import io
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import stream.codec.blocks  # noqa: F401  compiled code cannot be instrumented

with atheris.instrument_imports(include=["stream.wire"], enable_loader_override=False):
    from stream.codec import payload
    from stream.wire import cbor, cbor_sequence, decoder, metadata, series, simplon, simplon_header, stream2, typed
    from stream.wire.decoder import FAULT

from dectris_messages import pixels, stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image
from hostile_corpus import simplon_cases, simplon_headers, stream2_cases

from stream.errors import BadMessage, CorruptPayload
from stream.events import Frame, FrameStatus, Note

INSTRUMENTED = (cbor, cbor_sequence, decoder, metadata, payload, series, simplon, simplon_header, stream2, typed)
SEPARATOR = b"\x00|PART|\x00"
STREAM2, SIMPLON, SEQUENCE = range(3)


def one_input(data: bytes) -> None:
    """Judge one input; libFuzzer reports whatever raises."""
    if not data:
        return
    kind, message = data[0] % 3, data[1:]
    if kind == SEQUENCE:
        with suppress(BadMessage):
            stream = io.BytesIO(message)
            while (item := cbor_sequence.read_item(stream)) is not None:
                cbor.loads(item)
        return
    decoder = stream2.Decoder(monitor_key="a.b") if kind == STREAM2 else simplon.Decoder(monitor_key="a.b")
    good = [stream2_start()] if kind == STREAM2 else v1_header("basic")
    decoder.feed(good, 0.0)
    for event in decoder.feed([message] if kind == STREAM2 else message.split(SEPARATOR), 0.0):
        if isinstance(event, Note) and FAULT in event.text:
            raise AssertionError(event.text)
        if isinstance(event, Frame):
            assert 0 <= event.index < 2**27
            for each in event.payloads.values():
                if each.shape[0] * each.shape[1] < 1_000_000:
                    with suppress(CorruptPayload):
                        payload.decode(each)
    other = {"series_id": 9999, "series_unique_id": "ALIVE"}
    start = [stream2_start(**other)] if kind == STREAM2 else v1_header("basic", series=9999)
    image = [stream2_image(1, **other)] if kind == STREAM2 else v1_image(1, series=9999)
    decoder.feed(start, 0.0)
    (frame,) = [event for event in decoder.feed(image, 0.0) if isinstance(event, Frame)]
    assert frame.status is FrameStatus.RECEIVED, frame.problem
    assert (payload.decode(frame.payloads["threshold_1"]) == pixels(1)).all()


def write_corpus(folder: Path) -> None:
    """What libFuzzer starts from."""
    good = [
        [stream2_start()],
        [stream2_image(1)],
        [stream2_image(1, "lz4")],
        [stream2_image(1, "none")],
        [stream2_end()],
    ]
    hostile = [case.parts for case in stream2_cases() if case.parts]
    seeds = [(STREAM2, parts) for parts in good + hostile[::7]]
    v1_good = [v1_header(detail) for detail in ("all", "basic", "none")] + [v1_image(1), v1_image(1, "lz4<"), v1_end()]
    v1_hostile = [case.parts for case in (*simplon_cases(), *simplon_headers()) if case.parts]
    seeds += [(SIMPLON, parts) for parts in v1_good + v1_hostile[::5]]
    seeds += [(SEQUENCE, parts * 2) for parts in good]
    for number, (kind, parts) in enumerate(seeds):
        data = bytes([kind]) + (b"" if kind == SEQUENCE else SEPARATOR).join(parts)
        if len(data) < 8192:
            (folder / f"{number:05}").write_bytes(data)


def main() -> None:
    """Hand over to libFuzzer, which ends the process."""
    folder = Path(tempfile.mkdtemp(prefix="inbeam-fuzz-"))
    write_corpus(folder)
    for each in (stream2_image(1), stream2_image(1, "lz4")):
        one_input(bytes([STREAM2]) + each)  # compiles what is compiled
    atheris.Setup([*sys.argv, "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048", str(folder)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
