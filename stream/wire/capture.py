"""Captures: the messages of a detector byte for byte, with their arrival times, in one CBOR sequence.

Item 0 is {"inbeam_capture": 1, "endpoint", "protocol", "started"}; then one [nanoseconds since start, [part, ...]] per
message. Read as well: foreign recordings (arrays of byte strings, dranspose's tags), also gzipped or in a zip archive.
Nothing is ever unpickled.
"""

import errno
import gzip
import os
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, cast

import cbor2

from stream.claim import Claim
from stream.errors import BadMessage
from stream.events import Buffer
from stream.wire import cbor, cbor_sequence, metadata
from stream.wire.cbor import Tag, Value
from stream.wire.limits import DEFAULT, Limits

Protocol: TypeAlias = Literal["simplon", "stream2", "unknown"]

SELF_DESCRIBED, DRANSPOSE_EVENT, DRANSPOSE_STREAM = 55799, 42877, 42878
FLUSH_S = 1.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded message. `arrival_s` counts from the start of the recording, None where it was not recorded."""

    parts: list[memoryview]
    arrival_s: float | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What item 0 of a capture says. `started` is Unix time, s."""

    endpoint: str = ""
    protocol: Protocol = "unknown"
    started: float | None = None


def protocol_of(parts: Sequence[Buffer]) -> Protocol:
    """Which protocol a message speaks, by its first byte: `{` of JSON, or a CBOR map."""
    first = bytes(memoryview(parts[0])[:3]) if parts else b""
    if first[:1] == b"{":
        return "simplon"
    if first == b"\xd9\xd9\xf7" or (first and 0xA0 <= first[0] <= 0xBF):
        return "stream2"
    return "unknown"


class Writer:
    """Writes a capture. A process that is killed loses at most the last second; the file stays readable.

    It has its name from the first message on: what is to be overwritten stays if nothing comes.
    """

    def __init__(self, path: Path, endpoint: str, *, overwrite: bool = False) -> None:
        """Raises FileExistsError, or another OSError."""
        self._overwrite = overwrite
        self._claim: Claim | None = None
        if overwrite and path.exists() and not path.is_file():  # a pipe or another device is written to, not replaced
            self._file = path.open("wb")
        else:
            if os.path.lexists(path) and not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            self._claim = Claim.take(path)
            self._file = os.fdopen(os.dup(self._claim.descriptor), "wb")
        self._endpoint = endpoint
        self._started = time.time()
        self._flushed = time.monotonic()
        self.messages = 0
        self.nbytes = 0

    def write(self, parts: Sequence[Buffer], received: float) -> None:
        """Append one message that arrived at the Unix time `received`, s. Raises OSError."""
        if not self.messages:
            self._begin(protocol_of(parts))
        arrival = max(0, round((received - self._started) * 1e9))
        self._file.write(b"\x82" + _head(0, arrival) + _head(4, len(parts)))
        for part in parts:
            view = memoryview(part).cast("B")
            self._file.write(_head(2, len(view)))
            self._file.write(view)
            self.nbytes += len(view)
        self.messages += 1
        self.flush_due()

    def flush_due(self) -> None:
        """Flush, if a second has passed since the last time."""
        now = time.monotonic()
        if now - self._flushed >= FLUSH_S:
            self._file.flush()
            self._flushed = now

    def close(self) -> None:
        """Complete the file. Without a message there is none."""
        try:
            self._file.close()
        finally:
            if self._claim is not None:
                self._claim.release()

    def _begin(self, protocol: Protocol) -> None:
        about = {"inbeam_capture": 1, "endpoint": self._endpoint, "protocol": protocol, "started": self._started}
        self._file.write(cbor2.dumps(about))
        if self._claim is not None:
            self._claim.publish(overwrite=self._overwrite)


def _head(major: int, count: int) -> bytes:
    """The first bytes of a CBOR item."""
    if count < 24:
        return bytes((major << 5 | count,))
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if count < 1 << 8 * width:
            return bytes((major << 5 | info,)) + count.to_bytes(width, "big")
    raise OverflowError(f"{count} does not fit into a CBOR head")


class Reader:
    """Iterates over a recording without ever holding more than one message of it.

    Yields Recorded, and text for what could not be read: a truncated end (killed while recording), a damaged place
    (nothing behind it can be read), an item that is no message. Opening raises OSError or BadMessage.
    """

    def __init__(self, path: Path, limits: Limits = DEFAULT) -> None:
        self._path = path
        self._limits = limits
        self.about = About()

    def __iter__(self) -> Iterator[Recorded | str]:
        with ExitStack() as stack:
            for stream in self._streams(stack):
                yield from self._items(stream)

    def _streams(self, stack: ExitStack) -> Iterator[BinaryIO]:
        file = stack.enter_context(self._path.open("rb"))
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif magic == b"PK\x03\x04":
            try:
                archive = stack.enter_context(zipfile.ZipFile(file))
                for name in sorted(archive.namelist()):
                    if not name.endswith("/"):
                        yield cast(BinaryIO, stack.enter_context(archive.open(name)))
            except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: encrypted, or packed in an unknown way
                raise BadMessage(f"the zip archive cannot be read: {error}") from None
        else:
            yield file

    def _items(self, stream: BinaryIO) -> Iterator[Recorded | str]:
        number = 0
        while True:
            try:
                data = cbor_sequence.read_item(stream, self._limits)
                if data is None:
                    return
                item = cbor.loads(data, self._limits)
            except (cbor.Truncated, EOFError):
                yield f"{self._path} ends within item {number}, which is left out: the recording was cut short"
                return
            except (cbor.CborError, OSError, zlib.error, zipfile.BadZipFile) as error:
                yield f"{self._path} is damaged in item {number} ({error}): it and all that follows is left out"
                return
            try:
                yield from self._messages(item)
            except BadMessage as error:
                yield f"{self._path}, item {number}: {error}"
            number += 1

    def _messages(self, item: Value) -> Iterator[Recorded]:
        if type(item) is Tag and item.number == SELF_DESCRIBED:
            item = item.value
        if type(item) is dict and "inbeam_capture" in item:
            self.about = _about(item)
        elif type(item) is Tag and item.number == DRANSPOSE_EVENT:
            yield from _dranspose(item.value)
        elif type(item) is list and len(item) == 2 and type(item[0]) is int and type(item[1]) is list:
            yield Recorded(_parts(item[1]), item[0] * 1e-9)
        else:
            yield Recorded(_parts(item))


def _about(item: dict[Any, Any]) -> About:
    protocol = item.get("protocol")
    if item["inbeam_capture"] != 1:
        raise BadMessage(f"a capture of version {str(item['inbeam_capture'])[:20]}: this inbeam reads version 1")
    return About(
        metadata.text(item.get("endpoint")) or "",
        protocol if protocol in ("simplon", "stream2") else "unknown",
        metadata.positive(item.get("started")),
    )


def _dranspose(event: Value) -> Iterator[Recorded]:
    """Event number and {stream: [type, parts]}: https://github.com/maxiv-science/dranspose, replay files."""
    streams = event[1] if type(event) is list and len(event) == 2 else None
    if type(streams) is not dict:
        raise BadMessage("a dranspose event without its streams")
    for stream in streams.values():
        value = stream.value if type(stream) is Tag else None
        value = value.value if type(value) is Tag else value
        if type(value) is not list or len(value) != 2:
            raise BadMessage("a dranspose event whose stream has no parts")
        yield Recorded(_parts(value[1]))


def _parts(value: Value) -> list[memoryview]:
    if type(value) is list and value and all(type(part) is memoryview for part in value):
        return value
    raise BadMessage("no array of byte strings: not a recorded message")
