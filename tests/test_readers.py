"""A new kind of file is one module and one line; whatever a reader raises costs what it reads, not the run."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import pytest

from stream.codec.payload import decode
from stream.events import Array, Encoding, EndStatus, Event, Frame, Note, Payload, ScanEnd, ScanStart
from stream.formats.hdf5 import growing, locate, scans
from stream.formats.hdf5.located import Located
from stream.formats.images import file as images
from stream.formats.images.file import Format
from stream.formats.reader import Choice, Recording
from stream.sources import files, readers, watch

IMAGES = np.random.default_rng(3).integers(0, 60, (6, 9, 13)).astype("u2")


class Npz:
    """A kind of file of its own: all frames of a scan in one numpy archive."""

    grows = False

    def named(self, name: str) -> bool:
        return False

    def knows(self, path: str) -> bool:
        return path.endswith(".npz")

    def leads(self, path: str) -> bool:
        return False

    def together(self, paths: Sequence[str], choice: Choice) -> Iterator[Recording]:
        return (Recording((path,)) for path in paths)

    def parts(self, path: str) -> Iterable[str]:
        return ()

    def events(self, recording: Recording, choice: Choice) -> Iterator[Event]:
        (path,) = recording.paths
        stack = np.load(path)["frames"]
        yield ScanStart(path, choice.name or Path(path).stem, (9, 13), stack.dtype, ("default",), len(stack), None, 0.0)  # type: ignore[arg-type]
        for index, image in enumerate(stack):
            yield Frame(path, index, {"default": Payload(image.tobytes(), Encoding.RAW, (9, 13), image.dtype)}, 0.0)
        yield ScanEnd(path, announced=len(stack))

    def close(self) -> None:
        pass


class Npy:
    """A format of images: one or several in a file, as numpy saves them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stack = np.atleast_3d(np.load(file).T).T
        self.frames = len(self._stack)

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        return self._stack[place], {"omega": 0.5 * place}

    def close(self) -> None:
        self._file.close()


NPY = Format((".npy",), lambda head, name: head.startswith(b"\x93NUMPY"), lambda file, path, packed: Npy(file))


def events(*paths: Path, **options: Any) -> list[Event]:
    return list(files.create(files.Config(files=tuple(map(str, paths)), **options)).events())


def pixels(found: list[Event]) -> list[Array]:
    return [decode(event.payloads["default"]) for event in found if isinstance(event, Frame)]


def test_a_new_kind_of_file_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", frames=IMAGES)
    monkeypatch.setattr(readers, "READERS", (Npz, *readers.READERS))
    start, *frames, end = events(tmp_path, name="mine")
    assert isinstance(start, ScanStart) and start.name == "mine" and isinstance(end, ScanEnd)
    np.testing.assert_array_equal(pixels(frames), IMAGES)


def test_a_new_format_of_images_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FORMATS", (NPY, *images.FORMATS))
    for number in range(3):
        np.save(tmp_path / f"a_{number}.npy", IMAGES[2 * number : 2 * number + 2])
    found = events(tmp_path)
    np.testing.assert_array_equal(pixels(found), IMAGES)
    assert [frame.readings["omega"] for frame in found if isinstance(frame, Frame)] == [0.0, 0.5] * 3
    source = watch.create(watch.Config(type="watch", folder=str(tmp_path), events="poll", settle_s=1.0))
    seen = [*source.begin(source.folder.look(), 0.0), *source.step([], 2.0), *source.step([], 4.0)]
    np.testing.assert_array_equal(pixels(seen), IMAGES)


def test_a_file_of_no_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no frames")
    (note,) = events(tmp_path / "notes.txt")
    assert isinstance(note, Note) and "notes.txt is neither an image, an HDF5 file nor a capture" in note.text


def test_files_are_read_in_the_order_of_the_first_of_each_recording(tmp_path: Path) -> None:
    for name in ("b", "a"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["entry/data/data"] = IMAGES[:1]
    for number in (1, 2):
        np.save(tmp_path / f"{number}.npy", IMAGES[0])
    found = events(tmp_path / "b.h5", tmp_path / "1.npy", tmp_path / "a.h5")
    told = [event for event in found if isinstance(event, ScanStart | Note)]
    assert [event.name if isinstance(event, ScanStart) else "?" for event in told] == ["b", "?", "a"]


class Odd(Exception):
    """What no library is known to raise."""


@pytest.mark.parametrize("error", [Odd("who knows"), ZeroDivisionError(), struct.error("short"), RecursionError()])
def test_whatever_a_reader_raises_costs_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["entry/data/data"] = IMAGES[:2]
    genuine = locate._entries

    def entries(file: h5py.File) -> list[str]:
        if file.filename.endswith("a.h5"):
            raise error
        return genuine(file)

    monkeypatch.setattr(locate, "_entries", entries)
    found = events(tmp_path / "a.h5", tmp_path / "b.h5")
    assert ["a.h5" in event.text for event in found if isinstance(event, Note)] == [True]
    assert [event.name for event in found if isinstance(event, ScanStart)] == ["b"]
    source = watch.create(watch.Config(type="watch", folder=str(tmp_path), events="poll", settle_s=1.0, give_up_s=5.0))
    seen = [event for now in range(12) for event in source.step(source.folder.look(), float(now))]
    assert [event.name for event in seen if isinstance(event, ScanStart)] == ["b"]
    assert ["set aside" in event.text for event in seen if isinstance(event, Note)] == [True]


def test_whatever_a_reader_raises_in_the_middle_of_a_scan_ends_that_scan_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("entry/data/data", data=IMAGES[:3], chunks=(1, 9, 13))

    def one_frame(located: Located, found: Mapping[str, Payload]) -> dict[str, Payload]:
        if located.file.endswith("a.h5"):
            raise Odd("in the middle")
        return dict(found)

    monkeypatch.setattr(scans, "one_frame", one_frame)
    found = events(tmp_path / "a.h5", tmp_path / "b.h5")
    ends = [event.status for event in found if isinstance(event, ScanEnd)]
    assert ends == [EndStatus.ABORTED, EndStatus.COMPLETE]
    assert ["in the middle" in event.text for event in found if isinstance(event, Note)] == [True]
    monkeypatch.setattr(growing, "one_frame", one_frame)
    monkeypatch.setattr(growing, "UNREADY", (OSError,))
    source = watch.create(watch.Config(type="watch", folder=str(tmp_path), events="poll", settle_s=1.0))
    seen = [event for now in range(9) for event in source.step(source.folder.look(), float(now))]
    assert [event.status for event in seen if isinstance(event, ScanEnd)] == [EndStatus.ABORTED, EndStatus.COMPLETE]
