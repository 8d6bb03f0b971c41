"""Every source of ours does what every source must do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fabio
import h5py
import hdf5plugin
from sending import FRAMES, IMAGES, SIMPLON, STREAM2, Socket, source

from stream.roles import Source
from stream.testing import SourceConformance
from stream.wire.capture import Writer


class TestStream2(Socket):
    kind = "stream2"
    messages = STREAM2


class TestSimplon(Socket):
    kind = "simplon"
    messages = SIMPLON
    identifies = False


class TestCapture(SourceConformance):
    frames = FRAMES

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        path = folder / "recorded.cbors"
        if not path.exists():
            writer = Writer(path, "tcp://127.0.0.1:9999")
            for number, parts in enumerate(STREAM2):
                writer.write(parts, 1.7e9 + 0.25 * number)
            writer.close()
        yield source("capture", file=path)


class TestFiles(SourceConformance):
    """Two scans: an HDF5 file, and the images of a folder."""

    frames = FRAMES

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        write_hdf5(folder)
        write_images(folder)
        yield source("files", files=[str(folder / "scan.h5"), str(folder / "images")])


class TestWatchOfHdf5(SourceConformance):
    frames = FRAMES
    ends = False

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        write_hdf5(folder)
        yield source("watch", folder=str(folder), poll_s=0.05, settle_s=0.05)


class TestWatchOfImages(SourceConformance):
    frames = FRAMES
    ends = False

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        write_images(folder)
        yield source("watch", folder=str(folder), poll_s=0.05, settle_s=0.05, scan_files=FRAMES)


def write_hdf5(folder: Path) -> None:
    """A complete recorded scan of FRAMES frames."""
    if not (folder / "scan.h5").exists():
        with h5py.File(folder / "scan.h5", "w") as file:
            file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 9, 13), **hdf5plugin.Bitshuffle())


def write_images(folder: Path) -> None:
    """The same frames as the images of one folder."""
    (folder / "images").mkdir(exist_ok=True)
    for number, pixels in enumerate(IMAGES):
        path = folder / "images" / f"img_{number}.tif"
        if not path.exists():
            fabio.tifimage.TifImage(data=pixels).write(str(path))
