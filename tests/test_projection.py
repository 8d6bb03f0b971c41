"""`projection`: the steps in their order, in the workers and behind them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors import correct, projection
from processors.projections import pixels, shape
from processors.projections.chain import IMAGE, Projections, travelling
from processors.projections.normalise import open_beam
from processors.projections.references import References
from stream import ConfigError, Detector, Encoding, Frame, Payload, ScanStart, config
from stream.events import Array
from stream.preflight import Known
from stream.products import Product
from stream.roles import Processor
from stream.testing import examples
from stream.testing.processors import ProcessorConformance
from stream.work import Work

SHAPE = (12, 20)
DICE = np.random.default_rng(4)
DARK = DICE.poisson(20, SHAPE).astype("u2")
FLAT = (DICE.poisson(900, SHAPE) + 100).astype("u2")
SAMPLE = DICE.poisson(400, SHAPE).astype("u2")


def scan_of(**changes: Any) -> ScanStart:
    return ScanStart("one", "one", SHAPE, np.dtype("u2"), ("data",), None, Detector(), 0.0, **changes)


def frame_of(index: int, image: Array, **readings: float) -> Frame:
    payload = Payload(image.tobytes(), Encoding.RAW, SHAPE, image.dtype)
    return Frame("one", index, {"data": payload}, 0.0, readings=readings)


def begun(*sections: dict[str, Any]) -> tuple[list[Processor], list[Product], Work]:
    work = Work()
    made: list[Processor] = [
        projection.create(projection.Config.model_validate({"type": "projection", **each})) for each in sections
    ]
    products = [product for each in made for product in each.start(scan_of(), work)]
    return made, products, work


def taken(made: list[Processor], work: Work, frame: Frame) -> Array | None:
    """What a gatherer gets, that has a bench of its own."""
    work.take(frame)
    for each in made:
        each.process(work)
    behind = work.beside()
    behind.take(Frame(frame.scan, frame.index, frame.payloads, 0.0, readings=frame.readings, results=work.results))
    found = Projections.of(behind, scan_of()).image(behind)
    return None if found is None else found[0]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name, image in (("flat", FLAT), ("dark", DARK)):
        np.save(tmp_path / f"{name}.npy", image)
    return {name: str(tmp_path / f"{name}.npy") for name in ("flat", "dark")}


def test_all_steps_come_in_the_order_of_the_original(files: dict[str, str]) -> None:
    options = {
        "rotate": 1,
        "air": {"x": [0, 12], "y": [0, 3]},
        "crop": {"x": [1, 11], "y": [4, 20]},
        "cut_off": {"part": 0.2},
        "outliers": {"difference": 0.3, "kind": "both"},
        "median": 3,
        "scale_down": 2,
    }
    made, _, work = begun({**files, **options})
    wanted = shape.rotated(open_beam(FLAT, DARK).transmission(SAMPLE), 1)
    wanted = (wanted / wanted[:3].mean(dtype=float))[4:20, 1:11]
    wanted = pixels.cut_off(wanted, 0.2, 0.0, 1.0)
    wanted = pixels.median(pixels.without_outliers(wanted, 0.3, 3, "both")[0], 3)
    wanted = shape.scaled_down(-np.log(wanted), 2)
    found = taken(made, work, frame_of(0, SAMPLE))
    assert found is not None and found.shape == (8, 5) == Projections.of(work, scan_of()).shape(scan_of())
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_steps_in_sections_of_their_own_do_the_same(files: dict[str, str]) -> None:
    one, _, work = begun({**files, "crop": {"x": [2, 18], "y": [0, 12]}, "median": 3})
    several, _, others = begun(
        {**files, "name": "flat", "logarithm": False},
        {"name": "crop", "crop": {"x": [2, 18], "y": [0, 12]}, "logarithm": False},
        {"name": "median", "median": 3},
    )
    frame = frame_of(0, SAMPLE)
    np.testing.assert_array_equal(taken(one, work, frame), taken(several, others, frame))


def test_flats_of_the_scan_give_what_flats_of_files_do_once_they_have_come(files: dict[str, str]) -> None:
    by_files, _, bench = begun({**files, "median": 3})
    by_scan, _, work = begun({"from_scan": True, "median": 3})
    behind = work.beside()
    chain = Projections.of(behind, scan_of())
    assert chain.waits and taken(by_scan, work, frame_of(0, SAMPLE)) is None
    for index, kind, image in ((1, "dark", DARK), (2, "flat", FLAT)):
        behind.take(frame_of(index, image))
        chain.reference(kind, behind)
    frame = frame_of(3, SAMPLE)
    np.testing.assert_array_equal(taken(by_scan, work, frame), taken(by_files, bench, frame))


def test_the_latest_flats_before_a_projection_are_its_own() -> None:
    references = References()
    for number, level in ((0, 100), (1, 140), (50, 200)):
        references.add("flat", number, np.full(SHAPE, level))
    assert (references.flats, references.darks) == (3, 0)

    def gain(number: float) -> float:
        beam = references.beam(number)
        assert beam is not None
        return float(beam.gain[0, 0])

    assert [round(1 / gain(number)) for number in (-1, 20, 49, 60)] == [120, 120, 120, 200]
    references.add("dark", 51, np.full(SHAPE, 20))
    assert 1 / gain(60) == pytest.approx(180)


def test_monitor_readings_take_out_what_the_beam_has_lost(files: dict[str, str]) -> None:
    made, _, work = begun({**files, "monitor": "current", "monitor_of_flat": 300.0, "logarithm": False})
    full = taken(made, work, frame_of(0, SAMPLE, current=300.0))
    half = taken(made, work, frame_of(1, SAMPLE, current=150.0))
    assert full is not None and half is not None
    np.testing.assert_allclose(half, 2 * full, rtol=1e-6)
    with pytest.raises(ValueError, match="nothing to divide by"):
        taken(made, work, frame_of(2, SAMPLE))


def test_pixels_that_are_set_right_are_counted(files: dict[str, str], tmp_path: Path) -> None:
    flat = FLAT.copy()
    flat[3, 4:6] = 0
    np.save(tmp_path / "flat.npy", flat)
    made, products, work = begun({**files, "outliers": {"difference": 5.0}})
    dead = SAMPLE.copy()
    dead[7, 7], dead[9, 9] = 60000, 0
    found = taken(made, work, frame_of(0, dead))
    assert found is not None and np.isfinite(found).all()
    told = work.results["projection"]
    assert (int(told["mended"]), int(told["outliers"]), int(told["low"])) == (2, 1, 1)
    assert products[0].parameters["unusable_pixels"] == 2


def test_masked_and_flagged_pixels_are_put_between_their_neighbours(files: dict[str, str], tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, "u1")
    mask[4, 5:7] = 1
    np.save(tmp_path / "mask.npy", mask)
    spoiled = SAMPLE.copy()
    spoiled[4, 5:7], spoiled[8, 3] = 9999, 65535
    for options in (files, {"from_scan": True}):
        work = Work()
        correct.create(correct.Config(mask=str(tmp_path / "mask.npy"))).start(scan_of(), work)
        made = projection.create(projection.Config.model_validate({"type": "projection", **options}))
        made.start(scan_of(), work)
        behind = work.beside()
        if "from_scan" in options:
            for index, kind, image in ((1, "dark", DARK), (2, "flat", FLAT)):
                behind.take(frame_of(index, image))
                Projections.of(behind, scan_of()).reference(kind, behind)
        work.take(frame_of(3, spoiled))
        made.process(work)
        behind.take(Frame("one", 3, work.frame.payloads, 0.0, results=work.results))
        answer = Projections.of(behind, scan_of()).image(behind)
        assert answer is not None
        found, counted = answer
        assert counted.mended == 3
        clear = open_beam(FLAT, DARK).transmission(SAMPLE)
        assert found[8, 3] == pytest.approx(-np.log((clear[8, 2] + clear[8, 4]) / 2), rel=1e-5)
        between = clear[4, 4] + np.array([1, 2]) / 3 * (clear[4, 7] - clear[4, 4])
        np.testing.assert_allclose(found[4, 5:7], -np.log(between), rtol=1e-5)


def test_a_dark_in_correct_is_not_left_out_in_silence(files: dict[str, str]) -> None:
    work = Work()
    correct.create(correct.Config(dark=files["dark"])).start(scan_of(), work)
    with pytest.raises(ConfigError, match="put dark and flat here"):
        projection.create(projection.Config.model_validate({"type": "projection", **files})).start(scan_of(), work)


@pytest.mark.parametrize("odd", [SAMPLE[:-1], np.zeros((13, 21), "u2"), SAMPLE.astype("u4")])
def test_a_frame_unlike_its_scan_is_no_projection_and_says_so(files: dict[str, str], odd: Array) -> None:
    made, _, work = begun(files)
    frame = Frame("one", 7, {"data": Payload(odd.tobytes(), Encoding.RAW, odd.shape, odd.dtype)}, 0.0)
    with pytest.raises(ValueError, match=r"frame 7 is uint.*, but its scan began as uint16 \(12, 20\)"):
        taken(made, work, frame)


def test_frames_that_are_no_projections_are_left_alone(files: dict[str, str]) -> None:
    made, _, work = begun({**files, "air": {"x": [0, 5], "y": [0, 5]}})
    work.take(frame_of(0, np.zeros(SHAPE, "u2"), image_key=2.0))
    made[0].process(work)
    assert not work.results


def test_images_are_written_only_if_they_are_to_be_kept(files: dict[str, str]) -> None:
    for keep in (False, True):
        made, products, work = begun({**files, "keep": keep})
        work.take(frame_of(0, SAMPLE))
        made[0].process(work)
        assert (IMAGE in work.results["projection"]) is keep
        assert IMAGE in work.results[travelling("projection")]
        assert (products[0].signal == IMAGE) is keep


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([{"air": {"x": [0, 5], "y": [0, 13]}}], "air: reaches beyond"),
        ([{"crop": {"x": [0, 13], "y": [0, 5]}, "rotate": 1, "from_scan": True}], "crop: reaches beyond"),
        ([{}], "logarithm: of counts"),
        ([{"from_scan": True}, {"name": "two"}], "gives logarithms already"),
        ([{"logarithm": False}, {"name": "two", "from_scan": True}], "belongs to the first"),
        ([{"from_scan": True, "scale_down": 13}], "leaves nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_start(sections: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        begun(*sections)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"from_scan": True, "flat": "a.npy"}, "leave one of them out"),
        ({"dark": "a.npy"}, "dark without flat"),
        ({"from_scan": True, "keep": True}, "keep with from_scan"),
        ({"flat": "a.npy", "monitor": "m"}, "monitor_of_flat"),
        ({"monitor": "m"}, "monitor without flat"),
        ({"scale_by": "sum"}, "multiply line integrals"),
    ],
)
def test_options_that_contradict_each_other_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        projection.Config.model_validate({"type": "projection", **options})


@pytest.mark.parametrize(
    ("processors", "problems"),
    [
        ([{"type": "projection", "from_scan": True}], 1),
        ([{"type": "projection", "from_scan": True}, {"type": "tomography"}], 0),
        ([{"type": "projection", "from_scan": True, "name": "a", "logarithm": False}, {"type": "projection"}], 2),
        ([{"type": "projection", "logarithm": False, "keep": True}], 0),
    ],
)
def test_images_that_nobody_takes_are_told_before_the_start(processors: list[dict[str, Any]], problems: int) -> None:
    stream = {"type": "watch", "folder": "."}
    made = config.validate({"stream": stream, "processors": processors, "sinks": [{"type": "hdf5", "path": "a.h5"}]})
    steps = [each for each in made.processors if isinstance(each, projection.Config)]
    found = [text for each in steps for _, text in each.preflight(Known(made))]
    assert len(found) == problems and all("nobody behind it" in text for text in found)


class TestConformance(ProcessorConformance):
    def make(self) -> Processor:
        options = {"type": "projection", "air": {"x": [0, 4], "y": [0, 4]}, "median": 3, "keep": True}
        return projection.create(projection.Config.model_validate(options))

    def frame(self, index: int) -> Frame:
        return examples.frame(index)
