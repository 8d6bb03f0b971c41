"""What is said once: that kernels are compiled, which takes some seconds, and what is odd about a scan."""

import logging
from functools import lru_cache
from pathlib import Path

from processors.shared import cache
from stream.codec.kept.machine import machine
from stream.versions import version

log = logging.getLogger("inbeam")


HERE = Path(__file__).parent


def announce(what: str, *variant: object, folder: Path = HERE) -> None:
    """Log a line if these kernels have not been compiled on this machine yet, in this version of numba and of ours.

    folder: where the sources of the kernels are.
    """
    sources = {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.py"))}
    about = {"machine": machine() or version("numba"), "sources": sources, "variant": variant}
    if cache.first_time(cache.key_of(about)):
        log.info("compiling %s: some seconds, the first time only", what)


@lru_cache(maxsize=256)
def tell(scan: str, text: str) -> None:
    """Log a warning about a scan once, though every worker comes by."""
    log.warning(text)
