"""Masks, darks and flats in whatever file they come: compressed TIFF, PNG, numpy's, HDF5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from PIL import Image

from processors.correction.images import averaged
from stream.errors import ConfigError

MASK = np.zeros((40, 50), np.uint8)
MASK[3:5], MASK[:, 7] = 1, 1


def picture(mode: str, **options: Any) -> Callable[[Path], None]:
    """Writes the mask with Pillow, in one of its modes."""

    def write(path: Path) -> None:
        grey = Image.fromarray(MASK * 255)
        made = Image.fromarray(MASK.astype(np.uint16) * 65535) if mode == "I;16" else grey.convert(mode)
        made.save(path, **options)

    return write


def dataset(place: str, **others: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file[place] = MASK
            for other, value in others.items():
                file[other] = value

    return write


def nexus(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["entry/other"] = np.zeros((40, 50))
        file["entry/mask/bad"] = MASK
        file.attrs["default"], file["entry"].attrs["default"] = "entry", "mask"
        file["entry/mask"].attrs.update({"NX_class": "NXdata", "signal": "bad"})


FILES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "Dioptas, which saves a mask as deflated TIFF": ("a.mask", picture("L", format="tiff", compression="tiff_deflate")),
    "LZW": ("a.tif", picture("L", compression="tiff_lzw")),
    "Adobe deflate": ("a.tiff", picture("L", compression="tiff_adobe_deflate")),
    "TIFF of 16 bits, LZW": ("a.tif", picture("I;16", compression="tiff_lzw")),
    "TIFF of single bits": ("a.tif", picture("1")),
    "TIFF as a fax": ("a.tif", picture("1", compression="group4")),
    "PNG": ("a.png", picture("L")),
    "PNG of 16 bits": ("a.png", picture("I;16")),
    "PNG of single bits": ("a.png", picture("1")),
    "PNG with three colours": ("a.png", picture("RGB")),
    "PNG with three colours and opacity": ("a.png", picture("RGBA")),
    "PNG with a palette": ("a.png", picture("P")),
    "a PNG by another name": ("a.edf", picture("L", format="png")),
    "npy": ("a.npy", lambda path: np.save(path, MASK)),
    "npy of bools": ("a.npy", lambda path: np.save(path, MASK.astype(bool))),
    "npz": ("a.npz", lambda path: np.savez(path, mask=MASK)),
    "npz, compressed, with a part": ("a.npz::bad", lambda path: np.savez_compressed(path, good=1 - MASK, bad=MASK)),
    "HDF5": ("a.h5::/mask", dataset("mask")),
    "HDF5 of one image": ("a.h5", dataset("entry/some/where", name="text", line=np.zeros(9))),
    "HDF5 whose default NeXus names": ("a.nxs", nexus),
    "HDF5 by another name": ("a.msk", dataset("mask")),
    "EDF, packed": ("a.edf.gz", lambda path: fabio.edfimage.EdfImage(data=MASK).write(str(path))),
    "Fit2D": ("a.msk", lambda path: fabio.fit2dmaskimage.Fit2dMaskImage(data=MASK).write(str(path))),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_mask_is_read_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    name, write = FILES[kind]
    path, sign, inner = name.partition("::")
    write(tmp_path / path)
    found = averaged("mask", f"{tmp_path / path}{sign}{inner}").pixels
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found != 0, MASK != 0)


def test_values_are_kept_and_frames_averaged(tmp_path: Path) -> None:
    stack = np.arange(3 * 40 * 50, dtype=np.float32).reshape(3, 40, 50)
    np.save(tmp_path / "a.npy", stack)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("deep", data=stack.reshape(1, 3, 40, 50), chunks=(1, 1, 40, 50))
    pages = [Image.fromarray(page) for page in stack]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    Image.fromarray(stack[0].astype(np.uint16)).save(tmp_path / "a.png")
    for name in ("a.npy", "a.h5", "a.tif"):
        np.testing.assert_array_equal(averaged("dark", str(tmp_path / name)).pixels, stack.mean(0, dtype=np.float64))
    np.testing.assert_array_equal(averaged("dark", str(tmp_path / "a.png")).pixels, stack[0])


@pytest.mark.parametrize(
    ("name", "write", "text"),
    [
        (
            "b.npz",
            lambda path: np.savez(path, one=MASK, two=MASK),
            r"2 arrays \(one, two\): name one, .*b.npz::one",
        ),
        ("b.npz::three", lambda path: np.savez(path, one=MASK), "it has no array three, only one"),
        ("b.npy", lambda path: np.save(path, np.array([{"a": 1}])), "cannot read"),
        ("b.npy", lambda path: np.save(path, np.zeros(5)), r"it holds an array of shape \(5,\), float64, not an image"),
        ("b.npy::x", lambda path: np.save(path, MASK), "it has no parts"),
        ("b.edf::x", lambda path: fabio.edfimage.EdfImage(data=MASK).write(str(path)), "it has no parts"),
        ("b.h5", dataset("one", two=MASK), r"it holds 2 datasets that may be images \(/one, /two\): name one"),
        ("b.h5::/three", dataset("one"), "it has no dataset /three"),
        ("b.txt", lambda path: path.write_text("0 1\n"), "cannot read .*b.txt: it is damaged, cut off or not an image"),
        ("b.tif", lambda path: path.write_bytes(b"II*\0" + bytes(30)), "cannot read .*b.tif"),
        ("b.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30)), "cannot read .*b.png"),
    ],
)
def test_what_is_no_image_is_refused_with_its_name(tmp_path: Path, name: str, write: Any, text: str) -> None:
    path, sign, inner = name.partition("::")
    write(tmp_path / path)
    with pytest.raises(ConfigError, match=text):
        averaged("mask", f"{tmp_path / path}{sign}{inner}")


def test_a_picture_in_colour_is_no_mask(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png: it is a picture in colour: save it in grey"):
        averaged("mask", str(tmp_path / "a.png"))


@pytest.mark.shared
def test_masks_and_flats_of_beamlines_are_read(shared: Path) -> None:
    eiger = shared / "powder" / "i15_1_eiger2_cdte500k"
    mask = averaged("mask", f"{eiger}/i15-1-100245-fastcs_eiger_meta.h5::/mask").pixels
    with h5py.File(eiger / "i15-1-100245-fastcs_eiger_meta.h5") as file:
        np.testing.assert_array_equal(mask != 0, file["mask"][()].squeeze() != 0)
    with pytest.raises(ConfigError, match=r"datasets that may be images .*: name one"):
        averaged("mask", f"{eiger}/i15-1-100245-fastcs_eiger_meta.h5")
    varex = shared / "powder" / "odftomo_varex_steel"
    assert averaged("mask", str(varex / "hot_pixels.edf.gz")).pixels.shape == (2880, 2880)
