"""What `correct` gathers: files, the stream's header, limits and flags; and what it says when they do not fit."""

from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from processors import correct, energy_bands, integrate, tomogram
from processors.correct import correction_for
from processors.shared.correction import Correction, Corrections
from stream.errors import ConfigError
from stream.events import Detector, ScanStart
from stream.work import Work

SHAPE = (6, 8)


def scan_of(
    dtype: str = "uint16", detector: Detector | None = None, uid: str = "uid", channels: Any = ("a", "b")
) -> Any:
    return ScanStart(uid, "12", SHAPE, np.dtype(dtype), channels, None, detector or Detector(), 0.0)


def corrected(options: dict[str, Any], scan: Any = None, channel: str | None = None) -> Correction:
    work, scan = Work(), scan or scan_of()
    (product,) = correct.create(correct.Config(**options)).start(scan, work)
    assert product.fields == ()
    return correction_for(work, scan, channel)


def edf(path: Path, image: Any) -> str:
    fabio.edfimage.EdfImage(data=np.asarray(image)).write(str(path))
    return str(path)


def test_several_darks_are_averaged(tmp_path: Path) -> None:
    names = tuple(edf(tmp_path / f"{value}.edf", np.full(SHAPE, value, np.uint16)) for value in (1, 2, 6))
    found = corrected({"dark": names})
    assert found.dark is not None and found.dark.dtype == np.float32
    np.testing.assert_array_equal(found.dark, np.full(SHAPE, 3.0))
    assert found.origin["dark"] == ", ".join(names)


def test_the_frames_of_an_hdf5_dataset_are_averaged(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        file["entry/data/data"] = np.stack([np.full(SHAPE, value, np.uint32) for value in (10, 20)])
    found = corrected({"dark": f"{tmp_path}/dark.h5::/entry/data/data"})
    np.testing.assert_array_equal(found.dark, np.full(SHAPE, 15.0))


def test_masks_of_files_and_header_are_combined(tmp_path: Path) -> None:
    one, two, header = (np.zeros(SHAPE, np.uint32) for _ in range(3))
    one[0, 0], two[1, 1], header[2, 2] = 1, 7, 1 << 8
    names = (edf(tmp_path / "one.edf", one), edf(tmp_path / "two.edf", two))
    scan = scan_of(detector=Detector(pixel_mask={"a": header, "b": np.zeros(SHAPE, np.uint32)}))
    assert {tuple(place) for place in np.argwhere(corrected({"mask": names}, scan).mask)} == {(0, 0), (1, 1), (2, 2)}
    assert {tuple(place) for place in np.argwhere(corrected({"mask": names}, scan, "b").mask)} == {(0, 0), (1, 1)}
    assert corrected({"mask": names, "use_detector_mask": False}, scan).mask.sum() == 2


@pytest.mark.parametrize(("applied", "expected"), [(True, None), (False, 0.5)])
def test_the_flat_field_of_the_header_is_used_unless_the_detector_has_applied_it(
    applied: bool, expected: float | None
) -> None:
    factor = np.full(SHAPE, 2.0, np.float32)
    factor[3, 3] = 0
    scan = scan_of(detector=Detector(flatfield={"a": factor}, flatfield_applied=applied))
    found = corrected({}, scan)
    if expected is None:
        assert found.flat is None and not found.mask.any()
    else:
        assert found.flat is not None
        assert found.flat[0, 0] == expected, "the header's flat multiplies, ours divides"
        assert found.mask[3, 3] and found.mask.sum() == 1
    assert corrected({"use_detector_flat": False}, scan).flat is None


def test_the_flat_of_a_file_and_of_the_header_multiply(tmp_path: Path) -> None:
    detector = Detector(flatfield={"a": np.full(SHAPE, 2.0, np.float32)}, flatfield_applied=False)
    found = corrected({"flat": edf(tmp_path / "flat.edf", np.full(SHAPE, 4.0, np.float32))}, scan_of(detector=detector))
    np.testing.assert_array_equal(found.flat, np.full(SHAPE, 2.0))


@pytest.mark.parametrize(
    ("dtype", "options", "saturation", "expected"),
    [
        ("uint16", {}, None, (0, 65534)),
        ("uint32", {}, 1000, (0, 1000)),
        ("uint32", {"saturation": None}, 1000, (0, 2**32 - 2)),
        ("uint32", {"saturation": 77}, 1000, (0, 77)),
        ("uint8", {"flag_maximum": False}, None, (0, 255)),
        ("int32", {}, None, (0, 2**31 - 2)),
        ("int32", {"flag_negative": False}, None, (-(2**31), 2**31 - 2)),
        ("float32", {}, None, (-np.inf, np.inf)),
        ("float32", {}, 9, (-np.inf, 9)),
    ],
)
def test_which_counts_are_valid_follows_from_type_header_and_options(
    dtype: str, options: dict[str, Any], saturation: int | None, expected: tuple[float, float]
) -> None:
    found = corrected(options, scan_of(dtype, Detector(saturation_value=saturation)))
    assert (found.low, found.high) == expected


@pytest.mark.parametrize("dtype", ["uint64", "int64"])
def test_the_flag_of_a_64_bit_type_is_bad_although_no_float_holds_it(dtype: str) -> None:
    image = np.full(SHAPE, 2**40, dtype)
    image[1, 2] = np.iinfo(dtype).max
    assert np.argwhere(corrected({}, scan_of(dtype)).bad(image)).tolist() == [[1, 2]]
    assert not corrected({"flag_maximum": False}, scan_of(dtype)).bad(image).any()


def test_apply_corrects_and_tells_the_bad_pixels(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0] = 1
    found = corrected(
        {
            "mask": edf(tmp_path / "mask.edf", mask),
            "dark": edf(tmp_path / "dark.edf", np.full(SHAPE, 2, np.uint16)),
            "flat": edf(tmp_path / "flat.edf", np.full(SHAPE, 0.5, np.float32)),
            "dummy": 7,
            "delta_dummy": 1,
        }
    )
    image = np.full(SHAPE, 12, np.uint16)
    image[2, :4] = (6, 7, 8, 9)
    image[3, 3] = 65535
    before = image.copy()
    signal, bad = found.apply(image)
    expected = mask != 0
    expected[2, :3] = expected[3, 3] = True
    np.testing.assert_array_equal(bad, expected)
    assert signal.dtype == np.float32 and signal[5, 5] == 20 and signal[2, 3] == 14
    assert (signal[bad] == 0).all()
    np.testing.assert_array_equal(image, before)


def test_floats_that_are_not_finite_are_bad() -> None:
    image = np.ones(SHAPE, np.float32)
    image[0, :3] = (np.nan, np.inf, -np.inf)
    assert corrected({}, scan_of("float32")).apply(image)[1].sum() == 3


def test_two_corrections_in_one_chain_serve_a_channel_each(tmp_path: Path) -> None:
    work, scan = Work(), scan_of()
    for value, channel in ((1, "a"), (2, "b")):
        dark = edf(tmp_path / f"{channel}.edf", np.full(SHAPE, value, np.uint16))
        correct.create(correct.Config(dark=dark, channel=channel)).start(scan, work)
    darks = [correction_for(work, scan, channel).dark for channel in ("a", "b")]
    assert [float(dark[0, 0]) for dark in darks if dark is not None] == [1, 2]


def test_what_an_earlier_scan_left_is_not_taken_for_the_next() -> None:
    work = Work()
    correct.create(correct.Config(saturation=5)).start(scan_of(uid="first"), work)
    assert correction_for(work, scan_of(uid="first")).high == 5
    assert correction_for(work, scan_of(uid="second")).high == 65534
    left = work.get(Corrections)
    assert left is not None and left.uid == "first"


def test_without_correct_the_defaults_are_made_from_the_header() -> None:
    header = np.zeros(SHAPE, np.uint32)
    header[1, 2] = 1
    scan = scan_of(detector=Detector(pixel_mask={"a": header}, saturation_value=9))
    found = correction_for(Work(), scan)
    assert found.mask.sum() == 1 and found.high == 9


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dark": "nowhere.edf"}, r"correct.dark: no such file: nowhere.edf \(looked for it in /"),
        (
            {"flat": "{folder}/small.edf"},
            r"correct.flat: .*small.edf has the shape \(2, 3\), .* have \(6, 8\): give one that was made with this",
        ),
        ({"mask": "{folder}/text.edf"}, "correct.mask: cannot read .*text.edf"),
        ({"dark": "{folder}/data.h5"}, r"it holds 0 datasets that may be images \(none\): name one, .*data.h5::/path"),
        ({"dark": "{folder}/data.h5::/other"}, "data.h5::/other: it has no dataset /other"),
        ({"dark": "{folder}/data.h5::/line"}, r"it holds an array of shape \(8,\), float64 there, not an image"),
        ({"channel": "c"}, "scan 12 has no channel 'c', only a, b"),
    ],
)
def test_files_that_do_not_fit_are_told_with_option_and_name(
    tmp_path: Path, options: dict[str, str], text: str
) -> None:
    edf(tmp_path / "small.edf", np.ones((2, 3), np.float32))
    (tmp_path / "text.edf").write_text("not an image")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["line"] = np.zeros(8)
    with pytest.raises(ConfigError, match=text):
        corrected({key: value.format(folder=tmp_path) for key, value in options.items()})


def images_that_leave_nothing(folder: Path) -> dict[str, str]:
    """Files that rule out every pixel, each in its way, and two masks that do so together."""
    half = np.zeros(SHAPE, np.uint8)
    half[:3] = 1
    made = {
        "nan": np.full(SHAPE, np.nan, np.float32),
        "zero": np.zeros(SHAPE, np.float32),
        "negative": np.full(SHAPE, -1.0, np.float32),
        "ones": np.ones(SHAPE, np.uint8),
        "upper": half,
        "lower": 1 - half,
    }
    return {name: edf(folder / f"{name}.edf", image) for name, image in made.items()}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"flat": "nan"}, "correct.flat: .*nan.edf is NaN, 0 or negative in every pixel: record the flat again"),
        ({"flat": "zero"}, "correct.flat: .*zero.edf is NaN, 0 or negative"),
        ({"flat": "negative"}, "correct.flat: .*negative.edf is NaN, 0 or negative"),
        ({"flat": ("ones", "nan")}, "correct.flat: .*ones.edf, .*nan.edf is NaN"),
        ({"dark": "nan"}, "correct.dark: .*nan.edf is NaN or infinite in every pixel"),
        ({"mask": "ones"}, "correct.mask: .*ones.edf masks every pixel .*invert it"),
        ({"mask": ("ones", "nan")}, "(?s)ones.edf masks every pixel.*nan.edf masks every pixel"),
        ({"mask": ("upper", "lower")}, "of 48 are ruled out by mask .*upper.edf 24, mask .*lower.edf 24; correct one"),
        ({"saturation": -3}, "correct.saturation: no count is left between 0 and -3"),
    ],
)
def test_what_leaves_no_pixel_is_refused_with_its_cause(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    files = images_that_leave_nothing(tmp_path)

    def named(value: Any) -> Any:
        return tuple(files[each] for each in value) if isinstance(value, tuple) else files.get(value, value)

    with pytest.raises(ConfigError, match=text):
        corrected({key: named(value) for key, value in options.items()})


@pytest.mark.parametrize(
    ("detector", "text"),
    [
        (
            Detector(pixel_mask={"a": np.ones(SHAPE, np.uint32)}),
            "use_detector_mask: the mask in the header of scan 12",
        ),
        (
            Detector(flatfield={"a": np.zeros(SHAPE, np.float32)}, flatfield_applied=False),
            "use_detector_flat: the flat in the header of scan 12 is NaN, 0 or negative in every pixel",
        ),
    ],
)
def test_a_header_that_leaves_no_pixel_is_refused(detector: Detector, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        corrected({}, scan_of(detector=detector))
    corrected({"use_detector_mask": False, "use_detector_flat": False}, scan_of(detector=detector))


def test_a_saturation_value_of_zero_says_nothing() -> None:
    assert corrected({}, scan_of(detector=Detector(saturation_value=0))).high == 65534


def test_a_channel_is_corrected_once() -> None:
    work, scan = Work(), scan_of()
    correct.create(correct.Config(channel="a")).start(scan, work)
    correct.create(correct.Config(channel="b")).start(scan, work)
    with pytest.raises(ConfigError, match=r"correct\.channel: a, b: a channel is corrected once"):
        correct.create(correct.Config()).start(scan, work)


def exposed(path: Path, value: float, seconds: float | None) -> str:
    header = {} if seconds is None else {"ExposureTime": f"{seconds}"}
    fabio.edfimage.EdfImage(data=np.full(SHAPE, value, np.float32), header=header).write(str(path))
    return str(path)


def test_each_dark_is_scaled_to_the_exposure_of_the_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    short, same = exposed(tmp_path / "short.edf", 3, 0.5), exposed(tmp_path / "same.edf", 9, 2.0)
    scan = scan_of(uid="scaled", detector=Detector(count_time_s=2.0))
    found = corrected({"dark": (short, same)}, scan)
    np.testing.assert_allclose(found.dark, (3 * 4 + 9) / 2)
    assert found.origin["dark_scaled"] == f"{short}: 0.5 s to 2 s"
    np.testing.assert_allclose(corrected({"dark": (short, same), "scale_dark": False}, scan).dark, 6)
    assert "dark_scaled" not in corrected({"dark": same}, scan).origin
    assert not caplog.text


def test_the_exposure_of_a_dark_in_hdf5_is_that_of_its_detector(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        detector = entry.create_group("instrument/detector")
        entry["instrument"].attrs["NX_class"], detector.attrs["NX_class"] = "NXinstrument", "NXdetector"
        detector["data"] = np.full((3, *SHAPE), 5, np.uint16)
        detector["count_time"] = 100.0
        detector["count_time"].attrs["units"] = "ms"
    scan = scan_of(uid="hdf5", detector=Detector(count_time_s=0.4))
    np.testing.assert_allclose(corrected({"dark": str(tmp_path / "dark.h5")}, scan).dark, 20)


@pytest.mark.parametrize(("seconds", "count_time_s", "who"), [(None, 1.0, "dark.edf"), (1.0, None, "scan 12")])
def test_a_dark_that_cannot_be_scaled_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float | None, count_time_s: float | None, who: str
) -> None:
    scan = scan_of(uid=f"told {who}", detector=Detector(count_time_s=count_time_s))
    dark = exposed(tmp_path / "dark.edf", 3, seconds)
    for _ in range(3):
        np.testing.assert_allclose(corrected({"dark": dark}, scan).dark, 3)
    (told,) = caplog.messages
    assert "is subtracted as it is" in told and f"{who} says no exposure" in told
    caplog.clear()
    corrected({"dark": dark, "scale_dark": False}, scan)
    assert not caplog.messages


@pytest.mark.parametrize("field", ["pixel_mask", "flatfield"])
def test_arrays_of_the_header_with_another_shape_are_refused(field: str) -> None:
    detector = Detector(**{field: {"a": np.ones((2, 3), np.float32)}}, flatfield_applied=False)
    with pytest.raises(ConfigError, match=r"has the shape \(2, 3\), its frames \(6, 8\)"):
        corrected({}, scan_of(detector=detector))


@pytest.mark.parametrize("make", [tomogram, energy_bands])
def test_a_dark_or_flat_is_never_left_out_in_silence(make: Any, tmp_path: Path) -> None:
    """Of processors that take nothing of `correct` but the bad pixels."""
    options = {tomogram: {"turn": {"angles": {"step": 1}}}, energy_bands: {"uniform": 1, "images": 2}}
    np.save(tmp_path / "image.npy", np.full(SHAPE, 2.0))
    for option in ("dark", "flat"):
        work = Work()
        correct.create(correct.Config(**{option: str(tmp_path / "image.npy")})).start(scan_of(), work)
        with pytest.raises(ConfigError, match=f"`correct` has a {option} "):
            make.create(make.Config(**options[make])).start(scan_of(), work)


def test_half_precision_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="float16, which nothing computes with: make float32"):
        integrate.create(integrate.Config(distance_m=0.1)).start(scan_of("float16"), Work())


def test_a_delta_without_dummy_is_refused() -> None:
    with pytest.raises(ValidationError, match="delta_dummy without dummy does nothing"):
        correct.Config(delta_dummy=2)
