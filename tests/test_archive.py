"""The archive: the frames as they came, where silx, h5py, fabio and pyFAI find them."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
import silx.io
import xxhash
from silx.io.nxdata import get_default
from sink_conformance import FileSinkConformance
from sink_examples import CHANNEL, SHAPE, frame, image, make, payload, scan

from sinks.check import check
from sinks.file.ledger_reader import read
from stream.codec import tiles
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.events import Array, Encoding, Frame, FrameStatus, Payload, ScanEnd, ScanStart
from stream.sources.capture import Config as CaptureConfig
from stream.sources.capture import create as capture


class TestArchiveConforms(FileSinkConformance):
    kind = "archive"


def lz4_hdf5(pixels: Array, folder: Path) -> bytes:
    """Pixels as HDF5's own filter 32004 packs them."""
    with h5py.File(folder / "packed.h5", "w") as file:
        dataset = file.create_dataset("x", data=pixels, chunks=pixels.shape, **hdf5plugin.LZ4())
        _, data = dataset.id.read_direct_chunk((0, 0))
    return bytes(data)


def packed(pixels: Array, encoding: Encoding, folder: Path) -> Payload:
    """Pixels in any encoding that a detector may use."""
    if encoding is Encoding.RAW:
        data = pixels.tobytes()
    elif encoding is Encoding.BSLZ4:
        data = bslz4_compress(pixels)
    elif encoding is Encoding.DEFLATE:
        data = zlib.compress(pixels.tobytes())
    elif encoding is Encoding.SHUFFLED_DEFLATE:
        data = zlib.compress(pixels.reshape(-1).view("u1").reshape(-1, pixels.itemsize).T.tobytes())
    elif encoding is Encoding.TILES:
        left, right = (np.ascontiguousarray(half) for half in (pixels[:, :20], pixels[:, 20:]))
        packed_left = Payload(bslz4_compress(left), Encoding.BSLZ4, (64, 20), left.dtype)
        plain_right = Payload(right.tobytes(), Encoding.RAW, (64, 28), right.dtype)
        return tiles.pack([(0, 0, packed_left), (0, 20, plain_right)], SHAPE, pixels.dtype)
    elif encoding is Encoding.BSLZ4_BARE:
        data = bslz4_compress(pixels)[12:]
    else:
        data = lz4_hdf5(pixels, folder)
        if encoding is Encoding.LZ4_BLOCK:
            data = data[16:]
    return Payload(data, encoding, SHAPE, pixels.dtype)


def of_payloads(index: int, payloads: dict[str, Payload]) -> Frame:
    """A frame as the workers hand it on."""
    sums = {channel: xxhash.xxh3_64_intdigest(each.data) for channel, each in payloads.items()}
    return Frame("01-first", index, payloads, received=1.7e9, checksums=sums)


def archived(path: Path, frames: list[Frame], start: ScanStart | None = None) -> Path:
    """A complete archive of these frames."""
    sink = make("archive", path)
    sink.start(start or scan(), ())
    for each in frames:
        sink.write(each)
    sink.finish(ScanEnd("01-first", expected=len(frames)))
    sink.close()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["u1", "u2", "<u4", ">u2", ">u4", "i4"])
@pytest.mark.parametrize("encoding", list(Encoding))
def test_every_encoding_reads_back_and_passes_the_check(encoding: Encoding, dtype: str, tmp_path: Path) -> None:
    pixels = [image(index).astype(dtype) for index in range(3)]
    frames = [of_payloads(i, {CHANNEL: packed(each, encoding, tmp_path)}) for i, each in enumerate(pixels)]
    path = archived(tmp_path / "scan.h5", frames, scan(dtype=np.dtype(dtype)))
    with h5py.File(path, "r") as file:
        dataset = file["/entry/data/data"]
        np.testing.assert_array_equal(dataset[:], pixels)
        assert dataset.dtype == np.dtype(dtype)
        wanted = {"bslz4": ["32008"], "bslz4-bare": ["32008"], "lz4-hdf5": ["32004"], "lz4-block": ["32004"]}
        wanted |= {"deflate": ["gzip"], "shuffled-deflate": ["gzip", "shuffle"]}
        assert sorted(dataset._filters) == wanted.get(encoding.value, [])
    verdict = check(path)
    assert verdict.sound, verdict.line()
    assert verdict.chunks == 3


AS_THEY_CAME = [Encoding.BSLZ4, Encoding.LZ4_HDF5, Encoding.RAW, Encoding.DEFLATE, Encoding.SHUFFLED_DEFLATE]


@pytest.mark.parametrize("encoding", AS_THEY_CAME)
def test_the_bytes_are_those_that_came(encoding: Encoding, tmp_path: Path) -> None:
    given = packed(image(0), encoding, tmp_path)
    path = archived(tmp_path / "scan.h5", [of_payloads(0, {CHANNEL: given})])
    with h5py.File(path, "r") as file:
        mask, data = file["/entry/data/data"].id.read_direct_chunk((0, 0, 0))
    assert (mask, bytes(data)) == (0, bytes(given.data))


@pytest.mark.parametrize("first", list(Encoding))
def test_an_encoding_may_change_in_mid_scan(first: Encoding, tmp_path: Path) -> None:
    kinds = [first, *Encoding]
    frames = [of_payloads(i, {CHANNEL: packed(image(i), kind, tmp_path)}) for i, kind in enumerate(kinds)]
    path = archived(tmp_path / "scan.h5", frames)
    with h5py.File(path, "r") as file:
        for index in range(len(kinds)):
            np.testing.assert_array_equal(file["/entry/data/data"][index], image(index))
    assert check(path).sound, check(path).line()


def test_pixels_from_a_buffer_of_the_socket_are_taken_without_a_copy_of_ours(tmp_path: Path) -> None:
    given = packed(image(0), Encoding.BSLZ4, tmp_path)
    frames = [of_payloads(0, {CHANNEL: Payload(memoryview(given.data), given.encoding, SHAPE, given.dtype)})]
    with h5py.File(archived(tmp_path / "scan.h5", frames), "r") as file:
        np.testing.assert_array_equal(file["/entry/data/data"][0], image(0))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Payload(bslz4_compress(image(0))[:7], Encoding.BSLZ4, SHAPE, np.dtype("u2")), "7 bytes are too short"),
        (
            Payload(struct.pack(">QI", 2**60, 8192), Encoding.BSLZ4, SHAPE, np.dtype("u2")),
            "its header speaks of 11529215046068",
        ),
        (
            Payload(
                struct.pack(">QI", 6144, 12345) + bslz4_compress(image(0))[12:], Encoding.BSLZ4, SHAPE, np.dtype("u2")
            ),
            "block size 12345",
        ),
        (Payload(bytes(100), Encoding.RAW, SHAPE, np.dtype("u2")), "100 bytes instead of 6144"),
        (payload(np.zeros(SHAPE, "u4")), "type uint32, the scan has uint16"),
        (Payload(bytes(8), Encoding.RAW, (2, 2), np.dtype("u2")), "2 x 2 pixels, the scan has 64 x 48"),
        (Payload(bytes(99), Encoding.LZ4_BLOCK, SHAPE, np.dtype("u2")), CHANNEL),
    ],
)
def test_pixels_that_do_not_fit_are_marked_and_the_rest_goes_on(bad: Payload, words: str, tmp_path: Path) -> None:
    frames = [frame(0), of_payloads(1, {CHANNEL: bad}), frame(2)]
    with h5py.File(archived(tmp_path / "scan.h5", frames), "r") as file:
        record = read(file)
        assert record.states.tolist() == [1, FrameStatus.CORRUPT, 1]
        assert words in file["/entry/ledger/problem"][1].decode()
        np.testing.assert_array_equal(file["/entry/data/data"][2], image(2))
        assert (file["/entry/data/data"][1] == 65535).all()


def test_every_channel_is_kept(tmp_path: Path) -> None:
    channels = ("threshold_1", "threshold_2", "difference/1", "data")
    start = scan(channels=channels)
    frames = [
        of_payloads(i, {name: payload(image(i, number)) for number, name in enumerate(channels)}) for i in range(3)
    ]
    frames.append(of_payloads(3, {"threshold_2": payload(image(3, 1))}))
    path = archived(tmp_path / "scan.h5", frames, start)
    with h5py.File(path, "r") as file:
        group = file["/entry/data"]
        for number, name in enumerate(("data", "threshold_2", "difference_1", "data_")):
            np.testing.assert_array_equal(group[name][2], image(2, number))
        assert list(group.attrs["auxiliary_signals"]) == ["threshold_2", "difference_1", "data_"]
        assert (group["data"][3] == 65535).all()
        np.testing.assert_array_equal(group["threshold_2"][3], image(3, 1))
        assert file["/entry/ledger/checksum"].shape == (4, 4)
        assert "threshold_2_channel" in file["/entry/instrument/detector"]
    assert check(path).sound, check(path).line()


def test_what_the_header_says_is_at_its_nexus_place(tmp_path: Path) -> None:
    start = scan()
    with h5py.File(archived(tmp_path / "scan.h5", [frame(0)], start), "r") as file:
        detector = file["/entry/instrument/detector"]
        for name, value, unit in (
            ("x_pixel_size", 75e-6, "m"),
            ("y_pixel_size", 75e-6, "m"),
            ("beam_center_x", 20.5, "pixel"),
            ("beam_center_y", 31.25, "pixel"),
            ("distance", 0.2, "m"),
            ("count_time", 0.01, "s"),
            ("sensor_thickness", 450e-6, "m"),
            ("threshold_energy", 8000.0, "eV"),
        ):
            assert detector[name][()] == value
            assert detector[name].attrs["units"] == unit
        assert detector["description"].asstr()[()] == "Simulated EIGER2"
        assert detector["saturation_value"][()] == 50_000
        assert detector["bit_depth_readout"][()] == 16
        np.testing.assert_array_equal(detector["pixel_mask"][()], np.eye(*SHAPE))
        assert detector["flatfield"][0, 0] == 1.25
        assert detector["data"] == file["/entry/data/data"]
        assert json.loads(detector["header"].asstr()[()]) == {"ntrigger": 1, "roi_mode": "disabled"}
        assert file["/entry/instrument/beam/incident_wavelength"][()] == 0.7
        assert file["/entry/instrument/monochromator/energy"][()] == pytest.approx(17.712, abs=1e-3)
        assert file["/entry/provenance/versions/inbeam"].asstr()[()] == "0.1.0"
        assert file["/entry/monitor/data"][0] == 0.0


def test_silx_plots_it_and_fabio_reads_its_frames(tmp_path: Path) -> None:
    path = archived(tmp_path / "scan.h5", [frame(index) for index in range(4)])
    with silx.io.open(str(path)) as file:
        plot = get_default(file)
        assert plot is not None
        assert plot.signal_dataset_name == "data"
        assert plot.signal.shape == (4, *SHAPE)
        assert plot.interpretation == "image"
    for name in (str(path), f"{path}::/entry/data/data"):
        with fabio.open(name) as series:
            assert series.nframes == 4
            np.testing.assert_array_equal(series.get_frame(2).data, image(2))


def test_pyfai_reads_frame_and_mask(tmp_path: Path) -> None:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    path = archived(tmp_path / "scan.h5", [frame(index) for index in range(2)])
    with h5py.File(path, "r") as file:
        detector = file["/entry/instrument/detector"]
        where = AzimuthalIntegrator(dist=detector["distance"][()], wavelength=0.7e-10)
        where.setFit2D(200.0, 20.5, 31.25, pixelX=75.0, pixelY=75.0)
        found = where.integrate1d(file["/entry/data/data"][1], 50, mask=detector["pixel_mask"][()])
    assert np.isfinite(found.intensity).all()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["eiger_legacy_dump.zip", "derived_dectris_stream2_plain.cborseq.gz"])
def test_a_recorded_eiger_is_archived_as_it_came(name: str, shared: Path, tmp_path: Path) -> None:
    source = capture(CaptureConfig(type="capture", file=shared / "streams" / "streaming-receiver" / name))
    sink: Any = make("archive", tmp_path / "scan.h5")
    given: dict[int, Payload] = {}
    channel = ""
    for event in source.events():
        if isinstance(event, ScanStart):
            sink.start(event, ())
            channel = event.channels[0]
        elif isinstance(event, Frame):
            sums = {name: xxhash.xxh3_64_intdigest(each.data) for name, each in event.payloads.items()}
            sink.write(Frame(event.scan, event.index, event.payloads, event.received, checksums=sums))
            given[event.index] = event.payloads[channel]
        elif isinstance(event, ScanEnd):
            sink.finish(event)
    source.close()
    assert len(given) >= 9
    with h5py.File(tmp_path / "scan.h5", "r") as file:
        dataset = file["/entry/data/data"]
        for index, each in given.items():
            _, data = dataset.id.read_direct_chunk((index, 0, 0))
            assert bytes(data) == bytes(each.data)
            np.testing.assert_array_equal(dataset[index], decode(each))
        assert file["/entry/instrument/detector/x_pixel_size"][()] == pytest.approx(75e-6)
        assert file["/entry/instrument/detector/pixel_mask"].shape == dataset.shape[1:]
    verdict = check(tmp_path / "scan.h5")
    assert verdict.sound, verdict.line()
