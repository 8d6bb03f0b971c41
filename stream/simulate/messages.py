"""A detector's message on its way out, and what an already encoded one is: start, image number so-and-so, or end."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stream.errors import BadMessage
from stream.events import Buffer
from stream.wire import cbor

Kind: TypeAlias = Literal["start", "image", "end", "other"]

V1_KINDS: dict[str, Kind] = {"dheader-1.0": "start", "dimage-1.0": "image", "dseries_end-1.0": "end"}
V2_KINDS: dict[str, Kind] = {"start": "start", "image": "image", "end": "end"}


@dataclass(frozen=True, slots=True)
class Message:
    """The ZMQ parts of one message.

    index: frame number of an image, else None.
    at_s: when it was, or shall be, sent: seconds since the first message.
    pause_s: the detector stalls this long before it sends the message.
    """

    kind: Kind
    parts: Sequence[Buffer]
    index: int | None = None
    at_s: float = 0.0
    pause_s: float = 0.0

    @property
    def nbytes(self) -> int:
        """Length of all parts together."""
        return sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in self.parts)


def classify(parts: Sequence[Buffer]) -> tuple[Kind, int | None]:
    """Kind and frame number of a message of stream v1 (JSON) or stream2 (CBOR); ("other", None) for the rest."""
    if not parts:
        return "other", None
    first = bytes(memoryview(parts[0])[:1])
    try:
        if first == b"{":
            head = json.loads(bytes(parts[0]))
            return V1_KINDS.get(str(head.get("htype")), "other"), _number(head.get("frame"))
        head = unwrap(cbor.loads(parts[0]))
    except (BadMessage, ValueError, AttributeError):
        return "other", None
    if not isinstance(head, dict):
        return "other", None
    return V2_KINDS.get(str(head.get("type")), "other"), _number(head.get("image_id"))


def unwrap(value: cbor.Value) -> cbor.Value:
    """The item inside the tag 55799 that says "this is CBOR"."""
    return value.value if isinstance(value, cbor.Tag) and value.number == 55799 else value


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def label(messages: Iterable[tuple[float, Sequence[Buffer]]]) -> Iterator[Message]:
    """Recorded (seconds since the start, parts) as messages, the bytes untouched."""
    for at_s, parts in messages:
        kind, index = classify(parts)
        yield Message(kind, parts, index if kind == "image" else None, at_s)
