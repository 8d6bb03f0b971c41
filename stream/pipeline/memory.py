"""Frames come and go by the megabyte: their memory is kept, instead of given back to the system and fetched again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Tell glibc's malloc to reuse freed blocks of a frame's size; nothing elsewhere.

    By default it unmaps each of them, and the kernel clears the pages anew for the next frame: 250 against 40 µs of
    CPU per 1.4 MB frame read from a file. What is held stays bounded by the queues.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 0x7FFFFFFF)
