"""What a message from an untrusted network may ask for at most, checked before anything is allocated."""

from dataclasses import dataclass

NUMBER_AHEAD = 100_000
"""How far a frame number may run ahead of both the announced count and the highest number seen so far. The ledger and
the files make a row for every number below the highest, so one forged message costs at most this many rows."""

NUMBER_MAX = 2**27
"""No frame number and no announced count reaches this (134 million: 37 h at 1 kHz). DECTRIS detectors take `nimages`
up to 2e9 for "until stopped": such a count is taken as not announced."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one message. The defaults take a 16M header with flat field and mask (145 MB) with room to spare."""

    message_bytes: int = 1024 * 10**6
    """All parts of one message together."""
    parts: int = 64
    items: int = 100_000
    """CBOR data items in one message: a header of every recorded detector has fewer than 300."""
    depth: int = 32
    """Nested CBOR arrays, maps and tags."""
    json_bytes: int = 16 * 10**6
    """One JSON part: real ones have up to 2 kB, an appendix is the beamline's own."""
    pixels: int = 2**27
    """Of one image, one channel."""
    table_bytes: int = 1024 * 10**6
    """All flat fields and masks of one header together, decoded: compressed, they may be 200 times smaller."""
    channels: int = 64


DEFAULT = Limits()


def megabytes(max_message_mb: float) -> Limits:
    """Limits for the option `max_message_mb` (10^6 bytes)."""
    return Limits(message_bytes=int(max_message_mb * 1e6))
