"""Machine code that stands alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """Bytes of code and constants; `start`: where it is entered. At each offset in `own` stand 8 bytes to which the
    address of the whole is to be added; at each in `named`, 8 to which that of what has this name is."""

    content: bytes
    start: int
    own: tuple[int, ...]
    named: tuple[tuple[int, str], ...]
