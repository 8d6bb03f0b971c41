"""The grid of a map from what its source says: BLISS, NeXus, the user data of a stream, the recorded positions."""

import gzip
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bliss import Live
from dectris_messages import stream2_start
from hypothesis import given
from hypothesis import strategies as st

from processors.mapping.found import grid_for
from processors.mapping.options import Config
from processors.shared.learned import Learned, learned
from stream.commands.main import main
from stream.errors import ConfigError
from stream.events import EMPTY, ScanStart
from stream.sources import files
from stream.testing import examples
from stream.wire.stream2 import Decoder


def start_of(path: Path | str, **options: Any) -> ScanStart:
    events = files.create(files.Config(files=(str(path),), **options)).events()
    return next(event for event in events if isinstance(event, ScanStart))


@pytest.fixture
def mosa(shared: Path, tmp_path: Path) -> Path:
    """Scan 1.1: `fscan2d chi -1 0.08 62 diffrz -1.5 0.08 43`, its motors jitter."""
    path = tmp_path / "mosa.h5"
    with gzip.open(shared / "dfxm" / "darling_mosa_scan.h5.gz") as packed, path.open("wb") as made:
        shutil.copyfileobj(packed, made)
    return path


@pytest.mark.shared
def test_the_title_of_a_bliss_scan_is_read_and_says_the_grid(mosa: Path, caplog: Any) -> None:
    start = start_of(f"{mosa}::/1.1/instrument/pco_ff/image")
    assert start.detector.metadata["title"].startswith("fscan2d chi")
    grid, told = grid_for(Config(), start)
    assert (grid.slow.points, grid.fast.points, grid.motors) == (62, 43, ("chi", "diffrz"))
    assert told["slow"].startswith("chi from -1 in steps of 0.08, 62 points, from the command 'fscan2d chi")


@pytest.mark.shared
def test_a_grid_is_learned_from_recorded_positions_that_jitter(mosa: Path) -> None:
    start = start_of(f"{mosa}::/1.1/instrument/pco_ff/image")
    start = replace(start, detector=replace(start.detector, metadata=EMPTY))
    config = Config.model_validate({"slow": {"motor": "chi"}, "fast": {"motor": "diffrz"}, "place_by": "readings"})
    grid, told = grid_for(config, start)
    assert (grid.slow.points, grid.fast.points) == (62, 43)
    assert grid.slow.step == pytest.approx(0.08, abs=1e-6) and grid.fast.step == pytest.approx(0.08, abs=1e-5)
    assert told["fast"].endswith("from the recorded positions of diffrz")
    chi, diffrz = start.recorded("chi"), start.recorded("diffrz")
    assert chi is not None and diffrz is not None and start.recorded("nobody") is None
    places = [grid.place(n, {"chi": chi[n], "diffrz": diffrz[n]}) for n in range(len(chi))]
    assert [(place.row, place.column) for place in places if place] == list(np.ndindex(62, 43))
    by_number, _ = grid_for(config.model_copy(update={"place_by": "number"}), start)
    assert [by_number.place(n, {}) for n in range(len(chi))] == places


@pytest.mark.shared
@pytest.mark.slow
def test_a_bliss_scan_is_mapped_by_the_command_line_without_a_word_about_its_grid(
    mosa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.poni").write_text(
        'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": 1e-4, "pixel2": 1e-4}\n'
        "Distance: 0.1\nPoni1: 0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"
    )
    words = ["-p", "d.poni", "-c", "40", "-o", "map.h5", f"{mosa}::/1.1/instrument/pco_ff/image"]
    assert main(["diff-map", *words]) == 0
    with h5py.File("map.h5") as file:
        assert file["entry/map/frame_index"][()].tolist() == np.arange(62 * 43).reshape(62, 43).tolist()
        assert list(file["entry/map"].attrs["axes"]) == ["chi", "diffrz", "radial_axis"]
        assert file["entry/map/chi"][[0, -1]] == pytest.approx([-1, 3.88])
        assert "fscan2d" in file["entry/reduction/input/grid/slow"].asstr()[()]


def nexus(path: Path, positions: np.ndarray, title: str = "") -> Path:
    """Frames in a dataset (3, 4, rows, columns), with axes."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["samz", "samy", ".", "."]})
        data["data"] = np.arange(12 * 8 * 9, dtype="u2").reshape(3, 4, 8, 9)
        data["samz"], data["samy"] = [5.0, 4.0, 3.0], positions
        data["samz"].attrs["units"] = "mm"
        if title:
            entry["title"] = title
    return path


def test_the_shape_and_the_axes_of_a_nexus_map_are_its_grid(tmp_path: Path) -> None:
    start = start_of(nexus(tmp_path / "x.h5", np.array([0.0, 0.1, 0.2, 0.3])))
    grid, told = grid_for(Config(), start)
    assert (grid.slow.points, grid.slow.first, grid.slow.step, grid.slow.unit) == (3, 5, -1, "mm")
    assert (grid.fast.points, grid.fast.name, grid.fast.step) == (4, "samy", pytest.approx(0.1))
    assert told["slow"] == "samz from 5 mm in steps of -1, 3 points, from the shape of /entry/data/data"


def test_an_uneven_axis_gives_its_number_of_points_alone(tmp_path: Path) -> None:
    grid, told = grid_for(Config(), start_of(nexus(tmp_path / "x.h5", np.array([0.0, 0.1, 0.2, 0.5]))))
    assert grid.fast.points == 4 and not grid.fast.known
    assert told["fast"] == "samy, 4 points, from the shape of /entry/data/data"


def test_a_command_that_knows_the_positions_goes_before_a_shape_that_does_not(tmp_path: Path) -> None:
    path = nexus(tmp_path / "x.h5", np.array([0.0, 0.1, 0.2, 0.5]), "amesh samy 0 0.3 3 samz 5 3 2 0.1")
    with h5py.File(path, "r+") as file:
        del file["entry/data/samz"], file["entry/data/samy"]
    grid, told = grid_for(Config(), start_of(path))
    assert grid.fast.step == pytest.approx(0.1) and "the command 'amesh samy" in told["fast"]


@pytest.mark.parametrize(("shape", "points"), [((3, 4), 4), ((2, 4), None), ((-1, 4), None), ((12,), None)])
def test_a_scan_shape_counts_if_it_has_room_for_the_frames(
    tmp_path: Path, shape: tuple[int, ...], points: int | None
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["entry/data/data"] = np.ones((12, 8, 9), "u2")
        file["entry"].attrs["NX_class"] = "NXentry"
        file["entry/scan_shape"] = np.array(shape)
    start = start_of(tmp_path / "x.h5")
    if points is None:
        with pytest.raises(ConfigError, match="how many points a line has is not known"):
            grid_for(Config(), start)
    else:
        grid, told = grid_for(Config(), start)
        assert grid.fast.points == points and told["fast"] == "fast, 4 points, from /entry/scan_shape"


def test_a_bliss_scan_that_grows_has_its_title_too(tmp_path: Path) -> None:
    live = Live(tmp_path / "x.h5")
    with h5py.File(live.path, "a") as file:
        file["1.1/title"] = "amesh samy 0 1 4 samz 0 1 9 0.1"
    live.frames(1)
    live.counters(1)
    grid, _ = grid_for(Config(), live.growing().start)
    assert (grid.fast.points, grid.slow.points) == (5, 10)


@pytest.mark.parametrize("key", ["map", "grid"])
@pytest.mark.parametrize("packed", [dict, str])
def test_the_user_data_of_a_stream_says_the_grid(key: str, packed: type) -> None:
    said: Any = {key: {"fast": {"motor": "samy", "points": 5, "first": 0.0, "last": 1.0, "unit": "mm"}, "slow": 10}}
    (start,) = Decoder().feed([stream2_start(user_data=said if packed is dict else json.dumps(said))], 0.0)
    assert isinstance(start, ScanStart)
    grid, told = grid_for(Config(), start)
    assert (grid.fast.points, grid.slow.points, grid.fast.step) == (5, 10, 0.25)
    assert told["fast"] == f"samy from 0 mm in steps of 0.25, 5 points, from `{key}` of the source"


def test_words_of_the_source_that_are_no_grid_are_told_and_not_used(caplog: Any) -> None:
    scan = examples.scan()
    told = {"user_data": {"map": {"fast": {"points": "many"}}}}
    scan = replace(scan, detector=replace(scan.detector, metadata=told))
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigError, match="how many points a line has"):
        grid_for(Config(), scan)
    assert "what the source says in `map` is no grid" in caplog.text


def recorded_as(**motors: np.ndarray) -> ScanStart:
    """A recorded scan, all of whose positions are known."""
    return replace(examples.scan(), recorded=motors.get, readings=dict.fromkeys(motors, ""))


WALK = {"x": np.tile(np.arange(4.0), 3), "y": np.repeat(np.arange(3.0), 4)}
NAMED = {"fast": {"motor": "x", "points": 4, "first": 0, "step": 1}, "slow": {"motor": "y", "first": 0, "step": 1}}


def test_numbers_that_contradict_the_recorded_positions_are_refused() -> None:
    """A zigzag that nobody told of, an offset that is not there: a wrong map otherwise, and nobody would know."""
    there_and_back = WALK | {"x": np.where(WALK["y"] % 2 == 1, 3 - WALK["x"], WALK["x"])}
    grid_for(Config.model_validate({**NAMED, "zigzag": True}), recorded_as(**there_and_back))
    with pytest.raises(ConfigError, match=r"frame 4 at x = 0, but it was at 3. Correct zigzag"):
        grid_for(Config.model_validate(NAMED), recorded_as(**there_and_back))
    grid_for(Config.model_validate(NAMED), recorded_as(**WALK))
    with pytest.raises(ConfigError, match="Correct zigzag, offset"):
        grid_for(Config.model_validate({**NAMED, "offset": 3}), recorded_as(**WALK))


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (np.random.default_rng(1).uniform(0, 1, 60), "keep to no regular axis|not evenly spaced"),
        (np.repeat([0, 1, 2, 3, 4.5], 12), "evenly spaced|regular axis"),
        (np.repeat([0, 1, 2, 60, 61, 62.0], 10), "in several ways|points of an axis only|2 points"),
        (np.zeros(60), "it did not move"),
        (np.full(60, np.nan), "it has no recorded position"),
    ],
)
def test_positions_without_a_grid_are_refused(positions: np.ndarray, words: str) -> None:
    config = Config.model_validate({"fast": {"motor": "x"}, "slow": {"motor": "y"}, "place_by": "readings"})
    with pytest.raises(ConfigError, match=words):
        grid_for(config, recorded_as(x=positions, y=np.repeat(np.arange(5.0), 12)))


def test_a_motor_that_went_to_more_points_than_it_should_is_refused() -> None:
    config = Config.model_validate(
        {"fast": {"motor": "x", "points": 3}, "slow": {"motor": "y"}, "place_by": "readings"}
    )
    with pytest.raises(ConfigError, match="x went to 4 points, not 3"):
        grid_for(config, recorded_as(**WALK))


@given(
    points=st.integers(2, 40),
    lines=st.integers(2, 8),
    step=st.floats(-5, 5).filter(lambda step: abs(step) > 1e-3),
    first=st.floats(-100, 100),
    jitter=st.floats(0, 0.05),
    seed=st.integers(0, 2**32 - 1),
    missing=st.booleans(),
)
def test_what_is_learned_is_the_grid_that_was_gone_over(
    points: int, lines: int, step: float, first: float, jitter: float, seed: int, missing: bool
) -> None:
    dice = np.random.default_rng(seed)
    places = np.tile(np.arange(points), lines)
    positions = first + step * (places + dice.uniform(-jitter, jitter, len(places)))
    if missing:
        positions[dice.integers(1, len(places))] = np.nan
    found = learned(positions)
    if isinstance(found, str):
        assert jitter > 0.01 or missing  # refused is never wrong
        return
    assert isinstance(found, Learned)
    where = np.round((positions - found.first) / found.step)
    there = np.isfinite(positions)
    np.testing.assert_array_equal(where[there], places[there])
