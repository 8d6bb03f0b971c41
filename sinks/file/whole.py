"""An HDF5 file that is written at one go: it is there whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from sinks.file import detach
from sinks.file.advice import ADVICE, reason
from stream.errors import SinkFailed


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[h5py.File]:
    """To be written in the block; it lies beside `path` until it is complete, and then takes its place.

    Raises SinkFailed where the disk is full or does not let itself be written; what else is raised goes through. Either
    way nothing is left.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with told(path):
            made = Made(part)
            try:
                yield made.file
                made.close()
            except BaseException:
                made.let_go()
                raise
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class Made:
    """A new HDF5 file that can be thrown away although HDF5 may not be able to write it (see `detach`)."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.file = h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fapl=_access()))
        self._descriptor: int = self.file.id.get_vfd_handle()
        self._opened = detach.identity(self._descriptor)

    def close(self) -> None:
        """Raises OSError or RuntimeError; then let go of it."""
        self.file.flush()  # what fails in closing leaves HDF5 with objects that nobody can close
        self.file.close()

    def let_go(self) -> None:
        """Close it, whatever becomes of its content; nothing once it is closed."""
        detach.detach(self._descriptor, self._opened)
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self.file.close()


def _access() -> Any:
    """Without buffers: what does not fit on the disk is told by the write, not in the silence of a dataset's end, after
    which HDF5 crashes. Whole chunks pass them by anyway."""
    found = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    found.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    found.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    found.set_cache(0, 0, 0, 0.75)
    found.set_sieve_buf_size(0)
    return found


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """A disk that cannot be written is SinkFailed, which names `path`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = reason(error)
        if cause not in ADVICE.values():
            raise
        raise SinkFailed(f"cannot write {path}: {cause.partition(',')[0]}") from error
