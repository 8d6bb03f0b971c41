"""FITS files: as astropy writes them, whole or not at all."""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.errors import BadMessage
from stream.formats.images.file import Damaged, Image, ImageFile, is_image
from stream.formats.images.readings import readings_of

fits = pytest.importorskip("astropy.io.fits", reason="pip install 'inbeam[fits]'")
PIXELS = np.random.default_rng(8).integers(0, 65_535, (60, 50)).astype("u2")


def written(path: Path, *images: np.ndarray, **words: Any) -> Path:
    """The first image in the primary unit, the others as extensions."""
    units = [fits.PrimaryHDU(images[0]), *(fits.ImageHDU(image) for image in images[1:])]
    for name, value in words.items():
        units[0].header[name] = value
    fits.HDUList(units).writeto(path)
    return path


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_pixels_of_every_type_come_back_in_native_order(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "img_00001.fits", PIXELS.astype(kind))
    (image,) = ImageFile(str(path))
    assert isinstance(image, Image) and image.pixels.dtype == np.dtype(kind) and image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, PIXELS.astype(kind))
    packed = tmp_path / "img_00002.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    (image,) = ImageFile(str(packed))
    assert isinstance(image, Image)
    np.testing.assert_array_equal(image.pixels, PIXELS.astype(kind))


def test_extensions_and_stacks_are_frames(tmp_path: Path) -> None:
    stack = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype("i4")
    read = [
        image for image in ImageFile(str(written(tmp_path / "a.fits", stack[0], stack))) if isinstance(image, Image)
    ]
    found = [image.pixels for image in read]
    assert len(found) == 4
    np.testing.assert_array_equal(found[1:], stack)


def test_what_the_header_says_of_the_exposure_is_a_reading_and_what_it_says_of_the_file_is_none(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits", PIXELS, TOF=0.0123, TIMEBIN=1.024e-5, N_TRIGS=12_000, EXPOSURE="30.0")
    (image,) = ImageFile(str(path))
    assert isinstance(image, Image)
    found = readings_of(image.header).values
    assert found["TOF"] == 0.0123 and found["N_TRIGS"] == 12_000
    assert not {"BITPIX", "NAXIS1", "BZERO"} & found.keys()


@pytest.mark.parametrize("part", [0.01, 0.05, 0.4, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_not_taken(tmp_path: Path, part: float) -> None:
    path = written(tmp_path / "a.fits", PIXELS.repeat(20, axis=0))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(BadMessage, match=r"a\.fits"):
        ImageFile(str(path))


def test_a_damaged_frame_among_others_is_said_to_be(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits", PIXELS, PIXELS)
    path.write_bytes(path.read_bytes()[:-3000])
    good, bad = ImageFile(str(path), part=True)
    assert isinstance(good, Image) and isinstance(bad, Damaged)


def test_a_header_that_speaks_of_far_too_many_pixels_is_refused_before_any_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits", PIXELS)
    data = path.read_bytes().replace(b"NAXIS1  =                   50", b"NAXIS1  =          50000000000")
    path.write_bytes(data)
    with pytest.raises(BadMessage, match=r"a\.fits"):
        ImageFile(str(path))


def test_without_astropy_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.fits", PIXELS)
    monkeypatch.setitem(sys.modules, "astropy.io", None)
    monkeypatch.setitem(sys.modules, "astropy.io.fits", None)
    with pytest.raises(BadMessage, match=r"a\.fits is a FITS file: install astropy .*inbeam\[fits\]"):
        ImageFile(str(path))


def test_names_of_fits_files_are_names_of_images() -> None:
    assert all(is_image(name) for name in ("IMAT_0001.fits", "a.fit", "a.FTS", "a.fits.gz"))
