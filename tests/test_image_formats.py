"""Every format that fabio writes, plain and packed, is taken as fabio reads it, and only if it is whole."""

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import fabio
import h5py
import numpy as np
import pytest
from fabio.marccdimage import HEADER_FORMAT, HEADER_NAMES, interpret_header
from image_writers import WRITERS, mar345
from watched import Driven

from stream.errors import BadMessage
from stream.events import Frame, ScanStart
from stream.formats.images.file import Image, ImageFile, is_image
from stream.formats.images.header import describe, time_of
from stream.formats.images.readings import readings_of

PIXELS = np.random.default_rng(8).integers(0, 5000, (60, 50)).astype("u2")


PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def write(folder: Path, kind: str) -> tuple[Path, np.ndarray]:
    """A file that fabio has written, and the pixels that it reads from it (those of OXD have another origin)."""
    path = folder / f"img_1.{kind}"
    WRITERS[kind](data=PIXELS).write(str(path))
    with fabio.open(str(path)) as opened:
        return path, np.array(opened.data)


def pixels(path: Path) -> np.ndarray:
    (image,) = ImageFile(str(path))
    assert isinstance(image, Image)
    return image.pixels


@pytest.mark.parametrize("packing", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_of_every_format_is_read_as_fabio_reads_it_and_its_packed_copy_too(
    tmp_path: Path, kind: str, packing: str
) -> None:
    path, wanted = write(tmp_path, kind)
    if packing:
        packed = tmp_path / f"packed_1.{kind}{packing}"
        packed.write_bytes(PACKERS[packing](path.read_bytes()))
        path = packed
    assert is_image(str(path))
    found = pixels(path)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype and found.dtype.isnative
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:size])
        with pytest.raises(BadMessage, match=path.name.replace(".", r"\.")):
            ImageFile(str(path))


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_file_read_twice_is_the_same_content(tmp_path: Path, kind: str) -> None:
    path, _ = write(tmp_path, kind)
    (tmp_path / f"p_1.{kind}.xz").write_bytes(lzma.compress(path.read_bytes()))
    for name in (path, tmp_path / f"p_1.{kind}.xz"):
        contents = set()
        for _ in range(2):
            file = ImageFile(str(name))
            assert len(list(file)) == 1
            contents.add(file.content)
        assert len(contents) == 1


@pytest.mark.parametrize("kind", WRITERS)
def test_a_watched_folder_takes_every_format(tmp_path: Path, kind: str) -> None:
    (tmp_path / "watched").mkdir()
    watched = Driven(tmp_path / "watched", scan_idle_s=None)
    watched.begin()
    path, wanted = write(tmp_path, kind)
    for number in (4, 5):
        (tmp_path / "watched" / f"run_{number}.{kind}.gz").write_bytes(gzip.compress(path.read_bytes()))
    start, *frames = watched.settle()
    assert isinstance(start, ScanStart) and (start.shape, start.dtype) == (wanted.shape, wanted.dtype)
    assert [frame.index for frame in frames if isinstance(frame, Frame)] == [0, 1]


def marccd(order: str) -> bytes:
    """A file as MarCCD writes it: directory, its own header at 1024, pixels at 4096."""
    rows, columns = PIXELS.shape
    tags = [(256, 4, columns), (257, 4, rows), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 4096), (277, 3, 1)]
    tags += [(278, 4, rows), (279, 4, PIXELS.nbytes)]
    body = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, kind, value in tags:
        body += struct.pack(f"{order}HHI", tag, kind, 1)
        body += struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
    head = bytearray(3072)
    struct.pack_into(f"{order}I16s", head, 0, 2, b"MMX")
    struct.pack_into(f"{order}I", head, 104, 65535)
    goniostat = [200_500, 1023_500, 1024_250, 0, 1500, 0, 1, 0, -12_345, 0, 0, 90_250, 0, 0, 200_500]
    goniostat += [0, -12_345, 0, 0, 91_250, 0, 0, 200_500, 4, 1000, 0, 0, 0]
    struct.pack_into(f"{order}28i", head, 640, *goniostat)
    struct.pack_into(f"{order}3i", head, 768, 1, 79_346, 79_346)
    struct.pack_into(f"{order}i", head, 908, 97_950)
    head[1344:1376] = b"061310152008.27".ljust(32, b"\0")
    pixels = PIXELS.astype(PIXELS.dtype.newbyteorder(order)).tobytes()
    return (body + bytes(4)).ljust(1024, b"\0") + bytes(head) + pixels


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_header_of_a_marccd_file_tells_geometry_angles_and_time(tmp_path: Path, order: str) -> None:
    path = tmp_path / "x_1.mccd"
    path.write_bytes(marccd(order))
    np.testing.assert_array_equal(pixels(path), PIXELS)
    ((header, _),) = [(image.header, image.pixels) for image in ImageFile(str(path)) if isinstance(image, Image)]
    found = describe(header)
    assert (found.distance_m, found.wavelength_angstrom) == (pytest.approx(0.2005), pytest.approx(0.9795))
    assert (found.beam_center_x_px, found.beam_center_y_px) == (1023.5, 1024.25)
    assert (found.pixel_size_x_m, found.pixel_size_y_m) == (pytest.approx(79.346e-6), pytest.approx(79.346e-6))
    assert (found.count_time_s, found.saturation_value) == (1.5, 65535)
    readings = readings_of(header)
    assert (readings.values["Start_omega"], readings.values["End_phi"], readings.exposure_s) == (-12.345, 91.25, 1.5)
    assert readings.units["Start_omega"] == "deg"
    assert time_of(header) == 1213352127.0  # 13 June 2008, 10:15:27
    if order == "<":
        head = marccd(order)[1024:4096]
        theirs = interpret_header(head, HEADER_FORMAT, HEADER_NAMES)
        assert (theirs["xtal_to_detector"], theirs["beam_x"], theirs["exposure_time"]) == (200_500, 1023_500, 1500)
        assert (theirs["start_omega"], theirs["end_phi"]) == (-12_345, 91_250)
        assert (theirs["pixelsize_x"], theirs["source_wavelength"]) == (79_346, 97_950)
        assert theirs["saturated_value"] == 65535


def test_the_angles_and_the_exposure_of_adsc_and_mar345_images_are_readings(tmp_path: Path) -> None:
    header = {"PHI": "12.5", "OSC_RANGE": "0.5", "TIME": "2.5", "WAVELENGTH": "0.98"}
    fabio.adscimage.AdscImage(data=PIXELS, header=header).write(str(tmp_path / "a_1.img"))
    found = readings_of(ImageFile(str(tmp_path / "a_1.img")).first.header)
    assert {name: found.values[name] for name in ("PHI", "OSC_RANGE", "WAVELENGTH")} == {
        "PHI": 12.5, "OSC_RANGE": 0.5, "WAVELENGTH": 0.98
    }  # fmt: skip
    assert found.exposure_s == 2.5
    path, _ = write(tmp_path, "mar3450")
    assert {"StartPhi", "EndPhi", "Chi"} <= set(readings_of(ImageFile(str(path)).first.header).values)


def test_a_mar345_file_that_is_damaged_is_refused_before_fabio_unpacks_what_is_not_there(tmp_path: Path) -> None:
    """fabio takes the process down with one that lacks three bytes."""
    path, wanted = write(tmp_path, "mar3450")
    whole = path.read_bytes()
    start = whole.index(b"CCP4 packed image")
    for size in range(len(whole) - 1, start, -97):
        path.write_bytes(whole[:size])
        with pytest.raises(BadMessage, match="its blocks are not 3000 pixels"):
            ImageFile(str(path))
    for data, problem in (
        (whole.replace(b"X: 0050, Y: 0060", b"X: 0050, Y: 0061"), "its pixels another size"),
        (whole.replace(b"CCP4 packed image, X", b"CCP4 packed image V2, X"), "packed in another way"),
        (whole[:8] + b"\x63" + whole[9:], "its header says 99 high intensities, but their table has 0 bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(BadMessage, match=problem):
            ImageFile(str(path))
    path.write_bytes(whole)
    np.testing.assert_array_equal(pixels(path), wanted)


def test_a_mar345_file_with_intensities_above_16_bits_is_read_with_them(tmp_path: Path) -> None:
    strong = PIXELS.astype("u4")
    strong[[3, 17, 40], [4, 30, 9]] = 70_000, 120_000, 1_000_000
    image = mar345(strong)
    image.write(str(tmp_path / "x_1.mar3450"))
    np.testing.assert_array_equal(pixels(tmp_path / "x_1.mar3450"), strong)


def test_an_hdf5_file_with_the_name_of_an_image_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.tif", "w") as file:
        file["entry/data/data"] = PIXELS[None]
    with pytest.raises(BadMessage, match=r"x\.tif is an HDF5 file with the name of an image: rename it"):
        ImageFile(str(tmp_path / "x.tif"))
