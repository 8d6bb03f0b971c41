"""All the room of a new file at once: a page of a mapped file for which the disk has no room ends the process."""

import os
import sys

BLOCK = bytes(1 << 20)


def take_room(number: int, size: int) -> None:
    """number: a descriptor of an empty file. size: in bytes. Raises OSError where the disk has no room."""
    if sys.platform == "linux":
        os.posix_fallocate(number, 0, size)
    else:
        fill(number, size)


def fill(number: int, size: int) -> None:
    """As `take_room`, by zeros: macOS has no posix_fallocate."""
    done = 0
    while done < size:
        done += os.write(number, BLOCK[: size - done])
