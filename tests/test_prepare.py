"""Images made ready: against SciPy, and against what the SPring-8 code does, step by step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import median_filter

from processors import correct, prepare, roi
from stream import ConfigError, Detector, Encoding, Frame, Payload, ScanStart
from stream.events import Array
from stream.work import Work

SHAPE = (195, 487)
DICE = np.random.default_rng(3)
RAW = DICE.poisson(12, SHAPE).astype("u4")
FLATS = DICE.poisson(900, (3, *SHAPE)).astype("u4")
CROP = {"x": [150, 370], "y": [70, 135]}
CORNER = {"x": [150, 170], "y": [70, 90]}


def prepared(image: Array, mask: Array | None = None, **options: Any) -> tuple[Array, Work]:
    masks = {} if mask is None else {"data": mask.astype("u4")}
    scan = ScanStart("one", "one", image.shape, image.dtype, ("data",), 1, Detector(pixel_mask=masks), 0.0)
    work = Work()
    correct.create(correct.Config()).start(scan, work)
    made = prepare.create(prepare.Config.model_validate({"type": "prepare", **options}))
    made.start(scan, work)
    work.take(Frame("one", 0, {"data": Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)}, 0.0))
    made.process(work)
    return work.results["prepared"]["data"], work


def flats(folder: Path) -> list[str]:
    for number, flat in enumerate(FLATS):
        np.save(folder / f"flat{number}.npy", flat)
    return [str(folder / f"flat{number}.npy") for number in range(len(FLATS))]


def test_compat_sp2014_gives_what_parse_py_gives(tmp_path: Path) -> None:
    """Crop, transpose, median of 3 x 3, mean of the flats over its mean, division by the empty corner, zeros to 1."""

    def parsed(image: Array) -> Array:
        return np.rot90(np.flipud(image[70:135, 150:370]), 3)

    image = RAW.copy()
    image[100:110, 200:210] = 0
    wanted = median_filter(np.array([parsed(image)]).astype(float), size=(1, 3, 3))
    mean = np.mean(np.array([parsed(flat) for flat in FLATS]), axis=0).astype(float)
    wanted = wanted / (mean / np.nanmean(mean))
    wanted = wanted / np.ma.mean(wanted[:, 0:20, 0:20], axis=(1, 2))[:, np.newaxis, np.newaxis]
    wanted[wanted == 0.0] = 1
    found, _ = prepared(
        image, crop=CROP, median="all", flat=flats(tmp_path), background={**CORNER, "how": "divide"}, transpose=True,
        compat="sp2014",
    )  # fmt: skip
    assert found.shape == (220, 65) and found.dtype == np.float64 and (found == 1).sum() >= 64
    np.testing.assert_allclose(found, wanted[0], rtol=1e-14)


def test_dead_pixels_become_the_median_of_their_good_neighbours() -> None:
    image, mask = RAW.copy(), np.zeros(SHAPE, bool)
    image[50, 60] = 0xFFFFFFFF
    mask[0, 0] = mask[80:83, 90:93] = True
    found, work = prepared(image, mask, median="bad")
    near = np.delete(image[49:52, 59:62].ravel(), 4)
    assert found[50, 60] == np.median(near) and found[0, 0] == np.median(image[[0, 1, 1], [1, 0, 1]])
    assert np.isnan(found[81, 91]) and np.isnan(found).sum() == 1
    good = ~mask
    good[50, 60] = False
    np.testing.assert_array_equal(found[good], image[good])
    assert work.image("prepared") is not None and work.image("data")[50, 60] == 0xFFFFFFFF


def test_the_median_of_all_is_that_of_scipy() -> None:
    found, _ = prepared(RAW, median="all")
    np.testing.assert_array_equal(found, median_filter(RAW.astype(float), size=3))


def test_the_background_of_an_empty_area_is_subtracted_without_its_bad_pixels() -> None:
    image, mask = RAW.copy(), np.zeros(SHAPE, bool)
    mask[75, 155] = True
    image[75, 155] = 60_000
    found, _ = prepared(image, mask, background=CORNER)
    area = np.ma.array(image[70:90, 150:170], mask=mask[70:90, 150:170])
    np.testing.assert_allclose(found[~mask], (image - area.mean())[~mask], atol=1e-5)
    assert np.isnan(found[75, 155])


def test_a_channel_that_is_prepared_is_measured_like_any_other() -> None:
    image = RAW.copy()
    image[10, 10] = 0xFFFFFFFF
    _, work = prepared(image, median="bad", background=CORNER)
    scan = ScanStart("one", "one", SHAPE, image.dtype, ("data",), 1, Detector(), 0.0)
    region = {"kind": "rectangle", "x": [0, 20], "y": [0, 20]}
    made = roi.create(roi.Config(channel="prepared", error_model="none", regions={"a": region}))
    made.start(scan, work)
    made.process(work)
    found = work.results["roi"]
    assert (found["pixels"][0], found["masked"][0]) == (400, 0)
    assert found["sum"][0] == pytest.approx(work.image("prepared")[:20, :20].sum(dtype=float), rel=1e-9)


@pytest.mark.parametrize("transpose", [False, True])
def test_a_channel_that_is_cropped_or_transposed_is_measured_where_its_pixels_are_on_the_detector(
    transpose: bool,
) -> None:
    image, work = prepared(RAW, crop=CROP, background=CORNER, transpose=transpose)
    scan = ScanStart("one", "one", SHAPE, RAW.dtype, ("data",), 1, Detector(), 0.0)
    places = {"inside": ([200, 230], [80, 90]), "edge": ([360, 380], [80, 90]), "off": ([0, 20], [0, 20])}
    regions = {name: {"kind": "rectangle", "x": x, "y": y} for name, (x, y) in places.items()}
    made = roi.create(roi.Config(channel="prepared", error_model="none", regions=regions))
    made.start(scan, work)
    made.process(work)
    found, (top, left) = work.results["roi"], (CROP["y"][0], CROP["x"][0])
    written = image.T if transpose else image
    assert image.shape == ((220, 65) if transpose else (65, 220))
    assert found["pixels"][:3].tolist() == [300, 100, 0] and found["masked"][:3].tolist() == [0, 100, 400]
    inside, edge = written[80 - top : 90 - top, 200 - left : 230 - left], written[80 - top : 90 - top, 360 - left :]
    assert found["sum"][0] == pytest.approx(inside.sum(dtype=float))
    assert found["sum"][1] == pytest.approx(edge.sum(dtype=float))
    assert np.isnan(found["sum"][2])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"crop": {"x": [0, 500], "y": [0, 10]}}, "reaches beyond the frames of 195 rows and 487 columns"),
        ({"crop": CROP, "background": {"x": [0, 20], "y": [70, 90]}}, "not within the columns of crop"),
        ({"compat": "sp2014"}, "needs median: all, flat and background"),
        ({"name": "data"}, "has a channel 'data' already"),
        ({"crop": {"x": [9, 3], "y": [0, 1]}}, "the smaller first"),
    ],
)
def test_what_cannot_be_prepared_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=words):
        prepared(RAW, **options)


def test_a_background_that_cannot_be_divided_by_fails_the_frame() -> None:
    with pytest.raises(ValueError, match="frame 0 has the background 0 in the empty area"):
        prepared(np.zeros(SHAPE, "u4"), background={**CORNER, "how": "divide"})
    with pytest.raises(ValueError, match="background nan"):
        prepared(RAW, np.ones(SHAPE) - np.eye(*SHAPE), background={"x": [200, 210], "y": [0, 5]})
