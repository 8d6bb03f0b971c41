"""What receivers and their coordinator say to each other, over ZMQ: JSON, and bytes of the detector behind it.

To the coordinator: {"say": "hello", "process", "resumes"}: which process this is, and the uid of the scan that it goes
on with, or null · {"say": "start", "uid", "expected", "parts": [n ...]} and the messages that began the scan · {"say":
"got", "uid"} and the frame numbers (uint32) · {"say": "end", "uid", "disarmed"} · {"say": "next"}: the start of another
scan has come, and waits.
To a receiver: {"say": "start", ...} as above · {"say": "finish", "uid", "status"}.
"""

import json
from collections.abc import Sequence
from typing import Any

from stream.errors import BadMessage


def packed(say: str, *parts: bytes, **more: Any) -> list[bytes]:
    """One message."""
    return [json.dumps({"say": say, **more}).encode(), *parts]


def start(uid: str, expected: int | None, header: Sequence[Sequence[bytes]]) -> list[bytes]:
    """That a scan has begun, and by which messages."""
    flat = [part for message in header for part in message]
    return packed("start", *flat, uid=uid, expected=expected, parts=[len(message) for message in header])


def unpacked(parts: Sequence[bytes]) -> tuple[dict[str, Any], Sequence[bytes]]:
    """(what is said, the bytes behind it). Raises BadMessage."""
    try:
        found = json.loads(parts[0])
    except (ValueError, IndexError, RecursionError) as error:
        raise BadMessage(f"no message of a receiver: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("say"), str):
        raise BadMessage("no message of a receiver")
    return found, parts[1:]


def header_of(told: dict[str, Any], parts: Sequence[bytes]) -> tuple[tuple[bytes, ...], ...]:
    """The messages that began a scan. Raises BadMessage."""
    counts = told.get("parts")
    if not isinstance(counts, list) or not all(type(each) is int and each > 0 for each in counts):
        raise BadMessage("a start without its messages")
    rest, found = list(parts), []
    for count in counts:
        found.append(tuple(rest[:count]))
        rest = rest[count:]
    if rest or not all(found):
        raise BadMessage("a start with other messages than it says")
    return tuple(found)
