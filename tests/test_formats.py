"""Readers of recorded files: the frames of every layout, and what the headers say of detector and beam."""

import bz2
import gzip
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest

from stream.codec.payload import decode
from stream.errors import BadMessage, CorruptPayload
from stream.events import Encoding, Frame, Note, ScanEnd, ScanStart
from stream.formats.hdf5 import scans as hdf5
from stream.formats.hdf5.chunks import Stack
from stream.formats.hdf5.locate import locate
from stream.formats.images import file as images
from stream.formats.images.header import describe
from stream.formats.natural import natural, number_in, stem

IMAGES = np.random.default_rng(7).integers(0, 50, (12, 10, 14)).astype("u2")

LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (1, 10, 14)},
    "gzip": {"chunks": (1, 10, 14), "compression": "gzip"},
    "shuffle and gzip": {"chunks": (1, 10, 14), "compression": "gzip", "shuffle": True},
    "several frames per chunk": {"chunks": (5, 10, 14), "compression": "gzip"},
    "tiles": {"chunks": (1, 5, 7)},
    "bslz4": {"chunks": (1, 10, 14), **hdf5plugin.Bitshuffle()},
    "bitshuffle without lz4": {"chunks": (1, 10, 14), **hdf5plugin.Bitshuffle(cname="none")},
    "bitshuffle with zstd": {"chunks": (1, 10, 14), **hdf5plugin.Bitshuffle(cname="zstd")},
    "bslz4 and checksum": {"chunks": (1, 10, 14), "fletcher32": True, **hdf5plugin.Bitshuffle()},
    "lz4": {"chunks": (1, 10, 14), **hdf5plugin.LZ4()},
}
RAW_CHUNKS = {"bslz4": Encoding.BSLZ4, "lz4": Encoding.LZ4_HDF5, "chunked": Encoding.RAW, "contiguous": Encoding.RAW}
RAW_CHUNKS |= {"gzip": Encoding.DEFLATE, "shuffle and gzip": Encoding.SHUFFLED_DEFLATE}


def events_of(path: Path | str, **options: str) -> tuple[ScanStart, list[Frame], list[Note], ScanEnd]:
    (scan,) = hdf5.scans(str(path), **options)
    start, *middle, end = scan.events()
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd)
    frames = [event for event in middle if isinstance(event, Frame)]
    return start, frames, [event for event in middle if isinstance(event, Note)], end


def pixels(frame: Frame, channel: str | None = None) -> np.ndarray:
    return decode(frame.payloads[channel or next(iter(frame.payloads))])


def read(path: Path) -> list[images.Image]:
    """All frames of an image file, none of which may be damaged."""
    return [image for image in images.ImageFile(str(path)) if not isinstance(image, images.Damaged)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f4"])
def test_every_layout_gives_the_pixels_that_h5py_gives(tmp_path: Path, layout: str, dtype: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES.astype(dtype), **LAYOUTS[layout])
    start, frames, notes, end = events_of(tmp_path / "x.h5")
    assert (start.shape, start.dtype, start.expected, end.announced, notes) == ((10, 14), np.dtype(dtype), 12, 12, [])
    assert [frame.index for frame in frames] == list(range(12))
    for frame, image in zip(frames, IMAGES, strict=True):
        np.testing.assert_array_equal(pixels(frame), image)


@pytest.mark.parametrize("layout", RAW_CHUNKS)
def test_bytes_of_frames_are_those_in_the_file(tmp_path: Path, layout: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("entry/data/data", data=IMAGES, **LAYOUTS[layout])
        stored = [
            dataset.id.read_direct_chunk((number, 0, 0))[1] if dataset.chunks else image.tobytes()
            for number, image in enumerate(IMAGES)
        ]
    _, frames, _, _ = events_of(tmp_path / "x.h5")
    payloads = [frame.payloads["default"] for frame in frames]
    assert [payload.encoding for payload in payloads] == [RAW_CHUNKS[layout]] * 12
    assert [bytes(payload.data) for payload in payloads] == stored


def test_a_user_block_before_the_file_changes_nothing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
        file.create_dataset("entry/data/data", data=IMAGES, **LAYOUTS["bslz4"])
    _, frames, _, _ = events_of(tmp_path / "x.h5")
    np.testing.assert_array_equal([pixels(frame) for frame in frames], IMAGES)


def test_a_chunk_that_was_stored_without_its_filter_is_raw(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("entry/data/data", data=IMAGES, **LAYOUTS["bslz4"])
        dataset.id.write_direct_chunk((3, 0, 0), (IMAGES[3] + 1).tobytes(), filter_mask=1)
    _, frames, _, _ = events_of(tmp_path / "x.h5")
    encodings = [frame.payloads["default"].encoding for frame in frames]
    assert encodings == [Encoding.BSLZ4] * 3 + [Encoding.RAW] + [Encoding.BSLZ4] * 8
    np.testing.assert_array_equal(pixels(frames[3]), IMAGES[3] + 1)


@pytest.mark.parametrize("layout", ["chunked", "gzip", "bslz4", "several frames per chunk"])
def test_frames_that_were_never_written_are_missing_and_not_zeros(tmp_path: Path, layout: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("entry/data/data", shape=(30, 10, 14), dtype="u2", **LAYOUTS[layout])
        dataset[5:10] = IMAGES[:5]
    start, frames, _, end = events_of(tmp_path / "x.h5")
    assert [frame.index for frame in frames] == [5, 6, 7, 8, 9]
    assert (start.expected, end.announced) == (30, 30)


def test_maps_of_four_dimensions_are_flattened_in_c_order(tmp_path: Path) -> None:
    for layout in ("contiguous", "bslz4", "gzip"):
        chunks = {"chunks": (1, 1, 10, 14)} if layout != "contiguous" else {}
        with h5py.File(tmp_path / f"{layout}.h5", "w") as file:
            file.create_dataset("map/data", data=IMAGES.reshape(3, 4, 10, 14), **{**LAYOUTS[layout], **chunks})
        _, frames, _, _ = events_of(tmp_path / f"{layout}.h5")
        np.testing.assert_array_equal([pixels(frame) for frame in frames], IMAGES)


def test_a_file_cut_off_behind_its_index_gives_corrupt_frames_for_what_is_lost(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES, **LAYOUTS["bslz4"])
    file = h5py.File(tmp_path / "x.h5")
    stack = Stack(file["entry/data/data"])
    with open(tmp_path / "x.h5", "r+b") as raw:
        raw.truncate(int(stack._index[6][0]) + 10)  # in the middle of frame 6
    assert stack.read(5) is not None
    with pytest.raises(CorruptPayload, match=r"x\.h5.*frame 6 is cut off"):
        stack.read(6)
    stack.close()
    file.close()


def test_the_vendors_own_data_files_read_as_h5py_reads_them(shared: Path) -> None:
    paths = sorted((shared / "streams" / "dectris_h5-testfiles").glob("*.h5"))
    assert len(paths) == 6
    for path in paths:
        _, frames, notes, _ = events_of(path)
        with h5py.File(path) as file:
            expected = file["entry/data/data"][()]
        assert notes == [] and len(frames) == 2
        encoding = Encoding.LZ4_HDF5 if "_lz4_" in path.name else Encoding.BSLZ4
        assert {payload.encoding for frame in frames for payload in frame.payloads.values()} == {encoding}
        np.testing.assert_array_equal([pixels(frame) for frame in frames], expected)


def test_a_lima_file_with_room_for_100_frames_has_the_two_that_were_taken(shared: Path) -> None:
    path = shared / "filewatch/esrf_id11_demoh5/demoh5_dataset/scan0001/marana_0000.h5"
    start, frames, _, end = events_of(path)
    assert (start.shape, start.expected, end.announced) == ((2048, 2048), 2, 2)
    with h5py.File(path) as file:
        np.testing.assert_array_equal([pixels(frame) for frame in frames], file["entry_0000/measurement/data"][:2])
    detector = start.detector
    assert detector.description == "MARANA-4BV11 (SN : CSC-00376, firmware 18.10.16.9964)"
    assert (detector.pixel_size_x_m, detector.count_time_s) == (pytest.approx(11e-6), 0.1)


def test_a_lima_eiger_file_has_the_sums_of_its_readme(shared: Path) -> None:
    start, frames, _, _ = events_of(shared / "single_crystal/derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5")
    sums = [int(image[image != 2**32 - 1].sum()) for image in map(pixels, frames)]
    assert sums == [363968, 374469]
    assert start.detector.pixel_size_y_m == 7.5e-05


def test_a_bliss_visit_file_leads_to_the_chunks_of_every_scan(shared: Path) -> None:
    path = shared / "filewatch/esrf_id11_demoh5/ma4500_demoh5.h5"
    first, second = hdf5.scans(str(path))
    start, *frames, end = first.events()
    assert (start.name, start.expected, end.announced) == ("ma4500_demoh5_demoh5_dataset_1.1", 2, 2)
    assert [frame.payloads["default"].encoding for frame in frames] == [Encoding.BSLZ4] * 2
    with h5py.File(path) as file:
        virtual = file["demoh5_dataset_1.1/measurement/marana"][()]
        epoch = file["demoh5_dataset_1.1/measurement/epoch"][()]
    np.testing.assert_array_equal([pixels(frame) for frame in frames], virtual)
    assert [frame.detector_time for frame in frames] == list(epoch)
    start, note, end = second.events()  # its Lima file is not there: h5py would read zeros
    assert "scan0002/marana_0000.h5" in note.text and end.announced == 5


def test_a_diamond_file_leads_to_the_chunks_behind_its_external_links(shared: Path) -> None:
    folder = shared / "powder/i15_1_eiger2_cdte500k"
    start, frames, notes, _ = events_of(folder / "i15-1-100245.nxs", monitor="i15-1-100245-i0.h5::/entry/data/data")
    assert notes == [] and len(frames) == start.expected == 20
    with h5py.File(folder / "i15-1-100245.nxs") as file:
        np.testing.assert_array_equal([pixels(frame) for frame in frames[::7]], file["entry/fastcs_eiger/data"][::7])
        readings = file["entry/i0/data"][()].ravel()
    assert [frame.monitor for frame in frames] == list(readings)


def master(folder: Path, parts: int, *, low: bool, dataset: str = "entry/data/data") -> Path:
    """A DECTRIS master with data files of four frames each."""
    path = folder / "s_master.h5"
    with h5py.File(path, "w") as file:
        data = file.create_group("entry/data")
        data.attrs["NX_class"] = "NXdata"
        for part in range(parts):
            name = f"s_data_{part + 1:06d}.h5"
            data[f"data_{part + 1:06d}"] = h5py.ExternalLink(name, dataset)
            with h5py.File(folder / name, "w") as inner:
                frames = inner.create_dataset(dataset, data=IMAGES[4 * part : 4 * part + 4], **LAYOUTS["bslz4"])
                if low:
                    frames.attrs["image_nr_low"] = 4 * part + 1
                    frames.attrs["image_nr_high"] = 4 * part + 4
    return path


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_data_file_of_a_master_leaves_a_hole_and_shifts_nothing(tmp_path: Path, low: bool, lost: int) -> None:
    path = master(tmp_path, 3, low=low)
    with h5py.File(path, "r+") as file:
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["nimages"], specific["ntrigger"] = 6, 2
    (tmp_path / f"s_data_{lost + 1:06d}.h5").unlink()
    start, frames, notes, end = events_of(path)
    here = [number for number in range(12) if number // 4 != lost]
    assert [frame.index for frame in frames] == here
    np.testing.assert_array_equal([pixels(frame) for frame in frames], IMAGES[here])
    assert start.expected == end.announced == 12
    assert [f"s_data_{lost + 1:06d}.h5" in note.text for note in notes] == [True]


def test_a_master_without_any_data_file_says_which_it_needs(tmp_path: Path) -> None:
    path = master(tmp_path, 2, low=True)
    for part in tmp_path.glob("s_data_*"):
        part.unlink()
    with pytest.raises(BadMessage, match=r"s_data_000001\.h5, which is not there"):
        hdf5.scans(str(path))


def test_header_values_of_a_master_come_in_our_units(tmp_path: Path) -> None:
    path = master(tmp_path, 1, low=True)
    mask = np.zeros((10, 14), "u4")
    mask[2, 3] = 1
    with h5py.File(path, "r+") as file:
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        values = {
            "detector_distance": (125.5, "mm"),
            "x_pixel_size": (75.0, "um"),
            "y_pixel_size": (7.5e-5, "m"),
            "sensor_thickness": (0.45, "mm"),
            "beam_center_x": (6.5, "pixel"),
            "beam_center_y": (4.25, "pixel"),
            "count_time": (99.9, "ms"),
            "frame_time": (0.1, "s"),
        }
        for name, (value, unit) in values.items():
            detector[name] = value
            detector[name].attrs["units"] = unit
        detector["description"] = b"Dectris EIGER2 CdTe 4M"
        detector["sensor_material"] = "CdTe"
        detector["detector_number"] = "E-08-0144"
        detector["flatfield_correction_applied"] = 0
        detector["saturation_value"] = 45000
        detector["detectorSpecific/pixel_mask"] = mask
        detector["detectorSpecific/flatfield"] = np.full((10, 14), 1.5, "f4")
        file["entry/instrument/beam/incident_wavelength"] = 0.03
        file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "nm"
        file["entry/instrument/monochromator/energy"] = 41.3
        file["entry/instrument/monochromator/energy"].attrs["units"] = "keV"
    start, _, _, _ = events_of(path)
    found = start.detector
    assert found.distance_m == pytest.approx(0.1255)
    assert (found.pixel_size_x_m, found.pixel_size_y_m) == (pytest.approx(75e-6), 7.5e-5)
    assert found.sensor_thickness_m == pytest.approx(450e-6)
    assert (found.beam_center_x_px, found.beam_center_y_px) == (6.5, 4.25)
    assert (found.count_time_s, found.frame_time_s) == (pytest.approx(0.0999), 0.1)
    assert (found.wavelength_angstrom, found.energy_ev) == (pytest.approx(0.3), pytest.approx(41300.0))
    assert (found.description, found.sensor_material) == ("Dectris EIGER2 CdTe 4M", "CdTe")
    assert (found.serial_number, found.saturation_value, found.flatfield_applied) == ("E-08-0144", 45000, False)
    np.testing.assert_array_equal(found.pixel_mask["threshold_1"], mask)
    assert found.flatfield["threshold_1"].dtype == np.float32 and (found.flatfield["threshold_1"] == 1.5).all()
    assert found.metadata["count_time"] == 99.9


def test_zeros_in_a_header_count_as_not_given(tmp_path: Path) -> None:
    path = master(tmp_path, 1, low=True)
    with h5py.File(path, "r+") as file:
        for name in ("detector_distance", "beam_center_x", "beam_center_y", "x_pixel_size"):
            file[f"entry/instrument/detector/{name}"] = 0.0
        file["entry/instrument/beam/incident_wavelength"] = 0.0
    found = events_of(path)[0].detector
    assert found.distance_m is found.beam_center_x_px is found.pixel_size_x_m is found.wavelength_angstrom is None


def test_the_cutoff_of_an_eigers_modules_is_its_saturation(tmp_path: Path) -> None:
    path = master(tmp_path, 1, low=True)
    with h5py.File(path, "r+") as file:
        for number, cutoff in enumerate((133343, 133340, 0)):
            place = f"entry/instrument/detector/detectorSpecific/detectorModule_{number:03d}"
            file[f"{place}/countrate_correction_count_cutoff"] = cutoff
            file[f"{place}/flatfield"] = np.ones((5, 7), "f4")
    assert events_of(path)[0].detector.saturation_value == 133340


@pytest.mark.parametrize(
    ("unit", "seconds"), [("millisecond", 0.1), ("us", 1e-4), ("min", 6000.0), ("", 100.0), ("fortnight", None)]
)
def test_a_value_in_a_unit_that_is_not_known_counts_as_not_given(
    tmp_path: Path, unit: str, seconds: float | None
) -> None:
    path = master(tmp_path, 1, low=True)
    with h5py.File(path, "r+") as file:
        file["entry/instrument/detector/count_time"] = 100.0
        if unit:
            file["entry/instrument/detector/count_time"].attrs["units"] = unit
    found = events_of(path)[0].detector.count_time_s
    assert found == (pytest.approx(seconds) if seconds is not None else None)


def test_a_flat_field_of_nothing_but_nan_counts_as_not_given(tmp_path: Path) -> None:
    path = master(tmp_path, 1, low=True)
    with h5py.File(path, "r+") as file:
        file["entry/instrument/detector/flatfield"] = np.full((1, 10, 14), np.nan, "f4")
        file["entry/instrument/detector/sensor_thickness"] = 300.0
    found = events_of(path)[0].detector
    assert not found.flatfield and found.sensor_thickness_m == pytest.approx(3e-4)


def test_thresholds_of_nxmx_on_a_channel_axis_are_channels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["default"] = "entry"
        data = file.create_group("entry/data")
        file["entry"].attrs.update(NX_class="NXentry", default="data")
        data.attrs.update(NX_class="NXdata", signal="data", axes=["image_id", "channel", ".", "."])
        data["channel"] = ["threshold_1", "threshold_2"]
        options = {**LAYOUTS["bslz4"], "chunks": (1, 1, 10, 14)}
        data.create_dataset("data", data=IMAGES.reshape(6, 2, 10, 14), **options)
        detector = file.create_group("entry/instrument/detector")
        for number, channel in enumerate(("threshold_1", "threshold_2")):
            inner = detector.create_group(f"{channel}_channel")
            inner["threshold_energy"] = 10.0 + number
            inner["threshold_energy"].attrs["units"] = "keV"
            inner["pixel_mask"] = np.full((10, 14), number, "u4")
    start, frames, _, _ = events_of(tmp_path / "x.h5")
    assert start.channels == ("threshold_1", "threshold_2") and start.expected == 6
    for number, channel in enumerate(start.channels):
        np.testing.assert_array_equal([pixels(frame, channel) for frame in frames], IMAGES[number::2])
        assert (start.detector.pixel_mask[channel] == number).all()
    assert start.detector.threshold_energy_ev == {"threshold_1": 10000.0, "threshold_2": 11000.0}


def test_auxiliary_signals_are_channels_and_a_frame_that_lacks_one_is_corrupt(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update(NX_class="NXdata", signal="data", auxiliary_signals=["threshold_2"])
        data.create_dataset("data", data=IMAGES, **LAYOUTS["bslz4"])
        other = data.create_dataset("threshold_2", shape=IMAGES.shape, dtype="u2", **LAYOUTS["bslz4"])
        other[:7] = IMAGES[:7] // 2
        file["entry/instrument/detector/data"] = h5py.SoftLink("/entry/data/data")
    start, frames, _, _ = events_of(tmp_path / "x.h5")
    assert start.channels == ("data", "threshold_2")
    np.testing.assert_array_equal([pixels(frame, "threshold_2") for frame in frames[:7]], IMAGES[:7] // 2)
    assert [frame.status.name for frame in frames] == ["RECEIVED"] * 7 + ["CORRUPT"] * 5
    assert frames[7].problem.endswith("frame 7 was written without threshold_2")


def test_a_virtual_dataset_of_parts_of_frames_is_read_through_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        halves = [file.create_dataset(f"half{side}", data=IMAGES[:, :, 7 * side : 7 * side + 7]) for side in (0, 1)]
        layout = h5py.VirtualLayout(IMAGES.shape, "u2")
        for side, half in enumerate(halves):
            layout[:, :, 7 * side : 7 * side + 7] = h5py.VirtualSource(half)
        file.create_virtual_dataset("entry/data/data", layout)
        file["entry"].attrs["NX_class"] = "NXentry"
    _, frames, _, _ = events_of(tmp_path / "x.h5")
    np.testing.assert_array_equal([pixels(frame) for frame in frames], IMAGES)


def test_a_virtual_dataset_in_its_own_order_is_resolved_frame_by_frame(tmp_path: Path) -> None:
    for part in (0, 1):
        with h5py.File(tmp_path / f"p{part}.h5", "w") as file:
            file.create_dataset("d", data=IMAGES[6 * part : 6 * part + 6], **LAYOUTS["bslz4"])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = h5py.VirtualLayout((8, 10, 14), "u2")
        layout[0:4] = h5py.VirtualSource("p1.h5", "d", (6, 10, 14))[2:6]
        layout[5:8] = h5py.VirtualSource("p0.h5", "d", (6, 10, 14))[0:3]
        file.create_virtual_dataset("entry/data/data", layout)
    _, frames, _, _ = events_of(tmp_path / "x.h5")
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 5, 6, 7]
    assert {frame.payloads["default"].encoding for frame in frames} == {Encoding.BSLZ4}
    np.testing.assert_array_equal([pixels(frame) for frame in frames], IMAGES[[8, 9, 10, 11, 0, 1, 2]])


def test_a_file_that_declares_more_frames_than_can_be_is_refused_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", (2**40, 10, 14), "u2", maxshape=(None, 10, 14), chunks=(1, 10, 14))
    with pytest.raises(BadMessage, match=r"declares 1099511627776 frames"):
        hdf5.scans(str(tmp_path / "x.h5"))


def test_a_path_inside_the_file_chooses_the_frames(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["entry/a/data"] = IMAGES
        file["entry/b/data"] = IMAGES[:3] + 1
        file["entry/c/flat"] = IMAGES[0]
    for name, dataset in ((f"{tmp_path}/x.h5::/entry/b/data", None), (f"{tmp_path}/x.h5", "/entry/b/data")):
        (scan,) = hdf5.scans(name, dataset)
        frames = [event for event in scan.events() if isinstance(event, Frame)]
        np.testing.assert_array_equal([pixels(frame) for frame in frames], IMAGES[:3] + 1)
    _, (single,), _, _ = events_of(f"{tmp_path}/x.h5::/entry/c/flat")
    np.testing.assert_array_equal(pixels(single), IMAGES[0])
    with pytest.raises(BadMessage, match=r"nothing at /entry/nowhere"):
        hdf5.scans(f"{tmp_path}/x.h5::/entry/nowhere")


def test_a_second_stack_in_a_file_is_named(shared: Path) -> None:
    with h5py.File(shared / "powder/i15_1_eiger2_cdte500k/i15-1-100614-fastcs_eiger_000001.h5") as file:
        (located,) = locate(file).scans
    assert located.path == "/data" and "also holds /data2, /data3" in located.notes[0]


def bliss(path: Path, **detectors: np.ndarray) -> None:
    """A file as BLISS writes it: scans 1.1 and 2.1, in each the detectors, linked from `measurement`."""
    with h5py.File(path, "w") as file:
        for number in (1, 2):
            entry = file.create_group(f"{number}.1")
            entry.attrs["NX_class"], entry.create_group("instrument").attrs["NX_class"] = "NXentry", "NXinstrument"
            for name, images_ in detectors.items():
                entry.create_group(f"instrument/{name}").attrs["NX_class"] = "NXdetector"
                entry[f"instrument/{name}/data"] = images_ + number
                entry[f"measurement/{name}"] = h5py.SoftLink(f"/{number}.1/instrument/{name}/data")


def test_every_detector_of_an_entry_is_a_scan_of_its_own(tmp_path: Path) -> None:
    bliss(tmp_path / "x.h5", saxs=IMAGES[:3], waxs=IMAGES[3:5, :6])
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["1.1/instrument/mca/data"] = np.ones((3, 4, 400))  # fluorescence: spectra are no images
    found = hdf5.scans(str(tmp_path / "x.h5"))
    names = [f"x_{number}.1_{name}" for number in (1, 2) for name in ("saxs", "waxs")]
    starts, frames = [], []
    for scan in found:
        start, *middle, _ = scan.events()
        starts.append(start)
        frames.append([pixels(event) for event in middle if isinstance(event, Frame)])
    assert [start.name for start in starts] == names
    assert len({start.uid for start in starts}) == 4 and starts[1].uid == f"file:{tmp_path}/x.h5::/1.1/waxs"
    assert [start.shape for start in starts] == [(10, 14), (6, 14)] * 2
    np.testing.assert_array_equal(frames[2], IMAGES[:3] + 2)
    np.testing.assert_array_equal(frames[3], IMAGES[3:5, :6] + 2)


def test_a_scan_keeps_its_name_and_uid_when_the_next_one_is_added_to_its_file(tmp_path: Path) -> None:
    bliss(tmp_path / "x.h5", saxs=IMAGES[:3])
    both = [next(scan.events()) for scan in hdf5.scans(str(tmp_path / "x.h5"))]
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["2.1"]
    (alone,) = [next(scan.events()) for scan in hdf5.scans(str(tmp_path / "x.h5"))]
    assert (alone.name, alone.uid) == (both[0].name, both[0].uid) == ("x_1.1", f"file:{tmp_path}/x.h5::/1.1")


def test_a_path_without_a_leading_slash_chooses_in_every_entry(tmp_path: Path) -> None:
    bliss(tmp_path / "x.h5", saxs=IMAGES[:3], waxs=IMAGES[3:5])
    found = hdf5.scans(str(tmp_path / "x.h5"), "measurement/waxs")
    assert [next(scan.events()).uid.partition("::")[2] for scan in found] == ["/1.1", "/2.1"]
    one, other = (next(hdf5.scans(f"{tmp_path}/x.h5::/{place}.1/measurement/waxs").__iter__()) for place in (1, 2))
    assert next(one.events()).uid != next(other.events()).uid


def test_an_entry_under_a_second_name_is_one_scan_and_an_entry_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    bliss(tmp_path / "x.h5", saxs=IMAGES[:3])
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["latest"] = h5py.SoftLink("/2.1")
        file["3.1"] = h5py.ExternalLink("gone.h5", "/3.1")
    found = hdf5.scans(str(tmp_path / "x.h5"))
    assert [scan.located.name for scan in found] == ["1.1", "2.1"]
    assert ["gone.h5" in problem for problem in found.lost] == [True]


def test_a_file_without_frames_and_a_file_that_is_none_are_explained(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(BadMessage, match=r"i0\.h5 holds no frames .* give its path with `dataset`"):
        hdf5.scans(str(shared / "powder/i15_1_eiger2_cdte500k/i15-1-100245-i0.h5"))
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(BadMessage, match=r"text\.h5 cannot be opened as HDF5: it is no HDF5 file, or its beginning is"):
        hdf5.scans(str(tmp_path / "text.h5"))


def test_a_copy_that_was_cut_off_is_told_with_its_bytes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["entry/data/data"] = np.zeros((5, 64, 64), np.uint32)
    whole = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[:5000])
    with pytest.raises(BadMessage, match=rf"cut\.h5 .* 5000 of {len(whole)} bytes are there: copy it again"):
        hdf5.scans(str(tmp_path / "cut.h5"))


@pytest.mark.slow
def test_images_of_every_recorded_format_have_the_pixels_of_fabio(shared: Path) -> None:
    names = [
        "saxs/AgB_5s_hi_2m.edf.gz",
        "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2",
        "powder/odftomo_varex_steel/frame_123163.cbf",
        "powder/dioptas_ceo2_pilatus1m/CeO2_Pilatus1M.tif",
        "tomo/savu_24737_tiff/tiffs/raw_00090.tiff",
        "tomo/savu_24737_tiff/dark_00001.tiff",
    ]
    for name in names:
        (image,) = read(shared / name)
        with fabio.open(str(shared / name)) as opened:
            np.testing.assert_array_equal(decode(image.payload()), opened.data)


@pytest.mark.slow
def test_headers_of_images_tell_geometry_and_time(shared: Path) -> None:
    (cbf,) = read(shared / "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2")
    found = describe(cbf.header)
    assert (found.description, found.serial_number) == ("PILATUS3 6M", "60-0119")
    assert (found.sensor_material, found.sensor_thickness_m) == ("Silicon", 0.00045)
    assert (found.wavelength_angstrom, found.distance_m) == (0.96859, 0.351)
    assert (found.beam_center_x_px, found.beam_center_y_px) == (1261.61, 1306.96)
    assert (found.pixel_size_x_m, found.pixel_size_y_m) == (0.000172, 0.000172)
    assert (found.count_time_s, found.frame_time_s, found.saturation_value) == (0.019, 0.02, 115897)
    (first,) = read(shared / "single_crystal/thaumatin_grid/thau_3_2_0001.cbf.bz2")
    assert 0 < cbf.time - first.time < 60 and first.time == pytest.approx(1568208028.989)
    (edf,) = read(shared / "saxs/pySAXS_2018-01-31-OT_0_13459.edf.gz")
    found = describe(edf.header)
    assert (found.beam_center_x_px, found.beam_center_y_px, found.distance_m) == (348.0, 903.0, 2.46)
    assert (found.wavelength_angstrom, found.pixel_size_x_m) == (pytest.approx(1.54189), 0.000172)
    assert (found.count_time_s, edf.time) == (120.0, 1517391706.0)
    (tiff,) = read(shared / "powder/dioptas_ceo2_pilatus1m/CeO2_Pilatus1M.tif")
    found = describe(tiff.header)
    assert (found.distance_m, found.beam_center_x_px, found.beam_center_y_px) == (0.21143, 498.18, 515.77)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "saxs/AgB_00001.edf.gz",
        "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2",
        "tomo/savu_24737_tiff/tiffs/raw_00000.tiff",
        "powder/dioptas_ceo2_pilatus1m/CeO2_Pilatus1M.tif",
    ],
)
def test_an_image_cut_off_anywhere_is_refused_and_never_read_as_zeros(shared: Path, tmp_path: Path, name: str) -> None:
    whole = (shared / name).read_bytes()
    variants = [(Path(name).name, whole)]
    if name.endswith(".gz"):
        variants.append((Path(name).name[:-3], gzip.decompress(whole)))
    if name.endswith(".bz2"):
        variants.append((Path(name).name[:-4], bz2.decompress(whole)))
    for base, data in variants:
        for size in (0, 100, len(data) // 2, len(data) - 6000):
            (tmp_path / base).write_bytes(data[:size])
            with pytest.raises(BadMessage, match=base.split(".")[0]):
                read(tmp_path / base)


def test_all_frames_of_a_file_with_several_are_read_and_a_cut_off_last_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.edf"
    edf = fabio.edfimage.EdfImage(data=IMAGES[0], header={"time_of_day": "1000.5"})
    for image in IMAGES[1:4]:
        edf.append_frame(data=image)
    edf.write(str(path))
    found = read(path)
    np.testing.assert_array_equal([image.pixels for image in found], IMAGES[:4])
    assert [image.place for image in found] == [0, 1, 2, 3]
    assert found[0].time == 1000.5
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadMessage, match=r"stack\.edf is cut off: frame 3"):
        read(path)
    *good, bad = images.ImageFile(str(path), part=True)
    np.testing.assert_array_equal([image.pixels for image in good], IMAGES[:3])
    assert bad.place == 3 and "frame 3 has fewer pixels" in bad.problem


def test_names_sort_by_their_numbers_and_tell_them() -> None:
    assert natural(["a_10.cbf", "a_9.cbf", "a_1.cbf", "b_2.cbf"]) == ["a_1.cbf", "a_9.cbf", "a_10.cbf", "b_2.cbf"]
    assert (stem("/x/thau_0001.cbf.bz2"), stem("run.2_data.h5")) == ("thau_0001", "run.2_data")
    assert (number_in("thau_3_2_0019.cbf.bz2"), number_in("dark.edf")) == (19, None)
    assert number_in("Fe_map_7_P1_001.tif.gz", r"map_(\d+)") == 7
