"""Bands of energy out of a time-of-flight stack: every count once, in the band that it belongs to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from processors import energy_bands
from stream import Context
from stream.codec.native import bslz4_compress
from stream.config import validate
from stream.errors import ConfigError
from stream.events import EMPTY, Detector, Encoding, Frame, Payload, ScanStart
from stream.pipeline.runner import Run
from stream.testing import GathererConformance, examples
from stream.testing.gathered import Gathered

SHAPE = (6, 5)
STACK = np.random.default_rng(4).integers(0, 60_000, (23, *SHAPE)).astype("u2")
"""Of which two images together overflow their own type."""
TOF = 0.01 + 0.001 * np.arange(23)


def start(uid: str = examples.UID, expected: int | None = 23, **changes: Any) -> ScanStart:
    given = {"shape": SHAPE, "dtype": STACK.dtype, "detector": Detector(), "readings": {"TOF": "s"}, **changes}
    return examples.scan(uid, expected, **given)


def frame(index: int, image: np.ndarray | None = None, **changes: Any) -> Frame:
    pixels = STACK[index] if image is None else image
    packed = Payload(bslz4_compress(pixels), Encoding.BSLZ4, SHAPE, pixels.dtype)
    given = {"readings": {"TOF": TOF[index]}, **changes}
    return Frame(examples.UID, index, {examples.CHANNEL: packed}, 1.7e9 + index, **given)


def gathered(
    indices: Sequence[int] = range(23), told: list[str] | None = None, given: ScanStart | None = None, **options: Any
) -> Mapping[str, Any]:
    trouble = (told if told is not None else []).append
    gatherer = energy_bands.create(energy_bands.Config(**options), Context(trouble=trouble))
    found = Gathered(gatherer, [], given or start())
    for index in indices:
        found.take(frame(index))
    found.finish(23)
    return found.fields("energy_bands")


class Conformance(GathererConformance):
    options: Mapping[str, Any] = MappingProxyType({"uniform": 3, "average": True, "picture_s": 0})

    def make(self) -> Any:
        return energy_bands.create(energy_bands.Config(**self.options), Context(trouble=print))

    def scan(self, uid: str) -> Any:
        return start(uid, expected=8)

    def frame(self, index: int) -> Any:
        return frame(index)


class TestUniform(Conformance):
    pass


class TestByTimeOfFlight(Conformance):
    options: Mapping[str, Any] = MappingProxyType({"tof": [[0.01, 0.0125], [0.012, 0.5]]})


def test_uniform_bands_have_every_image_once() -> None:
    """The original left some out by its text, made one band too many in fact, and had its edges in two."""
    for bands in (1, 2, 5, 23):
        made = gathered(uniform=bands)
        assert made["sum"].dtype == np.uint64 and len(made["sum"]) == bands
        np.testing.assert_array_equal(made["sum"].sum(axis=0), STACK.astype("u8").sum(axis=0))
        assert made["frames"].sum() == 23 and np.ptp(made["frames"]) <= 1
    assert gathered(uniform=5)["frames"].tolist() == [5, 5, 5, 4, 4]
    np.testing.assert_array_equal(gathered(uniform=5)["sum"][3], STACK[15:19].astype("u8").sum(axis=0))


def test_ranges_of_numbers_include_both_ends_and_may_overlap() -> None:
    told: list[str] = []
    made = gathered(told=told, index=[[0, 4], [4, 9], [20, 22]], average=True)
    for band, (first, last) in enumerate(((0, 5), (4, 10), (20, 23))):
        np.testing.assert_array_equal(made["sum"][band], STACK[first:last].astype("u8").sum(axis=0))
        np.testing.assert_allclose(made["mean"][band], STACK[first:last].mean(axis=0))
    assert made["frames"].tolist() == made["expected"].tolist() == [5, 6, 3] and not told


@pytest.mark.parametrize("text", ["{0}\t{1}\n", "{0:e},{1}\n"])
def test_ranges_of_times_are_taken_from_the_readings_or_the_cameras_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "IMAT_Spectra.txt"
    path.write_text("".join(text.format(each, 7) for each in TOF))
    for extra in ({}, {"spectra": str(path)}):
        made = gathered(tof=[[0.01, 0.0155], [0.0155, 0.5]], **extra)
        np.testing.assert_array_equal(made["sum"][0], STACK[:6].astype("u8").sum(axis=0))
        np.testing.assert_array_equal(made["sum"][1], STACK[6:].astype("u8").sum(axis=0))
        assert made["expected"].tolist() == ([6, 17] if extra else [-1, -1])


def test_the_spectrum_has_the_counts_of_every_image_by_its_number() -> None:
    made = gathered([5, 0, 3], uniform=1)["spectrum"]
    assert [made[index] for index in (0, 3, 5)] == [STACK[index].sum(dtype=int) for index in (0, 3, 5)]
    assert made[1] == np.iinfo("u8").max


def test_a_band_that_lacks_images_is_said_to() -> None:
    told: list[str] = []
    made = gathered([index for index in range(23) if index != 7], told, uniform=4)
    assert made["frames"].tolist() == [6, 5, 6, 5] and made["expected"].tolist() == [6, 6, 6, 5]
    assert told == [
        "energy_bands: 1 bands lack images, first band 1: 5 of 6; their sums are those of fewer images, see `frames`"
    ]


def test_a_pixel_that_was_flagged_in_one_image_has_no_sum_in_its_band() -> None:
    flagged = STACK[3].copy()
    flagged[2, 2] = 65_535
    gatherer = energy_bands.create(energy_bands.Config(uniform=2, average=True))
    found = Gathered(gatherer, [], start(expected=6))
    for index in range(6):
        found.take(frame(index, flagged if index == 3 else None))
    found.finish(6)
    made = found.fields("energy_bands")
    assert made["bad_pixels"].tolist() == [0, 1] and made["sum"][1, 2, 2] == np.iinfo("u8").max
    assert np.isnan(made["mean"][1, 2, 2])
    np.testing.assert_array_equal(made["sum"][0], STACK[:3].astype("u8").sum(axis=0))


def test_signed_and_floating_images_are_added_as_what_they_are() -> None:
    for kind, wanted in (("i4", np.int64), ("f4", np.float64)):
        gatherer = energy_bands.create(energy_bands.Config(uniform=1))
        found = Gathered(gatherer, [], start(expected=2, dtype=np.dtype(kind)))
        for index in range(2):
            found.take(frame(index, STACK[index].astype(kind) + 100_000))
        found.finish(2)
        made = found.fields("energy_bands")["sum"]
        assert made.dtype == wanted
        np.testing.assert_array_equal(made[0], STACK[:2].astype(int).sum(axis=0) + 200_000)


def test_sums_are_there_while_images_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy_bands, "BUSY", 0)
    found = Gathered(energy_bands.create(energy_bands.Config(uniform=2, picture_s=0)), [], start())
    for index in range(3):
        found.take(frame(index))
    np.testing.assert_array_equal(found.fields("energy_bands")["sum"][0], STACK[:3].astype("u8").sum(axis=0))
    assert found.covered["energy_bands"] == {0, 1, 2}


def test_an_image_without_a_time_of_flight_is_left_out() -> None:
    found = Gathered(energy_bands.create(energy_bands.Config(tof=[[0, 1]])), [], start())
    with pytest.raises(ValueError, match="the time of flight of this image is not known"):
        found.take(frame(0, readings=EMPTY))


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        ({"uniform": 2}, {"expected": None}, "energy_bands.images: how many images a stack has is not known"),
        ({"uniform": 24}, {}, "24 bands of 23 images: choose fewer"),
        ({"tof": [[0, 1]]}, {"readings": {"T": "K"}}, r"no reading is called 'TOF' .there are: T"),
        ({"tof": [[0, 1]], "spectra": __file__}, {}, "is no table with a time of flight"),
    ],
)
def test_bands_that_are_not_known_are_refused(options: Any, changes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        gathered([], given=start(**changes), **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "say the bands in one way"),
        ({"uniform": 1, "index": [[0, 1]]}, "say the bands in one way"),
        ({"index": [[5, 3]]}, "is no range"),
        ({"index": [[-1, 3]]}, "is no range"),
        ({"tof": [[0.2, 0.2]]}, "is no range"),
    ],
)
def test_ranges_that_are_none_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        energy_bands.Config(**options)


def test_a_folder_of_fits_images_becomes_bands_in_a_file(tmp_path: Path) -> None:
    """As the cameras of IMAT write them, with the sum of all that lies beside them."""
    fits = pytest.importorskip("astropy.io.fits", reason="pip install 'inbeam[fits]'")
    for index, image in enumerate(STACK[:12]):
        unit = fits.PrimaryHDU(image)
        unit.header["TOF"] = TOF[index]
        unit.writeto(tmp_path / f"angle_0_{index:05d}.fits")
    document = {
        "stream": {"type": "files", "files": [str(tmp_path / "angle_0_*.fits")]},
        "processors": [
            {"type": "energy_bands", "uniform": 3},
            {"type": "energy_bands", "name": "by_time", "tof": [[0.0, 0.0135], [0.0135, 1.0]]},
        ],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "bands.h5")}],
    }
    assert Run(validate(document), reopen=False).execute().exit_code == 0
    with h5py.File(tmp_path / "bands.h5") as file:
        bands = file["entry/energy_bands"]
        np.testing.assert_array_equal(bands["sum"][()], STACK[:12].reshape(3, 4, *SHAPE).astype("u8").sum(axis=1))
        assert bands["range"][()].tolist() == [[0, 3], [4, 7], [8, 11]]
        np.testing.assert_array_equal(file["entry/by_time/sum"][0], STACK[:4].astype("u8").sum(axis=0))
