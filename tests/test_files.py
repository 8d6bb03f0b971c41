"""The source `files`: recorded scans given by path become events, nothing is shifted, nothing is lost in silence."""

import shutil
import threading
from collections import Counter
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
from recordings import IMAGES, events, frames_of, only, texts_of, tiffs

from sinks import archive
from stream.errors import ConfigError
from stream.events import EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.sources import files
from stream.sources.captures import is_capture


def test_ninety_one_projections_are_one_scan_in_natural_order(shared: Path) -> None:
    folder = shared / "tomo/savu_24737_tiff/tiffs"
    start, *frames, end = events(folder)
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd)
    assert (start.uid, start.name, start.expected, end.announced) == (f"file:{folder}", "tiffs", 91, 91)
    assert (start.shape, start.dtype, end.status) == ((135, 160), np.dtype("u2"), EndStatus.COMPLETE)
    assert [frame.index for frame in frames] == list(range(91))
    for frame in frames[::30]:
        with fabio.open(str(folder / f"raw_{frame.index:05d}.tiff")) as image:
            np.testing.assert_array_equal(only(frame.payloads), image.data)


def test_files_given_out_of_order_come_as_given_and_patterns_come_in_natural_order(tmp_path: Path) -> None:
    tiffs(tmp_path / "a", [1, 2, 10])
    given = frames_of(events(tmp_path / "a/img_10.tif", tmp_path / "a/img_2.tif"))
    np.testing.assert_array_equal([only(frame.payloads) for frame in given], IMAGES[[1, 2]])
    found = frames_of(events(tmp_path / "a/*.tif"))
    np.testing.assert_array_equal([only(frame.payloads) for frame in found], IMAGES[[1, 2, 1]])


def test_numbers_in_names_leave_holes_where_files_are_missing(tmp_path: Path) -> None:
    tiffs(tmp_path / "a", [3, 4, 7])
    start, *frames, end = events(tmp_path / "a", number="name")
    assert [frame.index for frame in frames] == [0, 1, 4]
    assert start.expected == end.announced == 5
    _, *frames, end = events(tmp_path / "a", number="name", first_number=1)
    assert [frame.index for frame in frames] == [2, 3, 6] and end.announced == 7


def test_a_pattern_chooses_the_number_and_a_number_that_comes_twice_is_reported(tmp_path: Path) -> None:
    tiffs(tmp_path / "a", [2, 5], "map_{}_P1_001.tif")
    assert [frame.index for frame in frames_of(events(tmp_path / "a", number="name", pattern=r"map_(\d+)"))] == [0, 3]
    found = events(tmp_path / "a", number="name", series="folder")
    assert len(frames_of(found)) == 1
    assert ["has the same number 1" in text for text in texts_of(found)] == [True]


def test_images_of_two_folders_are_two_scans(tmp_path: Path) -> None:
    paths = tiffs(tmp_path / "one", [0, 1]) + tiffs(tmp_path / "two", [2, 3, 4])
    starts = [event for event in events(*paths) if isinstance(event, ScanStart)]
    assert [(start.name, start.expected) for start in starts] == [("one", 2), ("two", 3)]


def test_a_damaged_file_is_a_corrupt_frame_at_its_place_and_the_rest_goes_on(tmp_path: Path) -> None:
    paths = tiffs(tmp_path / "a", [0, 1, 2, 3])
    for path in (paths[0], paths[2]):
        path.write_bytes(path.read_bytes()[:150])
    _, *frames, end = events(tmp_path / "a")
    states = {frame.index: (frame.status.name, bool(frame.payloads)) for frame in frames}
    corrupt, received = ("CORRUPT", False), ("RECEIVED", True)
    assert states == {0: corrupt, 1: received, 2: corrupt, 3: received}
    assert next(frame for frame in frames if frame.index == 2).problem.startswith(str(paths[2]))
    assert end.announced == 4


def test_an_image_of_another_shape_or_type_is_a_corrupt_frame(tmp_path: Path) -> None:
    tiffs(tmp_path / "a", [0, 1, 2])
    fabio.tifimage.TifImage(data=IMAGES[1][:5]).write(str(tmp_path / "a/img_1.tif"))
    fabio.tifimage.TifImage(data=IMAGES[2].astype("f4")).write(str(tmp_path / "a/img_2.tif"))
    frames = frames_of(events(tmp_path / "a"))
    assert [frame.status for frame in frames] == [FrameStatus.RECEIVED, FrameStatus.CORRUPT, FrameStatus.CORRUPT]
    assert "has (5, 16) uint16, but the scan began with (12, 16) uint16" in frames[1].problem
    assert "float32" in frames[2].problem


def test_images_none_of_which_can_be_read_are_one_note(tmp_path: Path) -> None:
    for path in tiffs(tmp_path / "a", [0, 1, 2, 3, 4]):
        path.write_bytes(b"")
    (note,) = events(tmp_path / "a")
    assert isinstance(note, Note)
    assert "img_0.tif" in note.text and note.text.endswith("and 2 more")


def test_frames_of_a_file_with_several_are_expanded_and_a_lost_one_is_a_hole(tmp_path: Path) -> None:
    for number in range(2):
        edf = fabio.edfimage.EdfImage(data=IMAGES[3 * number], header={"time_of_day": f"{100 + number}"})
        for place in (1, 2):
            edf.append_frame(data=IMAGES[3 * number + place])
        edf.write(str(tmp_path / f"s_{number}.edf"))
    start, *frames, _ = events(tmp_path)
    assert start.expected == 6
    np.testing.assert_array_equal([only(frame.payloads) for frame in frames], IMAGES[:6])
    assert (frames[0].detector_time, frames[3].detector_time) == (100.0, 101.0)
    first = tmp_path / "s_0.edf"
    first.write_bytes(first.read_bytes()[:-30])
    states = {frame.index: frame.status.name for frame in frames_of(events(tmp_path))}
    assert states == {0: "RECEIVED", 1: "RECEIVED", 2: "CORRUPT", 3: "RECEIVED", 4: "RECEIVED", 5: "RECEIVED"}


def test_every_file_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = files.Config(files=(str(tmp_path / "no.h5"), str(tmp_path / "*.cbf"), str(tmp_path / "empty")))
    with pytest.raises(ConfigError) as caught:
        files.create(config)
    assert [place for place, _ in caught.value.problems] == ["stream.files[0]", "stream.files[1]", "stream.files[2]"]
    assert "no.h5 is not there" in str(caught.value) and "holds no HDF5 file, image or capture" in str(caught.value)


def test_a_damaged_hdf5_file_is_noted_and_the_next_one_read(tmp_path: Path, shared: Path) -> None:
    good = shared / "streams/dectris_h5-testfiles/eiger2_simread7_2datafiles_4images_bslz4_data_000001.h5"
    bad = tmp_path / "bad.h5"
    bad.write_bytes(good.read_bytes()[:3000])
    found = events(bad, good)
    assert ["bad.h5" in text for text in texts_of(found)] == [True] and len(frames_of(found)) == 2


def test_data_files_beside_their_master_are_not_read_twice(shared: Path) -> None:
    found = events(shared / "powder/i15_1_eiger2_cdte500k/i15-1-100614*.[hn][5x]*")
    starts = [event.name for event in found if isinstance(event, ScanStart)]
    assert starts == ["i15-1-100614"] and len(frames_of(found)) == 10
    assert len(texts_of(found)) == 1 and "i0.h5 holds no frames" in texts_of(found)[0]


def test_every_scan_of_a_bliss_file_has_a_uid_of_its_own(shared: Path) -> None:
    path = shared / "filewatch/esrf_id11_demoh5/demoh5_dataset/demoh5_dataset.h5"
    starts = [event for event in events(path) if isinstance(event, ScanStart)]
    assert [start.uid for start in starts] == [f"file:{path}::/1.1", f"file:{path}::/2.1"]
    assert [start.name for start in starts] == ["demoh5_dataset_1.1", "demoh5_dataset_2.1"]


def test_a_scan_of_a_file_that_cannot_be_reached_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["1.1/measurement/cam"] = IMAGES
        file["1.1"].attrs["NX_class"] = "NXentry"
        file["2.1"] = h5py.ExternalLink("gone.h5", "/2.1")
    found = events(tmp_path / "x.h5")
    assert len(frames_of(found)) == 9
    assert ["gone.h5" in text and text.startswith("left out") for text in texts_of(found)] == [True]


def test_the_source_of_a_scan_that_is_linked_to_is_the_file_that_holds_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "inner.h5", "w") as file:
        file["1.1/measurement/cam"] = IMAGES
        file["1.1"].attrs["NX_class"] = "NXentry"
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["inner_1.1"] = h5py.ExternalLink("inner.h5", "/1.1")
    start = events(tmp_path / "x.h5")[0]
    assert (start.name, start.source) == ("x_inner_1.1", f"{tmp_path}/inner.h5::/1.1/measurement/cam")


def test_a_capture_among_the_files_is_played_by_the_capture_source(shared: Path) -> None:
    found = events(shared / "streams/streaming-receiver/derived_dectris_stream2_plain.cborseq.gz")
    assert Counter(type(event).__name__ for event in found) == {"ScanStart": 1, "Frame": 10, "ScanEnd": 1}


def test_a_capture_that_cannot_be_read_or_has_vanished_is_told_and_the_next_file_is_taken(tmp_path: Path) -> None:
    damaged, vanished = tmp_path / "damaged.zip", tmp_path / "vanished.cbors"
    for path in (damaged, vanished):
        path.write_bytes(b"PK\x03\x04 no archive at all")
    source = files.create(files.Config(files=(str(damaged), str(vanished), *map(str, tiffs(tmp_path / "a", [0, 1])))))
    vanished.unlink()
    found = list(source.events())
    first, second = texts_of(found)
    assert "damaged.zip: the zip archive cannot be read" in first and "vanished.cbors is not there" in second
    assert len(frames_of(found)) == 2


def test_a_capture_without_an_extension_is_known_by_its_first_byte(tmp_path: Path, shared: Path) -> None:
    shutil.copy(
        shared / "streams/dectris_h5-testfiles/eiger1_testmode10_2datafiles_4images_lz4_data_000001.h5", tmp_path
    )
    (tmp_path / "recorded").write_bytes(b"\x81\x41\x00")
    assert is_capture(str(tmp_path / "recorded"))
    assert not any(is_capture(str(path)) for path in tmp_path.glob("*.h5"))


def test_closing_ends_the_scan_in_hand_as_stopped_and_reads_no_further(tmp_path: Path) -> None:
    tiffs(tmp_path / "a", list(range(8)))
    source = files.create(files.Config(files=(str(tmp_path / "a"),)))
    found = []
    for event in source.events():
        found.append(event)
        if isinstance(event, Frame) and event.index == 3:
            source.close()
    assert len(frames_of(found)) == 4
    assert isinstance(found[-1], ScanEnd) and found[-1].status is EndStatus.STOPPED


def test_a_monitor_beside_the_images_gives_each_frame_its_reading(tmp_path: Path) -> None:
    tiffs(tmp_path / "a", [0, 1, 2])
    with h5py.File(tmp_path / "a/i0.h5", "w") as file:
        file["readings"] = [3.0, 5.0, 7.0]
    found = events(tmp_path / "a/*.tif", monitor="i0.h5::/readings")
    assert [frame.monitor for frame in frames_of(found)] == [3.0, 5.0, 7.0]
    found = events(tmp_path / "a/*.tif", monitor="i0.h5::/nowhere")
    assert "has no numbers at /nowhere: correct `monitor`" in texts_of(found)[0] and len(frames_of(found)) == 3


def test_reading_goes_on_while_another_thread_holds_the_lock_of_h5py(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 12, 16), **hdf5plugin.Bitshuffle())
    reading = files.create(files.Config(files=(str(path),))).events()
    taken = [next(reading), next(reading)]  # the file is open, the first frame is read
    got: list[Event] = []
    thread = threading.Thread(target=lambda: got.extend(next(reading) for _ in range(8)), name="inbeam-test")
    with h5py._objects.phil:
        thread.start()
        thread.join(timeout=30)
        free = not thread.is_alive()
    thread.join()
    reading.close()
    assert free, "a frame waited for h5py's lock"
    assert [frame.index for frame in frames_of(taken + got)] == list(range(9))


def test_an_archive_of_ours_reads_back_as_it_was_written(tmp_path: Path, shared: Path) -> None:
    recorded = shared / "streams/streaming-receiver/derived_dectris_stream2_plain.cborseq.gz"
    start, *frames, end = events(recorded)
    sink = archive.create(archive.Config(path=str(tmp_path / "a.h5")))
    sink.start(start, ())
    kept = [frame for frame in frames if frame.index != 4]
    for frame in kept:
        sink.write(frame)
    states = {FrameStatus.RECEIVED: 9, FrameStatus.MISSING: 1}
    sink.finish(ScanEnd(end.scan, announced=10, expected=10, counts=states))
    sink.close()
    again, *read, _ = events(tmp_path / "a.h5")
    assert (again.shape, again.dtype, again.channels, again.expected) == (start.shape, start.dtype, start.channels, 10)
    assert [frame.index for frame in read] == [frame.index for frame in kept]
    channel = start.channels[0]
    for back, frame in zip(read, kept, strict=True):
        assert bytes(back.payloads[channel].data) == bytes(frame.payloads[channel].data)
        assert back.detector_time == pytest.approx(frame.detector_time, nan_ok=True)
    for name in ("wavelength_angstrom", "distance_m", "pixel_size_x_m", "beam_center_x_px", "count_time_s"):
        wanted = getattr(start.detector, name)
        assert getattr(again.detector, name) == (pytest.approx(wanted) if wanted else None), name
    np.testing.assert_array_equal(again.detector.pixel_mask[channel], start.detector.pixel_mask[channel])


def test_an_archive_that_is_still_written_ends_as_aborted_not_as_complete(tmp_path: Path, shared: Path) -> None:
    recorded = shared / "streams/streaming-receiver/derived_dectris_stream2_plain.cborseq.gz"
    start, *frames, end = events(recorded)
    path = tmp_path / "a.h5"
    sink = archive.create(archive.Config(path=str(path), flush_frames=1))
    sink.start(start, ())
    for frame in frames[:4]:
        sink.write(frame)
    *_, half = events(path)
    assert isinstance(half, ScanEnd) and half.status is EndStatus.ABORTED
    assert f"{path} has not been closed by its writer" in half.notes[0]
    for frame in frames[4:]:
        sink.write(frame)
    sink.finish(ScanEnd(end.scan, announced=10, expected=10, counts={FrameStatus.RECEIVED: 10}))
    sink.close()
    *read, whole = events(path)
    assert isinstance(whole, ScanEnd) and (whole.status, whole.notes) == (EndStatus.COMPLETE, ())
    assert len(frames_of(read)) == 10


def test_files_with_damaged_headers_are_noted_and_never_end_the_run(tmp_path: Path) -> None:
    """The local heap, the symbol table and the B-tree of an HDF5 file are struck out in turn."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 12, 16), **hdf5plugin.Bitshuffle())
    whole = path.read_bytes()
    for mark in (b"HEAP", b"SNOD", b"TREE"):
        damaged = tmp_path / f"{mark.decode()}.h5"
        damaged.write_bytes(whole.replace(mark, b"\xff\xff\xff\xff"))
        found = events(damaged, path)
        assert [damaged.name in text for text in texts_of(found)] == [True], mark
        assert len(frames_of(found)) == 9
