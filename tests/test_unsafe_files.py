"""Input files that HDF5 crashes on, that ask for more memory than there is, or that name other files: none is read."""

import resource
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from stream.errors import BadMessage
from stream.events import Event, Frame, FrameStatus, Note
from stream.formats.hdf5.live import look
from stream.formats.hdf5.scans import scans
from stream.sources import files

IMAGES = np.random.default_rng(1).integers(0, 90, (4, 10, 12)).astype("u2")
READ = "import sys; from stream.formats.hdf5.scans import scans; [list(scan.events()) for scan in scans(sys.argv[1])]"


def virtual(path: Path, place: str, source: str, dataset: str) -> None:
    layout = h5py.VirtualLayout((4, 10, 12), "u2")
    layout[:] = h5py.VirtualSource(source, dataset, (4, 10, 12))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(place, layout)


def endless(path: Path, place: str) -> None:
    """A virtual dataset without an end that is its own source."""
    unlimited = h5py.h5s.UNLIMITED
    spaces = [h5py.h5s.create_simple((4, 10, 12), (unlimited, 10, 12)) for _ in range(3)]
    for space in spaces[:2]:
        space.select_hyperslab((0, 0, 0), (unlimited, 1, 1), block=(1, 10, 12))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(spaces[0], b".", place.encode(), spaces[1])
    with h5py.File(path, "a") as file:
        group, _, name = place.rpartition("/")
        h5py.h5d.create(file.require_group(group).id, name.encode(), h5py.h5t.NATIVE_UINT16, spaces[2], properties)


def events(path: Path, **options: Any) -> list[Event]:
    return list(files.create(files.Config(files=(str(path),), **options)).events())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["itself", "each other", "without an end", "deep"])
def test_a_virtual_dataset_that_leads_back_to_itself_does_not_take_the_process_down(tmp_path: Path, kind: str) -> None:
    path, place = tmp_path / "x.h5", "entry/data/data"
    if kind == "itself":
        virtual(path, place, "x.h5", place)
    elif kind == "each other":
        virtual(path, place, "y.h5", place)
        virtual(tmp_path / "y.h5", place, "x.h5", place)
    elif kind == "without an end":
        endless(path, place)
    else:
        for number in range(300):
            virtual(tmp_path / f"{number}.h5", place, f"{number + 1}.h5", place)
        path = tmp_path / "0.h5"
    found = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stderr
    words = "virtual datasets deep" if kind == "deep" else "leads back to itself"
    assert words in found.stderr and path.name in found.stderr
    for read in (scans, look):
        with pytest.raises(BadMessage, match=words):
            read(str(path))  # type: ignore[operator]


def test_a_virtual_dataset_beside_the_frames_that_leads_back_to_itself_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["entry/instrument/detector/data"] = IMAGES
    for place in ("entry/instrument/detector/pixel_mask", "entry/instrument/detector/timestamp", "entry/sample/omega"):
        virtual(path, place, ".", place)
    found = events(path, monitor="sample/omega")
    assert len([event for event in found if isinstance(event, Frame)]) == 4
    assert ["leads back to itself" in event.text for event in found if isinstance(event, Note)] == [True]


def test_virtual_datasets_of_virtual_datasets_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["d"] = IMAGES
    virtual(tmp_path / "y.h5", "d", "z.h5", "d")
    virtual(tmp_path / "x.h5", "entry/data/data", "y.h5", "d")
    assert len([event for event in events(tmp_path / "x.h5") if isinstance(event, Frame)]) == 4


def test_a_frame_that_is_larger_than_allowed_is_refused_before_a_byte_of_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("entry/data/data", (2, 60_000, 60_000), "u2", chunks=(1, 600, 600))
        data[0, :600, :600] = 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (note,) = events(tmp_path / "x.h5")
    assert isinstance(note, Note) and "frames of 60000 x 60000 uint16, 7200 MB" in note.text
    assert "`max_frame_mb` 1000" in note.text
    with pytest.raises(BadMessage, match="7200 MB"):
        look(str(tmp_path / "x.h5"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    (note,) = [event for event in events(tmp_path / "x.h5", max_frame_mb=1e-3) if isinstance(event, Note)]
    assert "0.001" in note.text


def test_other_scans_of_a_file_are_read_beside_one_that_is_too_large(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, shape in (("1.1", (1, 60_000, 60_000)), ("2.1", (3, 10, 12))):
            file.create_dataset(f"{name}/measurement/cam", shape, "u2", chunks=(1, 10, 12))[0, :10, :12] = 1
    found = events(tmp_path / "x.h5")
    assert [event.scan.rpartition("/")[2] for event in found if isinstance(event, Frame)] == ["2.1"]
    assert ["7200 MB" in event.text for event in found if isinstance(event, Note)] == [True]


def test_small_values_of_absurd_size_are_not_read_as_a_whole(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["entry/instrument/detector/data"] = IMAGES
        for name in ("count_time", "description", "saturation_value"):
            kind = "S64" if name == "description" else "f8"
            made = file.create_dataset(f"entry/instrument/detector/{name}", (2**33,), kind, chunks=(1024,))
            made[0] = b"EIGER" if kind == "S64" else 5.0
        file.create_dataset("entry/i0", (2**33,), "f8", chunks=(1024,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, *rest = events(tmp_path / "x.h5", monitor="i0")
    assert start.detector.count_time_s == 5.0 and start.detector.description == "EIGER"  # type: ignore[union-attr]
    assert ["too many" in event.text for event in rest if isinstance(event, Note)] == [True]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_pixels_that_are_kept_outside_of_hdf5_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(IMAGES.tobytes())
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", IMAGES.shape, "u2", external=[(str(secret), 0, IMAGES.nbytes)])
        file.create_dataset("entry/i0", (4,), "u8", external=[(str(secret), 0, 32)])
        file["other/data/data"] = IMAGES
        file["other"].attrs["NX_class"] = "NXentry"
        file.create_dataset("other/sample/omega", (4,), "u8", external=[(str(secret), 0, 32)])
    found = events(tmp_path / "x.h5", monitor="/entry/i0")
    frames = [event for event in found if isinstance(event, Frame)]
    assert len(frames) == 4 and all("omega" not in frame.readings for frame in frames)
    texts = [event.text for event in found if isinstance(event, Note)]
    assert ["kept outside of HDF5" in text and str(secret) in text for text in texts] == [True, True]


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("packing", [{}, {"compression": "gzip"}, {"shuffle": True, "compression": "gzip"}])
def test_a_checksum_of_hdf5_that_does_not_fit_makes_its_frame_corrupt(
    tmp_path: Path, packing: dict[str, Any], damaged: bool
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 10, 12), fletcher32=True, **packing)
        place, size = (lambda info: (info.byte_offset, info.size))(data.id.get_chunk_info(2))
    raw = bytearray((tmp_path / "x.h5").read_bytes())
    if damaged:
        raw[place + size - 6] ^= 1  # a pixel or the end of the zlib stream; the checksum are the last four bytes
        (tmp_path / "x.h5").write_bytes(raw)
    frames = [event for event in events(tmp_path / "x.h5") if isinstance(event, Frame)]
    corrupt = [frame.index for frame in frames if frame.status is FrameStatus.CORRUPT]
    assert (len(frames), corrupt) == (4, [2] if damaged else [])


def test_a_virtual_frame_with_a_module_that_was_not_written_is_corrupt_and_one_without_any_is_missing(
    tmp_path: Path,
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = h5py.VirtualLayout((6, 10, 24), "u2")
        for side, written in (("left", 4), ("right", 3)):
            half = file.create_dataset(side, (6, 10, 12), "u2", chunks=(1, 10, 12))
            half[:written] = IMAGES[:written]
            layout[:, :, slice(0, 12) if side == "left" else slice(12, 24)] = h5py.VirtualSource(half)
        file.create_virtual_dataset("entry/data/data", layout)
    frames = [event for event in events(tmp_path / "x.h5") if isinstance(event, Frame)]
    assert {frame.index: frame.status.name for frame in frames} == {
        **dict.fromkeys(range(3), "RECEIVED"),
        3: "CORRUPT",
    }
    assert "right does not have it" in frames[3].problem


def test_interleaved_sources_of_a_virtual_dataset_give_no_zeros_for_what_was_not_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = h5py.VirtualLayout((8, 10, 12), "u2")
        for writer in (0, 1):
            part = file.create_dataset(f"writer{writer}", (4, 10, 12), "u2", chunks=(1, 10, 12))
            part[: 4 - writer] = IMAGES[: 4 - writer]
            layout[writer::2] = h5py.VirtualSource(part)
        file.create_virtual_dataset("entry/data/data", layout)
    frames = [event for event in events(tmp_path / "x.h5") if isinstance(event, Frame)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_gzip_bomb_in_a_chunk_is_a_corrupt_frame(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 10, 12), compression="gzip")
        data.id.write_direct_chunk((1, 0, 0), zlib.compress(bytes(200_000_000)))
    (scan,) = scans(str(tmp_path / "x.h5"))
    states = {event.index: event.status.name for event in scan.events() if isinstance(event, Frame)}
    assert states == {0: "RECEIVED", 1: "CORRUPT", 2: "RECEIVED", 3: "RECEIVED"}
