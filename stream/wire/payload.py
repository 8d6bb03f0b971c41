"""From the encoded bytes of one channel to its pixels. Sizes are checked before anything is allocated or decoded."""

from stream.events import Array, Payload


def decode(payload: Payload, out: Array | None = None) -> Array:
    """Decode into `out` (rows, columns), native byte order, C-contiguous; a new array where None.

    Raises CorruptPayload if the bytes do not decode to exactly shape and dtype.
    """
    raise CorruptPayload
