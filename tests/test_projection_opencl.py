"""`projection` on an OpenCL device: the images that the CPU makes, step by step and all together."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import projected
import pytest
import radiographs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from processors import correct, projection
from processors.projections.chain import Link, Projections
from processors.projections.cpu import CpuEngine
from processors.projections.normalise import OpenBeam, open_beam
from processors.projections.opencl import OpenClEngine, Tables
from processors.projections.options import Steps
from processors.projections.stage import Counted, Stage
from processors.shared.correction import Correction
from processors.shared.device import context_of, devices
from processors.shared.device_frames import DeviceFrames
from stream import ConfigError, Detector, Encoding, Frame, Payload, ScanStart
from stream.codec.native import bslz4_compress
from stream.commands.main import main
from stream.commands.tomography.writing import README, VOLUME
from stream.events import Array, FrameStatus
from stream.pipeline.chain import Chain, Step

SHAPE = (33, 151)
EXACT = {"logarithm": False}
AIR = {"x": [3, 40], "y": [0, 9]}
pytestmark = [pytest.mark.opencl, pytest.mark.skipif(not devices(), reason="no OpenCL device, or no pyopencl")]


def counts(dtype: str, seed: int = 1, shape: tuple[int, int] = SHAPE) -> Array:
    """With holes: pixels, a part of a row, whole rows at an edge and inside, marked by the largest number."""
    dice = np.random.default_rng(seed)
    image = dice.poisson(60, shape).astype(dtype)
    image[dice.random(shape) < 0.01] = 120
    most = np.nan if image.dtype.kind == "f" else np.iinfo(dtype).max
    image[dice.random(shape) < 0.05] = most
    image[2, 5:90] = image[7, :60] = image[8, 70:] = image[0] = image[12:15] = image[-2:] = most
    image[20] = most
    image[20, 77] = 50
    return image


def beam_of(shape: tuple[int, int] = SHAPE) -> OpenBeam:
    dice = np.random.default_rng(5)
    dark = dice.poisson(5, shape).astype(float) / 3
    flat = 100 + dice.poisson(60, shape)
    flat[dice.random(shape) < 0.01] = 0
    return open_beam(flat, dark, monitor=200.0)


def correction_of(dtype: np.dtype[Any], shape: tuple[int, int] = SHAPE) -> Correction:
    mask = np.random.default_rng(6).random(shape) < 0.02
    high = 1e4 if dtype.kind == "f" else float(np.iinfo(dtype).max) - 1
    return Correction(shape, mask, low=0.0, high=high, dummy_low=61.0, dummy_high=61.0)


def both(
    options: dict[str, Any],
    dtype: str,
    *,
    beam: OpenBeam | None = None,
    checked: bool = True,
    group: int | None = None,
    shape: tuple[int, int] = SHAPE,
) -> tuple[OpenClEngine, CpuEngine]:
    import pyopencl as cl

    device, stage, pixels = devices()[0], Stage(Steps.model_validate(options), shape, ""), np.dtype(dtype)
    correction = correction_of(pixels) if checked else None
    queue = cl.CommandQueue(context_of(device))
    made = OpenClEngine(
        stage, device, pixels, lambda: DeviceFrames(device, queue, shape, pixels), correction,
        divides=beam is not None, tables=lambda: None if beam is None else Tables(device, beam), group=group,
    )  # fmt: skip
    return made, CpuEngine(stage, correction)


def assert_same(found: tuple[Array, Counted], wanted: tuple[Array, Counted], exact: bool = True) -> None:
    assert found[0].dtype == wanted[0].dtype == np.float32
    assert found[0].shape == wanted[0].shape
    np.testing.assert_allclose(astuple(found[1]), astuple(wanted[1]), rtol=1e-12)
    if exact:
        np.testing.assert_array_equal(found[0], wanted[0])
    else:
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-6, atol=1e-6)
    assert np.isfinite(found[0]).all()


STEPS: dict[str, dict[str, Any]] = {
    "none": EXACT,
    "rotate": {**EXACT, "rotate": 1},
    "turned over": {**EXACT, "rotate": 2},
    "rotate back and crop": {**EXACT, "rotate": 3, "crop": {"x": [2, 30], "y": [11, 140]}},
    "crop": {**EXACT, "crop": {"x": [4, 99], "y": [3, 32]}},
    "cut-off": {**EXACT, "cut_off": {"part": 0.55}},
    "bright outliers": {**EXACT, "outliers": {"difference": 0.2}},
    "dark outliers": {**EXACT, "outliers": {"difference": 0.2, "kind": "dark", "size": 5}},
    "outliers of an even size": {**EXACT, "outliers": {"difference": 0.1, "kind": "both", "size": 4}},
    "median": {**EXACT, "median": 3},
    "median of five": {**EXACT, "median": 5},
    "median of two": {**EXACT, "median": 2},
    "median beyond the image": {**EXACT, "median": 31, "crop": {"x": [70, 81], "y": [0, 4]}},
    "mean": {**EXACT, "scale_down": 3},
    "sum": {**EXACT, "scale_down": 4, "scale_by": "sum"},
}


SHARED = [name for name in STEPS if name not in ("rotate", "turned over", "crop", "median beyond the image")]
"""With work items that share a row, as on a GPU."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "group"), [*((name, None) for name in STEPS), *((name, 8) for name in SHARED)])
def test_each_step_gives_the_very_pixels_of_the_cpu(name: str, group: int | None) -> None:
    beam = beam_of()
    device, cpu = both(STEPS[name], "uint16", beam=beam, group=group)
    for seed in (1, 2):
        image = counts("uint16", seed)
        assert_same(device.run(image, beam, 150.0), cpu.run(image, beam, 150.0))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"])
def test_counts_of_every_type_are_divided_and_judged_alike(dtype: str) -> None:
    beam = beam_of()
    device, cpu = both(EXACT, dtype, beam=beam)
    image = counts(dtype)
    assert_same(device.run(image, beam, None), cpu.run(image, beam, None))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint32", "float32"])
def test_images_that_are_not_divided_are_taken_as_they_are(dtype: str) -> None:
    device, cpu = both(EXACT, dtype, checked=dtype != "float32")
    image = counts(dtype)
    assert_same(device.run(image, None, None), cpu.run(image, None, None))


@cache
def plain(group: int | None) -> tuple[OpenClEngine, CpuEngine]:
    return both(EXACT, "float32", checked=False, group=group)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from((None, 8)), st.integers(0, 2**32 - 1), st.sampled_from((0.01, 0.5, 0.99)), st.integers(0, SHAPE[0])
)
def test_holes_of_any_shape_are_filled_as_on_the_cpu(group: int | None, seed: int, holes: float, rows: int) -> None:
    dice = np.random.default_rng(seed)
    image = dice.normal(size=SHAPE).astype("f4")
    image[dice.random(SHAPE) < holes] = dice.choice([np.nan, np.inf, -np.inf])
    image[dice.permutation(SHAPE[0])[:rows]] = np.nan
    device, cpu = plain(group)
    if not np.isfinite(image).any():
        for engine in (device, cpu):
            with pytest.raises(ValueError, match="no pixel of the projection"):
                engine.run(image, None, None)
        return
    assert_same(device.run(image, None, None), cpu.run(image, None, None))


@pytest.mark.slow
def test_recorded_projections_become_the_line_integrals_of_the_cpu(shared: Path) -> None:
    """Of a tooth, from tomopy: as it lies there, and turned, cropped, without outliers, normalised by its air."""
    with h5py.File(shared / "tomo" / "tomopy_tooth.h5") as file:
        images, flats, darks = (np.asarray(file[f"exchange/{name}"]) for name in ("data", "data_white", "data_dark"))
    rows, columns = images.shape[1:]
    beam = open_beam(flats.mean(axis=0), darks.mean(axis=0))
    more: dict[str, Any] = {
        "rotate": 3,
        "air": {"x": [0, rows], "y": [0, 30]},
        "crop": {"x": [0, rows], "y": [20, columns - 1]},
        "outliers": {"difference": 0.02, "kind": "both"},
        "scale_down": 2,
    }
    for options in ({}, more):
        device, cpu = both(options, str(images.dtype), beam=beam, checked=False, shape=(rows, columns))
        for image in images[::60]:
            assert_same(device.run(image, beam, None), cpu.run(image, beam, None), exact=False)


TOGETHER = {
    "rotate": 1,
    "air": {"x": [0, 33], "y": [0, 20]},
    "crop": {"x": [1, 31], "y": [20, 150]},
    "cut_off": {"part": 0.3},
    "outliers": {"difference": 0.1, "kind": "both"},
    "median": 5,
    "scale_down": 2,
}
PHASE = {"pixel_m": 1e-6, "distance_m": 0.05, "energy_kev": 20.0, "delta_beta": 300.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "group"),
    [
        ({}, None),
        ({"air": AIR}, None),
        (TOGETHER, None),
        (TOGETHER, 8),
        ({**TOGETHER, "phase": PHASE}, None),
    ],
)
def test_line_integrals_are_those_of_the_cpu_to_one_part_in_a_million(
    options: dict[str, Any], group: int | None
) -> None:
    beam = beam_of()
    device, cpu = both(options, "uint16", beam=beam, group=group)
    for seed in (1, 2):
        image = counts("uint16", seed)
        image[15:18, ::7] = 0  # below the dark
        found, wanted = device.run(image, beam, 150.0), cpu.run(image, beam, 150.0)
        assert_same(found, wanted, exact=False)
        assert wanted[1].low > 0 or options


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "spoil", "monitor", "words"),
    [
        ({"air": AIR}, slice(0, 9), None, "air region has a mean of nan"),
        ({}, slice(None), None, "no pixel of the projection"),
        ({}, slice(0, 1), 0.0, "nothing to divide by"),
    ],
)
def test_what_cannot_be_done_fails_with_the_words_of_the_cpu(
    options: dict[str, Any], spoil: slice, monitor: float | None, words: str
) -> None:
    beam = beam_of()
    image = counts("uint16")
    image[spoil] = 65535
    for engine in both(options, "uint16", beam=beam):
        with pytest.raises(ValueError, match=words):
            engine.run(image, beam, monitor)


def test_a_device_that_cannot_do_it_rightly_is_refused() -> None:
    stage, device = Stage(Steps(), SHAPE, ""), devices()[0]

    def frames() -> DeviceFrames:
        raise AssertionError("nothing is to be sent")

    with pytest.raises(ConfigError, match="no double precision"):
        OpenClEngine(stage, replace(device, has_double=False), np.dtype("u2"), frames)
    with pytest.raises(ConfigError, match="float16 are not known"):
        OpenClEngine(stage, device, np.dtype("f2"), frames)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    dice = np.random.default_rng(5)
    np.save(tmp_path / "flat.npy", 100 + dice.poisson(60, SHAPE))
    np.save(tmp_path / "dark.npy", dice.poisson(5, SHAPE))
    return {name: str(tmp_path / f"{name}.npy") for name in ("flat", "dark")}


def scan_of(dtype: str = "uint16") -> ScanStart:
    return ScanStart("one", "one", SHAPE, np.dtype(dtype), ("data",), None, Detector(), 0.0)


def frame_of(image: Array, data: bytes | None = None, index: int = 0) -> Frame:
    payload = Payload(data or bslz4_compress(image), Encoding.BSLZ4, image.shape, image.dtype)
    return Frame("one", index, {"data": payload}, 0.0)


def chain_of(device: str, *sections: dict[str, Any], common: dict[object, Any] | None = None) -> Chain:
    steps = [Step("correct", correct.create(correct.Config()))]
    for each in sections:
        made = projection.create(projection.Config.model_validate({"device": device, **each}))
        steps.append(Step(made.config.name, made))
    chain = Chain(steps)
    products = chain.start(scan_of(), common=common)
    assert not chain.refusal
    assert all((device == "cpu") == (product.device == "cpu") for product in products[-len(sections) :])
    return chain


def assert_same_frames(found: Frame, wanted: Frame) -> None:
    assert found.status is wanted.status is FrameStatus.RECEIVED, (found.problem, wanted.problem)
    assert set(found.results) == set(wanted.results)
    for name, fields in wanted.results.items():
        for field, values in fields.items():
            np.testing.assert_allclose(found.results[name][field], values, rtol=1e-6, atol=1e-6)


def test_workers_send_frames_compressed_and_share_the_open_beam(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    common: dict[object, Any] = {}
    section = {**files, "air": AIR, "median": 3}
    made, cpu = [chain_of("opencl", section, common=common) for _ in range(2)], chain_of("cpu", section)
    links = [_links(chain)[0] for chain in made]
    assert links[0].engine is not links[1].engine
    for seed in range(3):
        image = counts("uint16", seed)
        for chain in made:
            assert_same_frames(chain.process(frame_of(image)), cpu.process(frame_of(image)))
            assert not chain._work.is_decoded("data")
    tables = {id(link.engine._tables) for link in links if isinstance(link.engine, OpenClEngine)}
    assert len(tables) == 1


def _links(chain: Chain) -> tuple[Link, ...]:
    return Projections.of(chain.bench(), scan_of()).links


def test_a_damaged_frame_is_corrupt_for_the_reason_that_the_cpu_has(files: dict[str, str]) -> None:
    section = {**files, "air": {"x": [0, 151], "y": [0, 1]}}
    device, cpu = chain_of("opencl", section), chain_of("cpu", section)
    image = counts("uint16")
    image[0] = 50
    data = bslz4_compress(image)
    for hurt in (data[:-1], data[:16] + bytes([255] * 40) + data[56:], data[:5]):
        found, wanted = (each.process(frame_of(image, hurt)) for each in (device, cpu))
        assert found.status is wanted.status is FrameStatus.CORRUPT
        assert found.problem == wanted.problem
    assert_same_frames(device.process(frame_of(image)), cpu.process(frame_of(image)))


@pytest.mark.slow
def test_one_projection_behind_another_may_be_on_a_device_as_well(files: dict[str, str]) -> None:
    first, second = {**files, "name": "flat", "logarithm": False}, {"crop": {"x": [3, 150], "y": [1, 31]}, "median": 3}
    for devices_of in (("opencl", "opencl"), ("opencl", "cpu"), ("cpu", "opencl")):
        sections = [{**each, "device": device} for each, device in zip((first, second), devices_of, strict=True)]
        image = counts("uint16")
        chain = Chain(
            [
                Step("correct", correct.create(correct.Config())),
                *(Step("", projection.create(projection.Config.model_validate(each))) for each in sections),
            ]
        )
        chain.start(scan_of())
        assert_same_frames(chain.process(frame_of(image)), chain_of("cpu", first, second).process(frame_of(image)))


@pytest.mark.slow
def test_flats_of_the_scan_are_divided_by_on_the_device_as_they_come(files: dict[str, str]) -> None:
    section = {"from_scan": True, "median": 3}
    common: dict[object, Any] = {}
    device = [chain_of("opencl", section, common=common) for _ in range(2)]
    assert _links(device[0])[0].engine is _links(device[1])[0].engine, "one for the gatherers, not one per worker"
    benches = [device[0].bench(), chain_of("cpu", section).bench()]
    flat = np.load(files["flat"]).astype("u2")
    frames = [frame_of(flat, index=0), frame_of(flat + 40, index=4)]
    for number, reference in enumerate(frames):
        found = []
        for bench in benches:
            chain = Projections.of(bench, scan_of())
            bench.take(reference)
            chain.reference("flat", bench)
            for seed in (1, 2):
                bench.take(frame_of(counts("uint16", seed), index=5 * number + 1 + seed))
                answer = chain.image(bench)
                assert answer is not None
                found.append(answer)
        for one, other in zip(found[:2], found[2:], strict=True):
            assert_same(one, other, exact=False)


@pytest.mark.slow
@pytest.mark.parametrize("logarithm", [True, False])
def test_live_slices_of_projections_on_a_device_are_those_of_the_cpu(logarithm: bool) -> None:
    made = []
    for device in ("opencl", "cpu"):
        config = projection.Config(from_scan=True, logarithm=logarithm, device=device)
        found = projected.begun(earlier=[projection.create(config)], centre=projected.CENTRE)
        for each in projected.scan():
            found.take(each)
        found.finish(65)
        made.append(found.fields("tomography")["slice_1"])
    assert np.nanmax(np.abs(made[0] - made[1])) < 1e-6 * np.nanmax(made[1])


@pytest.mark.slow
def test_the_volume_of_a_file_is_the_cpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where images of a folder are of a narrower type than the first; a wider one is refused."""
    source = radiographs.imat(tmp_path / "imat") / "raw_9.tif"
    Image.fromarray((radiographs.SAMPLE[9] >> 8).astype("u1")).save(source)
    options = ["--angles", "0+3", "--cor", "22.7", "--out-img-format", "none", "--threads", "2"]
    made = []
    for device in ("opencl", "cpu"):
        target = tmp_path / device
        given = ["tomo-reconstruct", "-i", str(source.parent), "-o", str(target), *options, "--device", device]
        assert main(given) == 0
        with h5py.File(target / VOLUME) as file:
            made.append(file["entry/data/data"][()])
        assert f"when prepared on {device}" in (target / README).read_text()
    assert np.nanmax(np.abs(made[0] - made[1])) < 1e-6 * np.nanmax(made[1])
    Image.fromarray(radiographs.SAMPLE[9].astype("i4")).save(source)
    given = ["tomo-reconstruct", "-i", str(source.parent), "-o", str(tmp_path / "no"), *options, "--device", "opencl"]
    assert main(given) == 2
    assert "its pixels are int32, those of the first projection uint16: set --device cpu" in capsys.readouterr().err


@pytest.mark.slow
def test_two_gatherers_may_use_the_device_at_the_same_time() -> None:
    beam, images = beam_of(), [counts("uint16", seed) for seed in range(4)]
    device, cpu = both({"median": 3}, "uint16", beam=beam)
    wanted = [cpu.run(image, beam, None) for image in images]

    def work(turn: int) -> None:
        for number in range(20):
            place = (number + turn) % 4
            assert_same(device.run(images[place], beam, None), wanted[place], exact=False)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
