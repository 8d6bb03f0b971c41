"""Channels by arithmetic: integrated as pyFAI does it, archived live, and nothing but arithmetic."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from integration_frames import PONI, SHAPE, assert_agrees, bad_pixels, by_pyfai, frame_of, rings, scan_of
from pydantic import ValidationError

from processors import correct, formula, integrate
from processors.shared.formula import Formula
from sinks.check import check
from stream.commands.main import main
from stream.errors import ConfigError
from stream.events import Detector
from stream.simulate import eiger
from stream.simulate.scans import simulated
from stream.wire.capture import Writer
from stream.work import Work

CHANNELS = ("threshold_1", "threshold_2")
DIFFERENCE = "threshold_1 - 0.5*threshold_2"


@pytest.fixture
def poni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tilted.poni"
    path.write_text(PONI)
    return path


def run(chain: list[Any], *images: np.ndarray, **header: Any) -> Work:
    """One frame through processors, as a worker does it."""
    scan, work = scan_of(images[0], Detector(**header), CHANNELS), Work()
    for processor in chain:
        processor.start(scan, work)
    work.take(frame_of(*images))
    for processor in chain:
        processor.process(work)
    return work


@pytest.mark.slow
@pytest.mark.parametrize("model", ["none", "azimuthal"])
def test_a_formula_of_channels_is_integrated_as_pyfai_integrates_the_same_image(poni: Path, model: str) -> None:
    low, high = rings(seed=1), rings(seed=2) // 2
    low[3, 5], high[60, 70], high[90, 20] = 65535, 65535, 60_000  # flagged in one, in the other, and saturated
    options = {"npt": 60, "error_model": model}
    masks = {"threshold_1": np.zeros(SHAPE, np.uint32), "threshold_2": bad_pixels().astype(np.uint32)}
    chain = [
        correct.create(correct.Config()),
        formula.create(formula.Config(formula=DIFFERENCE, name="difference")),
        integrate.create(integrate.Config(poni=poni, channel="difference", **options)),
        integrate.create(integrate.Config(poni=poni, name="first", **options)),
    ]
    work = run(chain, low, high, pixel_mask=masks, saturation_value=50_000)
    bad = bad_pixels()
    bad[3, 5] = bad[60, 70] = bad[90, 20] = True
    image = np.where(bad, 0, low.astype(np.float64) - 0.5 * high).astype(np.float32)
    assert_agrees(work.results["integrate"], by_pyfai(poni, image, options, mask=bad))
    kept = work.results["difference"]["data"]
    assert kept.dtype == np.float32 and np.array_equal(np.isnan(kept), bad)
    np.testing.assert_allclose(kept[~bad], image[~bad])
    only = np.zeros(SHAPE, bool)
    only[3, 5] = True
    assert_agrees(work.results["first"], by_pyfai(poni, low, options, mask=only))


def test_channels_whose_masks_leave_no_pixel_together_are_refused(poni: Path) -> None:
    upper = np.zeros(SHAPE, np.uint32)
    upper[:70] = 1
    chain = [
        formula.create(formula.Config(formula=DIFFERENCE, name="difference")),
        integrate.create(integrate.Config(poni=poni, channel="difference", npt=20)),
    ]
    masks = {"threshold_1": upper, "threshold_2": 1 - upper}
    with pytest.raises(ConfigError, match=r"integrate\.channel: every pixel .* mask of threshold_1: header, mask"):
        run(chain, rings(), rings(), pixel_mask=masks)


def test_dark_and_flat_are_applied_to_each_channel_before(tmp_path: Path) -> None:
    dark, flat = tmp_path / "dark.npy", tmp_path / "flat.npy"
    np.save(dark, np.full(SHAPE, 2.0, np.float32))
    np.save(flat, np.full(SHAPE, 4.0, np.float32))
    chain = [
        correct.create(correct.Config(dark=str(dark), flat=str(flat))),
        formula.create(formula.Config(formula="threshold_1 / threshold_2", name="ratio")),
    ]
    low, high = (np.full(SHAPE, counts, np.uint16) for counts in (42, 22))
    high[0, 0] = 2
    found = run(chain, low, high).results["ratio"]["data"]
    assert np.isnan(found[0, 0]), "divided by nothing"
    assert np.allclose(found.ravel()[1:], 2.0)


def test_formulas_for_later_processors_only_leave_no_result(poni: Path) -> None:
    chain = [
        formula.create(formula.Config(formula="threshold_1", name="a", keep=False)),
        integrate.create(integrate.Config(poni=poni, channel="a", npt=20)),
    ]
    assert chain[0].start(scan_of(rings(), None, CHANNELS), Work()) == ()
    assert set(run(chain, rings(), rings(seed=2)).results) == {"integrate"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"formula": "threshold_1 - threshold_3"}, "no channel 'threshold_3', only threshold_1, threshold_2"),
        ({"formula": "threshold_1 * 2", "name": "threshold_2"}, "has a channel 'threshold_2' already"),
    ],
)
def test_a_formula_that_does_not_fit_the_scan_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        formula.create(formula.Config(**options)).start(scan_of(rings(), None, CHANNELS), Work())


def test_counts_of_a_formula_are_not_taken_for_poisson(poni: Path) -> None:
    chain = [
        formula.create(formula.Config(formula=DIFFERENCE, name="difference")),
        integrate.create(integrate.Config(poni=poni, channel="difference", error_model="poisson")),
    ]
    with pytest.raises(ConfigError, match="choose azimuthal"):
        run(chain, rings(), rings(seed=2))


HOSTILE = [
    "__import__('os').system('true')",
    "threshold_1.__class__",
    "threshold_1[0]",
    "exp(threshold_1)",
    "where(threshold_1, 1, 2)",
    "(lambda: threshold_1)()",
    "[threshold_1 for _ in 'ab']",
    "threshold_1 if 1 else 2",
    "'a' + threshold_1",
    "True * threshold_1",
    "threshold_1 @ threshold_1",
    "threshold_1 := 3",
    "threshold_1; 1",
    "f'{threshold_1}'",
    "5",
    "",
    "threshold_1 -",
    "1e400 * threshold_1",
    "threshold_1" + " + 1" * 100,
    "(" * 150,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_but_arithmetic_on_channels_is_a_formula(text: str) -> None:
    with pytest.raises(ValidationError, match=r"use \+, -, \*, /, \*\*, numbers, names of channels"):
        formula.Config(formula=text)


def test_a_channel_that_is_named_like_a_function_is_a_channel() -> None:
    found = Formula("sin - 2*where", functions=())({"sin": np.full(3, 7.0), "where": np.arange(3)})
    assert found.tolist() == [7.0, 5.0, 3.0] and found.dtype == np.float32


def test_a_formula_is_archived_and_integrated_live(tmp_path: Path) -> None:
    detector = eiger.small(channels=2)
    writer = Writer(tmp_path / "two.cbors", "tcp://127.0.0.1:31001")
    frames = eiger.frames(detector, 3)
    for message in simulated(detector, eiger.pool(detector, 3), protocol="stream2", frames=3):
        writer.write([memoryview(part) for part in message.parts], 1.7e9)
    writer.close()
    config = {
        "stream": {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"},
        "processors": [
            {"type": "formula", "name": "difference", "formula": DIFFERENCE},
            {"type": "integrate", "channel": "difference", "npt": 50},
        ],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "results.h5")}],
        "run": {"workers": 2},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["process", "--quiet", str(tmp_path / "run.yaml"), str(tmp_path / "two.cbors")]) == 0
    assert check(tmp_path / "results.h5").sound
    with h5py.File(tmp_path / "results.h5") as file:
        kept = file["entry/difference/data"]
        assert kept.shape == (3, 256, 256) and file["entry/integrate/I"].shape == (3, 50)
        bad = eiger.pixel_mask(detector) != 0
        for image, frame in zip(kept, frames, strict=True):
            low, high = (frame[channel].astype(np.float64) for channel in CHANNELS)
            np.testing.assert_allclose(image, np.where(bad, np.nan, low - 0.5 * high))
