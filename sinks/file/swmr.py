"""A growing HDF5 file that keeps the SWMR rules by itself, because HDF5 does not.

After `swmr_mode = True` h5py lets a writer create datasets, groups, attributes and links; no live reader ever sees
them and they are gone after a crash. So everything is declared first (`layout`), `start` checks it, and afterwards
only rows are written and flushed. Each run-time value is a chunked dataset, never an attribute.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from sinks.file import detach, full_disk
from sinks.file.advice import failing, reason
from sinks.file.columns import Cell, Flat, Rows
from sinks.file.locks import Held, Lock
from sinks.file.storage import BITSHUFFLE, COMPRESS_FROM_BYTES, fill_of, refuse_unreadable
from stream.claim import Claim, Taken
from stream.errors import SinkFailed

CHUNK_CACHE_BYTES = 262_144
"""Per dataset; a scan file has some twenty, and whole chunks pass the cache by."""


def new_file(claim: Claim, **options: Any) -> Any:
    """The h5py.File in a claimed file, with these options of h5py. Raises OSError."""
    try:
        return h5py.File(claim.reachable, "w", **options)
    except BlockingIOError:  # over a network one lock may stand for both kinds: ours is in HDF5's way
        return h5py.File(claim.reachable, "w", locking=False, **options)


class Moved(SinkFailed):
    """The file is not where it was: it can still be written and closed, but nobody would find it."""


class NameTaken(SinkFailed):
    """Another process makes a file of this name just now, or has made it: choose another name."""


class SwmrFile:
    """One HDF5 file being written, SWMR-readable from `start` on. Used by one thread.

    create: a new file under the temporary name `.<name>.new`; `start` moves it to `path`. So whatever has the final
    name is complete in its layout and can be repaired after a kill. reopen: an existing file, closed properly.
    """

    def __init__(
        self,
        path: Path,
        file: Any,
        *,
        claim: Claim | None = None,
        lock: Lock | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = path
        self.started = False
        self._overwrite = overwrite
        self._file = file
        self._claim = claim
        self._inode = 0
        self._descriptor: int = file.id.get_vfd_handle()
        self._opened = detach.identity(self._descriptor)
        self._lock = lock or Lock()

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        layout_bytes: int = full_disk.LAYOUT_BYTES,
        alignment_bytes: int = 1,
        overwrite: bool = False,
    ) -> "SwmrFile":
        """Begin a new file; nothing called `path` is touched before `start`. Raises NameTaken, SinkFailed.

        layout_bytes: at most so much is written before `start`; there is room for it, or this fails. overwrite: there
        may be a file of this name, which `start` replaces.
        """
        with failing(path, "create"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                claim = Claim.take(path)
            except Taken as error:
                raise NameTaken(f"cannot create {path}: {error.strerror}") from error
            try:
                # whoever held the name before may have published his file meanwhile
                if os.path.lexists(path) and not overwrite:
                    raise NameTaken(f"cannot create {path}: a file of this name is there already")
                full_disk.take(claim.descriptor, layout_bytes)
                file = new_file(
                    claim,
                    libver="v110",
                    rdcc_nbytes=CHUNK_CACHE_BYTES,
                    alignment_threshold=max(4096, alignment_bytes),
                    alignment_interval=alignment_bytes,
                )
                full_disk.take(file.id.get_vfd_handle(), layout_bytes)
            except BaseException:
                claim.release()
                raise
        return cls(path, file, claim=claim, overwrite=overwrite)

    @classmethod
    def reopen(cls, path: Path, lock: Lock | None = None) -> "SwmrFile":
        """Go on with an existing file; it must have been repaired if its writer was killed. Raises SinkFailed.

        lock: one that owns the file already.
        """
        with failing(path, "reopen"):
            if lock is None:
                lock = Lock()
                lock.own(path)
            try:
                lock.hand_over()
                try:
                    file = h5py.File(path, "r+", libver="v110", rdcc_nbytes=CHUNK_CACHE_BYTES)
                except BlockingIOError as error:  # a reader was quicker
                    raise Held(path) from error
            except BaseException:
                lock.release()
                raise
            return cls(path, file, lock=lock)

    @property
    def layout(self) -> Any:
        """The h5py.File, to declare groups, datasets, attributes and links in. Raises RuntimeError after `start`."""
        if self.started:
            raise RuntimeError(f"{self.path} is SWMR-readable: nothing can be declared any more, do it before `start`")
        return self._file

    def rows(
        self,
        path: str,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        fill: Any = None,
        attributes: Mapping[str, Any] = MappingProxyType({}),
    ) -> "Rows":
        """Declare a dataset (frames, *shape) that grows by frames; compressed, one chunk a row, if rows are long."""
        dtype = np.dtype(dtype)
        row_bytes = max(1, dtype.itemsize * math.prod(shape))
        packed = row_bytes >= COMPRESS_FROM_BYTES
        chunk = (1 if packed else max(1, 8192 // row_bytes), *shape)
        dataset = self.layout.create_dataset(
            path,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=chunk,
            dtype=dtype,
            fillvalue=fill_of(dtype) if fill is None else fill,
            **(BITSHUFFLE if packed else {}),
        )
        dataset.attrs.update(attributes)
        return Rows(dataset)

    def reopened_rows(self, path: str) -> "Rows":
        """The Rows of a dataset that is there already."""
        return Rows(self._file[path])

    def flat(
        self,
        path: str,
        dtype: Any,
        *,
        chunk: int = 16_384,
        attributes: Mapping[str, Any] = MappingProxyType({}),
    ) -> "Flat":
        """Declare a one-dimensional compressed dataset that grows by any number of elements at a time."""
        dataset = self.layout.create_dataset(
            path, shape=(0,), maxshape=(None,), chunks=(chunk,), dtype=dtype, fillvalue=0, **BITSHUFFLE
        )
        dataset.attrs.update(attributes)
        return Flat(dataset)

    def reopened_flat(self, path: str, length: int | None = None) -> "Flat":
        """The Flat of a dataset that is there already; what lies behind `length` is written over."""
        return Flat(self._file[path], length)

    def cell(self, path: str, value: Any, dtype: Any = None) -> "Cell":
        """Declare one value that changes while the file grows: a chunked dataset (1,)."""
        first = np.array([value], dtype=dtype)
        return Cell(self.layout.create_dataset(path, data=first, chunks=(1,), maxshape=(1,)))

    def reopened_cell(self, path: str) -> "Cell":
        """The Cell of a dataset that is there already."""
        return Cell(self._file[path])

    def start(self) -> None:
        """The layout is complete: check it, give the file its name, let readers in. Raises SinkFailed."""
        with failing(self.path, "create"):
            refuse_unreadable(self._file)
            self._file.flush()
            self._file.swmr_mode = True
            if self._claim is not None:
                self._claim.publish(overwrite=self._overwrite)
            self._inode = os.fstat(self._descriptor).st_ino
            self.started = True
            full_disk.give_back(self._descriptor)
            self._lock.share(self.path, self._claim.descriptor if self._claim is not None else None)
            self._release()

    def check_place(self) -> None:
        """Raises Moved if the file was deleted or moved: writing on would go into a file that nobody finds."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError as error:
            raise Moved(f"cannot write {self.path}: {reason(error)}") from error
        if inode != self._inode:
            raise Moved(f"cannot write {self.path}: someone replaced the file while it was being written")

    def abandon(self) -> bool:
        """After a failure: leave the file on disk as a kill would, and let HDF5 end its business with nothing.

        False if HDF5 cannot close even so: the caller has to keep everything that belongs to this file alive.
        """
        self._lock.release()
        detach.detach(self._descriptor, self._opened)
        self._release()
        try:
            self._file.close()
        except (OSError, RuntimeError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Close the file; one that was never started is deleted. Raises SinkFailed if HDF5 cannot write its end."""
        try:
            with failing(self.path, "close"):
                self._file.close()
        finally:
            self._lock.release()
            self._release()

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None
