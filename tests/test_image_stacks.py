"""Image files with several frames, and several series of image files given at once."""

import gzip
import struct
from pathlib import Path

import fabio
import numpy as np
import pytest
from PIL import Image as Pillow
from watched import Driven

from stream.codec.payload import decode
from stream.errors import BadMessage
from stream.events import Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.formats.images.file import Damaged, Image, ImageFile
from stream.sources import files

PIXELS = np.random.default_rng(2).integers(0, 200, (5, 40, 30))


def stack(path: Path, dtype: str, compression: str | None) -> np.ndarray:
    pixels = PIXELS.astype(dtype)
    first, *rest = [Pillow.fromarray(one) for one in pixels]
    first.save(path, save_all=True, append_images=rest, compression=compression)
    return pixels


def pages(path: Path) -> list[np.ndarray]:
    found = list(ImageFile(str(path)))
    assert all(isinstance(image, Image) for image in found)
    return [image.pixels for image in found if isinstance(image, Image)]


def events(*paths: Path, **options: object) -> list[Event]:
    return list(files.create(files.Config(files=tuple(map(str, paths)), **options)).events())


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_all_pages_of_a_tiff_are_frames_also_compressed(tmp_path: Path, dtype: str, compression: str | None) -> None:
    pixels = stack(tmp_path / "stack.tif", dtype, compression)
    np.testing.assert_array_equal(pages(tmp_path / "stack.tif"), pixels)
    start, *frames, end = events(tmp_path / "stack.tif")
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd)
    assert (start.expected, end.announced, start.dtype) == (5, 5, np.dtype(dtype))
    np.testing.assert_array_equal([decode(frame.payloads["default"]) for frame in frames], pixels)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_a_stack_cut_off_in_its_last_page_is_not_whole_and_its_last_frame_a_hole(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "stack.tif"
    stack(path, "u2", compression)
    whole = path.read_bytes()
    holes = set()
    for size in range(len(whole) - 1, len(whole) - 900, -37):
        path.write_bytes(whole[:size])
        found = list(ImageFile(str(path), part=True))
        for image in found:
            assert isinstance(image, Damaged) or np.array_equal(image.pixels, PIXELS[image.place])
        lost = {image.place for image in found if isinstance(image, Damaged)}
        holes |= lost
        if lost:
            with pytest.raises(BadMessage, match=r"stack\.tif"):
                ImageFile(str(path))
    assert holes == {4}


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_compressed_page_with_other_bytes_is_refused_or_told_and_never_filled_up(
    tmp_path: Path, compression: str
) -> None:
    """Neither has a sum of its own, so that other bytes may be other pixels; but never fewer."""
    path = tmp_path / "one.tif"
    Pillow.fromarray(PIXELS[0].astype("u2")).save(path, compression=compression)
    whole = path.read_bytes()
    refused = 0
    for at in range(20, len(whole) - 300, 31):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            (found,) = pages(path)
        except BadMessage:
            refused += 1
        else:
            assert found.shape == (40, 30)
    assert refused > 5


def test_a_stack_in_a_watched_folder_gives_all_its_pages(tmp_path: Path) -> None:
    watched = Driven(tmp_path, scan_idle_s=60.0)
    watched.begin()
    for number in range(2):
        stack(tmp_path / f"s_{number}.tif", "u2", "tiff_lzw")
    found = watched.settle() + watched.step(70.0)
    frames = [event for event in found if isinstance(event, Frame)]
    assert [frame.index for frame in frames] == list(range(10))
    assert isinstance(found[-1], ScanEnd) and found[-1].announced == 10


def test_packed_stacks_are_read_as_any_other(tmp_path: Path) -> None:
    for compression in (None, "tiff_lzw"):
        pixels = stack(tmp_path / "plain.tif", "u2", compression)
        (tmp_path / "packed.tif.gz").write_bytes(gzip.compress((tmp_path / "plain.tif").read_bytes()))
        np.testing.assert_array_equal(pages(tmp_path / "packed.tif.gz"), pixels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_pages_of_a_bigtiff_are_frames(tmp_path: Path, order: str) -> None:
    pixels = PIXELS.astype("u2")
    whole = struct.pack(f"{order}2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 16 + pixels.nbytes)
    whole += pixels.astype(f"{order}u2").tobytes()
    for place in range(len(pixels)):
        tags = [(256, 3, 30), (257, 3, 40), (258, 3, 16), (273, 16, 16 + 2400 * place), (279, 16, 2400)]
        body = struct.pack(f"{order}Q", len(tags))
        for tag, kind, value in tags:
            body += struct.pack(f"{order}HHQ", tag, kind, 1)
            body += struct.pack(f"{order}HHI", value, 0, 0) if kind == 3 else struct.pack(f"{order}Q", value)
        end = len(whole) + len(body) + 8
        whole += body + struct.pack(f"{order}Q", end if place < len(pixels) - 1 else 0)
    (tmp_path / "big.tif").write_bytes(whole)
    np.testing.assert_array_equal(pages(tmp_path / "big.tif"), pixels)


def directory(entries: list[tuple[int, int, int, int]], order: str, after: int = 0) -> bytes:
    body = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack(f"{order}HHI", tag, kind, count)
        body += struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
    return body + struct.pack(f"{order}I", after)


def handmade(pixels: np.ndarray, order: str, *, extra: list[tuple[int, int, int, int]], text: bytes = b"") -> bytes:
    """A TIFF with its pixels behind the header, then a text, then the only directory."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    shape = pixels.shape[-2:]
    tags = [(256, 3, 1, shape[1]), (257, 3, 1, shape[0]), (258, 3, 1, 8 * pixels.itemsize), (259, 3, 1, 1)]
    tags += [*extra] + ([(270, 2, len(text), 8 + len(data))] if text else [])
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data) + len(text))
    return head + data + text + directory(sorted(tags), order)


STRIP = [(273, 4, 1, 8), (278, 3, 1, 40), (279, 4, 1, 2400)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_strips_and_tiles_of_both_byte_orders_are_put_together(tmp_path: Path, order: str) -> None:
    pixels = PIXELS[0].astype("u2")
    (tmp_path / "strip.tif").write_bytes(handmade(pixels, order, extra=STRIP))
    np.testing.assert_array_equal(pages(tmp_path / "strip.tif"), [pixels])
    padded = np.zeros((48, 32), "u2")
    padded[:40, :30] = pixels
    tiles = padded.reshape(3, 16, 2, 16).swapaxes(1, 2).reshape(6, 16, 16)
    data = tiles.astype(f"{order}u2").tobytes()
    table = struct.pack(f"{order}6I", *range(8, 8 + len(data), 512)) + struct.pack(f"{order}6I", *[512] * 6)
    tags = [(256, 3, 1, 30), (257, 3, 1, 40), (258, 3, 1, 16), (322, 3, 1, 16), (323, 3, 1, 16)]
    tags += [(324, 4, 6, 8 + len(data)), (325, 4, 6, 8 + len(data) + 24)]
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data) + len(table))
    whole = head + data + table + directory(tags, order)
    (tmp_path / "tiles.tif").write_bytes(whole)
    np.testing.assert_array_equal(pages(tmp_path / "tiles.tif"), [pixels])
    short = table[:24] + struct.pack(f"{order}6I", *[512] * 5, 510)
    (tmp_path / "tiles.tif").write_bytes(whole.replace(table, short))
    with pytest.raises(BadMessage, match="is said to be 510 of 512 bytes long"):
        ImageFile(str(tmp_path / "tiles.tif"))


def test_a_stack_of_imagej_with_one_directory_for_all_its_images_gives_them_all(tmp_path: Path) -> None:
    pixels = PIXELS.astype("u2")
    text = b"ImageJ=1.53t\nimages=5\nslices=5\nloop=false\n\x00"
    whole = handmade(pixels, ">", extra=STRIP, text=text)
    path = tmp_path / "stack.tif"
    path.write_bytes(whole)
    np.testing.assert_array_equal(pages(path), pixels)
    path.write_bytes(handmade(pixels[0], ">", extra=STRIP, text=text))
    np.testing.assert_array_equal(pages(path), pixels[:1])  # one image that was taken out of a stack, text and all


def test_a_preview_of_reduced_resolution_is_no_frame(tmp_path: Path) -> None:
    page, preview = PIXELS[0].astype("u2"), PIXELS[1][:10, :10].astype("u2")
    data = page.tobytes() + preview.tobytes()
    first = [(256, 3, 1, 30), (257, 3, 1, 40), (258, 3, 1, 16), *STRIP]
    second = [(254, 4, 1, 1), (256, 3, 1, 10), (257, 3, 1, 10), (258, 3, 1, 16), (273, 4, 1, 8 + 2400)]
    at = 8 + len(data)
    size = len(directory(first, "<"))
    head = struct.pack("<2sHI", b"II", 42, at)
    (tmp_path / "x.tif").write_bytes(head + data + directory(first, "<", at + size) + directory(second, "<"))
    np.testing.assert_array_equal(pages(tmp_path / "x.tif"), [page])


def test_an_image_in_colour_is_refused_and_named(tmp_path: Path) -> None:
    Pillow.fromarray(PIXELS[:3].transpose(1, 2, 0).astype("u1")).save(tmp_path / "x.tif")
    with pytest.raises(BadMessage, match=r"x\.tif is an image in colour: write one number per pixel"):
        ImageFile(str(tmp_path / "x.tif"))


def write(folder: Path, *numbers: int, name: str) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        fabio.tifimage.TifImage(data=PIXELS[number].astype("u2")).write(str(folder / name.format(number)))


def test_two_prefixes_in_one_folder_are_two_scans_as_in_a_watched_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, 0, 1, 2, name="saxs_{}.tif")
    write(folder, 3, 4, name="waxs_{}.tif")
    found = events(folder / "*.tif")
    starts = [event for event in found if isinstance(event, ScanStart)]
    assert [(start.name, start.expected, start.uid) for start in starts] == [
        ("saxs", 3, f"file:{folder}/saxs"),
        ("waxs", 2, f"file:{folder}/waxs"),
    ]
    watched = Driven(folder, scan_idle_s=1.0)
    live = watched.begin() + watched.settle() + watched.step(2.0)
    assert [(event.name, event.uid) for event in live if isinstance(event, ScanStart)] == [
        (start.name, start.uid) for start in starts
    ]
    for events_of in (found, live):
        by_scan = {
            start.uid: [event.index for event in events_of if isinstance(event, Frame) and event.scan == start.uid]
            for start in starts
        }
        assert list(by_scan.values()) == [[0, 1, 2], [0, 1]]


def test_images_of_a_folder_are_one_scan_where_the_user_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, 0, 1, 2, name="saxs_{}.tif")
    write(folder, 3, 4, name="waxs_{}.tif")
    start, *frames, _ = events(folder, series="folder")
    assert isinstance(start, ScanStart) and (start.name, start.expected, len(frames)) == ("data", 5, 5)


@pytest.mark.parametrize("number", ["position", "name"])
def test_files_with_different_numbers_of_frames_take_no_numbers_from_each_other(tmp_path: Path, number: str) -> None:
    for place, frames in enumerate((2, 3, 1)):
        image = fabio.edfimage.EdfImage(data=PIXELS[0].astype("u2"))
        for _ in range(frames - 1):
            image.append_frame(data=PIXELS[1].astype("u2"))
        image.write(str(tmp_path / f"s_{place}.edf"))
    (tmp_path / "s_3.edf").write_bytes(b"{")
    found = events(tmp_path, number=number)
    frames_of = {event.index: event.status for event in found if isinstance(event, Frame)}
    texts = [event.text for event in found if isinstance(event, Note)]
    received, corrupt = FrameStatus.RECEIVED, FrameStatus.CORRUPT
    if number == "position":
        assert frames_of == {**dict.fromkeys(range(6), received), 6: corrupt, 7: corrupt} and texts == []
    else:
        assert frames_of == {**dict.fromkeys(range(5), received), 6: corrupt, 7: corrupt}
        assert ["s_1.edf has 3 frames" in text for text in texts] == [True]
    assert isinstance(found[-1], ScanEnd) and found[-1].announced == 8
