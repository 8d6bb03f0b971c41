"""What an image file says of its own bytes decides whether its pixels are used."""

import bz2
import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import fabio
import numpy as np
import pytest

from stream.errors import BadMessage
from stream.events import Frame, FrameStatus, Note, ScanEnd
from stream.formats.images.file import Damaged, Image, ImageFile
from stream.sources import files, watch

PIXELS = np.random.default_rng(4).integers(0, 300, (4, 30, 40)).astype("u2")
VAREX = "powder/odftomo_varex_steel/frame_123163.cbf"
PILATUS = "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2"


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    (image,) = ImageFile(str(path))
    assert isinstance(image, Image)
    return image.pixels


def cbf(shared: Path, name: str) -> bytes:
    data = (shared / name).read_bytes()
    return bz2.decompress(data) if name.endswith(".bz2") else data


@pytest.mark.slow
@pytest.mark.parametrize("name", [VAREX, PILATUS])
def test_a_cbf_whose_pixels_do_not_fit_its_md5_sum_is_refused(shared: Path, tmp_path: Path, name: str) -> None:
    whole = cbf(shared, name)
    with fabio.open(str(shared / name)) as image:
        np.testing.assert_array_equal(read(tmp_path / "x.cbf", whole), image.data)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 4
    with pytest.raises(BadMessage, match=r"x\.cbf is damaged: its pixels have the MD5 sum .*, its header says"):
        read(tmp_path / "x.cbf", bytes(damaged))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"X-Binary-Size:    8306440", b"X-Binary-Size:    8306439", "MD5"),
        (b"X-Binary-Size:    8306440", b"X-Binary-Size:    9306440", "is cut off: 830.* of its 9306440 bytes"),
        (b"of-Elements: 8294400", b"of-Elements: 8294401", "8294401 pixels, but 2880 rows of 2880"),
        (b"Second-Dimension: 2880", b"Second-Dimension: 2879", "8294400 pixels, but 2879 rows of 2880"),
        (b"unsigned 16-bit integer", b"unsigned 16-bit sausage", "type that is not known: 'unsigned 16-bit sausage'"),
        (b"x-CBF_BYTE_OFFSET", b"x-CBF_PACKED", "packed as X-CBF_PACKED, which is not supported"),
        (b"Content-MD5:     R", b"Content-MD5:     r", "MD5"),
        (b"\x0c\x1a\x04\xd5", b"\x0c\x1a\x04\xd6", "no pixels begin"),
    ],
)
def test_a_cbf_whose_header_contradicts_itself_or_its_pixels_is_refused(
    shared: Path, tmp_path: Path, old: bytes, new: bytes, problem: str
) -> None:
    whole = cbf(shared, VAREX)
    assert whole.count(old) == 1
    with pytest.raises(BadMessage, match=problem):
        read(tmp_path / "x.cbf", whole.replace(old, new))


def test_a_cbf_without_an_md5_sum_has_to_unpack_to_exactly_its_pixels(shared: Path, tmp_path: Path) -> None:
    whole = cbf(shared, VAREX).replace(b"Content-MD5", b"Content-MDX")
    assert read(tmp_path / "x.cbf", whole).shape == (2880, 2880)
    with pytest.raises(BadMessage, match="do not unpack to 8294400 pixels"):
        read(tmp_path / "x.cbf", whole.replace(b"Size:    8306440", b"Size:    8306441"))
    fewer = whole.replace(b"of-Elements: 8294400", b"of-Elements: 8291520").replace(
        b"Second-Dimension: 2880", b"Second-Dimension: 2879"
    )
    with pytest.raises(BadMessage, match="do not unpack to 8291520 pixels"):
        read(tmp_path / "x.cbf", fewer)


def edf_bytes(folder: Path, frames: int = 1) -> bytes:
    image = fabio.edfimage.EdfImage(data=PIXELS[0])
    for pixels in PIXELS[1:frames]:
        image.append_frame(data=pixels)
    image.write(str(folder / "made.edf"))
    return (folder / "made.edf").read_bytes()


def changed(data: bytes, key: bytes, new: bytes) -> bytes:
    """An EDF file with another value in one header line, of the same length."""
    at = data.index(key + b" = ") + len(key) + 3
    end = data.index(b" ;", at)
    return data[:at] + new.ljust(end - at) + data[end:]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(b"Size", value) for value in (b"2398", b"9999")],
        *[(b"EDF_BinarySize", value) for value in (b"240", b"-100")],
        *[(b"Dim_2", b"9"), (b"Dim_1", b"-4"), (b"Dim_1", b"x")],
        *[(b"DataType", b"SignedByte"), (b"DataType", b"Sausage")],
    ],
)
def test_an_edf_whose_sizes_do_not_fit_its_dimensions_is_refused(tmp_path: Path, key: bytes, value: bytes) -> None:
    whole = edf_bytes(tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "x.edf", whole), PIXELS[0])
    with pytest.raises(BadMessage, match=r"x\.edf (is damaged|holds no image|has pixels of a type)"):
        read(tmp_path / "x.edf", changed(whole, key, value))


def test_a_recorded_edf_with_one_line_less_in_its_header_is_refused(shared: Path, tmp_path: Path) -> None:
    whole = gzip.decompress((shared / "saxs/pySAXS_2018-01-31-OT_0_13459.edf.gz").read_bytes())
    assert read(tmp_path / "x.edf", whole).shape == (1043, 981)
    with pytest.raises(BadMessage, match="its header says 4092732 bytes, but 1042 x 981 int32 are 4088808"):
        read(tmp_path / "x.edf", changed(whole, b"Dim_2", b"1042"))


def test_the_pixels_of_an_edf_may_be_padded_to_a_whole_block_or_not_be_counted_at_all(tmp_path: Path) -> None:
    whole = edf_bytes(tmp_path)
    padded = changed(changed(whole, b"Size", b"2560"), b"EDF_BinarySize", b"2560") + bytes(2560 - 2400)
    np.testing.assert_array_equal(read(tmp_path / "x.edf", padded), PIXELS[0])
    silent = whole.replace(b"Size =", b"Sise =").replace(b"EDF_BinarySize", b"EDF_BinarySise")
    np.testing.assert_array_equal(read(tmp_path / "x.edf", silent), PIXELS[0])


def test_a_wrong_size_inside_an_edf_stack_costs_no_frame_behind_it_in_silence(tmp_path: Path) -> None:
    whole = edf_bytes(tmp_path, 4)
    second = whole.index(b"{", 100)
    path = tmp_path / "x.edf"
    for value, good in ((b"2398", [0]), (b"2400", [0, 1, 2, 3])):
        part = changed(changed(whole[second:], b"EDF_BinarySize", value), b"Size", value)
        path.write_bytes(whole[:second] + part)
        found = list(ImageFile(str(path), part=True))
        assert [image.place for image in found if isinstance(image, Image)] == good
        assert any(isinstance(image, Damaged) for image in found) == (len(good) < 4)
        for image in found:
            if isinstance(image, Image):
                np.testing.assert_array_equal(image.pixels, PIXELS[image.place])


def test_a_packed_file_whose_own_check_sum_does_not_fit_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(edf_bytes(tmp_path)))
    np.testing.assert_array_equal(read(tmp_path / "x.edf.gz", bytes(packed)), PIXELS[0])
    packed[-5] ^= 1  # the CRC lies behind the last pixel
    with pytest.raises(BadMessage, match=r"x\.edf\.gz is damaged or cut off"):
        read(tmp_path / "x.edf.gz", bytes(packed))


def tiff_bytes(folder: Path) -> bytes:
    fabio.tifimage.TifImage(data=PIXELS[0]).write(str(folder / "made.tif"))
    return (folder / "made.tif").read_bytes()


def tag_at(data: bytes, tag: int) -> int:
    """Where the value of a tag of the first page lies in its directory."""
    (at,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[at : at + 2])
    return next(
        entry + 8
        for entry in range(at + 2, at + 2 + 12 * count, 12)
        if struct.unpack("<H", data[entry : entry + 2]) == (tag,)
    )


@pytest.mark.parametrize(
    ("tag", "change", "problem"),
    [
        (273, lambda offset: offset + 4000, "is cut off: pixels of page 0 lie behind its end"),
        (273, lambda offset: 0, "is cut off"),
        (279, lambda size: size - 2, "is said to be 2398 of 2400 bytes long"),
        (257, lambda rows: rows + 1, "has 1 of the 2 pieces it needs"),
        (256, lambda columns: 2**31, "no image of sensible size"),
        (258, lambda bits: 12, "pixels of 12 bits"),
        (259, lambda packing: 5, "x.tif"),
        (262, lambda interpretation: 3, "in colour"),
        (278, lambda rows: 20, "has 1 of the 2 pieces it needs"),
    ],
)
def test_a_tiff_whose_tags_lead_out_of_the_file_or_ask_for_more_than_its_strips_is_refused(
    tmp_path: Path, tag: int, change: Callable[[int], int], problem: str
) -> None:
    whole = tiff_bytes(tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "x.tif", whole), PIXELS[0])
    at = tag_at(whole, tag)
    value = struct.pack("<I", change(struct.unpack("<I", whole[at : at + 4])[0]))
    with pytest.raises(BadMessage, match=problem):
        read(tmp_path / "x.tif", whole[:at] + value + whole[at + 4 :])


def test_a_tiff_whose_pages_go_round_in_a_circle_is_refused_and_not_read_for_ever(tmp_path: Path) -> None:
    whole = tiff_bytes(tmp_path)
    (first,) = struct.unpack("<I", whole[4:8])
    (count,) = struct.unpack("<H", whole[first : first + 2])
    end = first + 2 + 12 * count
    with pytest.raises(BadMessage, match="pages go round in a circle"):
        read(tmp_path / "x.tif", whole[:end] + struct.pack("<I", first) + whole[end + 4 :])


@pytest.mark.parametrize("name", ["x.cbf", "x.mar3450"])
def test_a_file_that_is_far_too_large_for_one_image_is_refused_and_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"###CBF: VERSION 1.5\n" if name == "x.cbf" else b"\xd2\x04\x00\x00")
    os.truncate(path, 2**31)  # a hole: it takes no room on the disk
    with pytest.raises(BadMessage, match="is larger than 1 GiB: no single image is"):
        ImageFile(str(path))


def spoilt_series(shared: Path, folder: Path) -> Path:
    """Three CBF files, the pixels of the second of which do not fit their MD5 sum."""
    whole = cbf(shared, VAREX)
    for number in range(3):
        (folder / f"v_{number}.cbf").write_bytes(whole)
    bad = bytearray(whole)
    bad[4_000_000] ^= 1
    (folder / "v_1.cbf").write_bytes(bytes(bad))
    return folder


CORRUPT_ONE = {0: FrameStatus.RECEIVED, 1: FrameStatus.CORRUPT, 2: FrameStatus.RECEIVED}


def test_a_recorded_file_that_does_not_fit_its_md5_sum_is_a_corrupt_frame(shared: Path, tmp_path: Path) -> None:
    found = list(files.create(files.Config(files=(str(spoilt_series(shared, tmp_path)),))).events())
    frames = [event for event in found if isinstance(event, Frame)]
    assert {frame.index: frame.status for frame in frames} == CORRUPT_ONE
    assert "v_1.cbf is damaged: its pixels have the MD5 sum" in next(f.problem for f in frames if f.index == 1)


@pytest.mark.parametrize("ended_by", ["giving up", "the idle time", "scan_files"])
def test_a_watched_file_that_does_not_fit_its_md5_sum_is_a_corrupt_frame(
    shared: Path, tmp_path: Path, ended_by: str
) -> None:
    options = {"give_up_s": 30.0, "scan_idle_s": 10.0 if ended_by == "the idle time" else 100.0}
    if ended_by == "scan_files":
        options["scan_files"] = 3
    spoilt_series(shared, tmp_path)
    source = watch.create(watch.Config(folder=str(tmp_path), events="poll", settle_s=1.0, **options))
    found = list(source.begin(source.folder.look(), 0.0))
    for now in (2.0, 4.0, 20.0, 40.0, 140.0):
        found += list(source.step(source.folder.look(), now))
    frames = [event for event in found if isinstance(event, Frame)]
    assert {frame.index: frame.status for frame in frames} == CORRUPT_ONE
    assert not [event for event in found if isinstance(event, Note)]
    (end,) = [event for event in found if isinstance(event, ScanEnd)]
    assert end.announced == 3 and found[-1] == end and found.index(end) == len(found) - 1
