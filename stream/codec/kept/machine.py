"""What machine code depends on beside its source: the processor, the interpreter, the versions of those who made it."""

import os
import platform
import struct
import sys
import sysconfig
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from stream.versions import version

MAKERS = ("entry.py", "elf.py", "code.py", "forms.py", "loading.py")
"""Whose work is in a kept file beside that of numba."""
ABOUT_A_PROCESSOR = 8192
"""Bytes of /proc/cpuinfo that surely describe one processor whole."""


@cache
def machine() -> str | None:
    """A fingerprint of this machine and these versions; None where code is not kept: it is compiled, or loaded by
    numba, as ever.

    Kept where the layout of objects is known: CPython with its usual lock on Linux, x86-64. (On AArch64 LLVM spreads
    an address over several instructions.)
    """
    known = sys.platform == "linux" and platform.machine() == "x86_64" and struct.calcsize("P") == 8
    usual = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    if not known or not usual or hasattr(sys, "gettotalrefcount") or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return None
    try:
        versions = [version(name) for name in ("numba", "llvmlite", "numpy")]
        processor = _processor()
        makers = [sha256(Path(__file__).with_name(name).read_bytes()).hexdigest() for name in MAKERS]
    except (PackageNotFoundError, OSError, ValueError):
        return None
    chosen = sorted((name, value) for name, value in os.environ.items() if name.startswith("NUMBA_"))
    kept = [pair for pair in chosen if pair[0] != "NUMBA_CACHE_DIR"]
    about = (makers, sys.version, sys.implementation.cache_tag, versions, processor, kept)
    return sha256(repr(about).encode()).hexdigest()


def _processor() -> list[str]:
    """Model and instruction sets. Raises OSError, and ValueError where they are not told."""
    with Path("/proc/cpuinfo").open("rb") as file:
        first, end, _ = file.read(ABOUT_A_PROCESSOR).partition(b"\n\n")
    wanted = (b"vendor_id", b"cpu family", b"model", b"stepping", b"flags")
    told = [line.decode() for line in first.splitlines() if line.startswith(wanted)]
    if not end or not any(line.startswith("flags") for line in told):
        raise ValueError("/proc/cpuinfo does not describe the processor")
    return told
