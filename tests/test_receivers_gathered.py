"""Maps, moments and sums of several processes are those of one; a gatherer that cannot be merged is refused."""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import committed, wait_for
from receivers import INTEGRATE, Detector, configuration, end, image, of_detectors, running, start

from sinks.check import check
from sinks.file.scan_product import COVERED
from stream import registry
from stream.commands import dividing, on_dask
from stream.commands.receivers import Receivers
from stream.config import Config, validate
from stream.errors import ConfigError
from stream.pipeline.lanes import Completed
from stream.pipeline.report import ScanReport
from stream.pipeline.runner import Run
from stream.roles import Gatherer, Mergeable

FRAMES, SHAPE = 24, (20, 30)
MAP = {"type": "map", "fast": {"points": 6}, "slow": {"points": 4}, "rois": {"ring": {"range": [0.3, 0.9]}}}
MOTORS = [
    {"motor": "mu", "first": -1.0, "step": 0.5, "points": 4},
    {"motor": "phi", "first": 3, "last": 4, "points": 3},
]
MOSAICITY = {"type": "mosaicity", "motors": MOTORS, "omega": {"motor": "rz", "first": 0, "step": 90, "points": 2}}
BANDS = {"type": "energy_bands", "uniform": 5, "average": True}
BINNING = {**INTEGRATE, "npt": 15, "beam_center_px": [15.0, 10.0], "pixel_size_m": [75e-6, 75e-6]}
ALL = (MAP, {**MOSAICITY, "place_by": "number"}, BANDS)
CASES: tuple[tuple[tuple[dict[str, Any], ...], float], ...] = (
    (ALL, 0.0),
    (({**MAP, "slow": {"points": 2}, "frames_per_point": 2},), 1e-6),
)
"""Options of gatherers, and the tolerance of floating-point fields; 0: bit for bit."""


def recorded(folder: Path) -> Path:
    path = folder / "scan.h5"
    images = np.random.default_rng(1).poisson(30, (FRAMES, *SHAPE)).astype("u2")
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, *SHAPE))
    return path


def pipeline(folder: Path, source: Path, *gatherers: Mapping[str, Any]) -> Config:
    return validate(
        {
            "stream": {"type": "files", "files": [str(source)]},
            "processors": [{"type": "correct"}, BINNING, *gatherers],
            "sinks": [
                {"type": "archive", "path": str(folder / "{scan}_frames.h5")},
                {"type": "hdf5", "path": str(folder / "{scan}.h5")},
            ],
            "run": {"workers": 1},
        }
    )


@dataclass(frozen=True)
class Divided:
    """The files of all parts of a run; `make` makes the masters."""

    config: Config
    files: dict[int, list[str | None]]
    uid: str

    def make(self) -> tuple[list[Path], list[str]]:
        masters = dividing.Masters(self.config, len(self.files))
        made, _ = masters.make("scan", self.uid, self.files)
        return made, list(masters.troubles)


def divided(config: Config, parts: int) -> Divided:
    """Run every part in this process, one after the other."""
    files: dict[int, list[str | None]] = {}
    uids: list[str] = []
    for number in range(parts):
        document = on_dask.document_of(config, number, parts)

        def ended(scan: ScanReport, completed: Completed, number: int = number) -> None:
            files[number] = [None if file is None else str(file) for file in completed.files]
            uids.append(scan.uid)

        Run(validate(document), reopen=False, ended=ended).execute()
    return Divided(config, files, uids[0])


def gathered(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of the products of the whole scan, by its path."""
    found: dict[str, np.ndarray] = {}

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and ("per" in item.attrs or name.endswith(COVERED)):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(look)
    return found


def assert_as_one(several: Path, one: Path, tolerance: float) -> None:
    found, wanted = gathered(several), gathered(one)
    assert found.keys() == wanted.keys() and wanted
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape, name
        if tolerance and values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "tolerance"), CASES)
def test_what_several_processes_gathered_is_what_one_gathers(
    options: tuple[dict[str, Any], ...], tolerance: float, tmp_path: Path
) -> None:
    source = recorded(tmp_path)
    assert Run(pipeline(tmp_path / "one", source, *options), reopen=False).execute().exit_code == 0
    (_, whole), troubles = divided(pipeline(tmp_path / "several", source, *options), 3).make()
    assert not troubles, troubles
    assert_as_one(whole, tmp_path / "one/scan.h5", tolerance)
    verdict = check(whole)
    assert verdict.sound, verdict.line()
    with h5py.File(whole) as file, h5py.File(tmp_path / "one/scan.h5") as other:
        names: list[str] = []
        file.visit(names.append)
        assert not [name for name in names if "part_" in name], "what only parts need"
        assert file["entry"].attrs["default"] == other["entry"].attrs["default"]


@pytest.mark.slow
def test_a_merged_product_that_was_changed_or_whose_parts_were_is_not_sound(tmp_path: Path) -> None:
    parts = divided(pipeline(tmp_path / "several", recorded(tmp_path), MAP), 2)
    (_, whole), _ = parts.make()
    assert check(whole).sound
    for path, told in ((whole, "was changed since it was made"), (Path(str(parts.files[1][1])), "they were changed")):
        with h5py.File(path, "r+") as file:
            kept = file["entry/map/I"][3, 2, 5]
            file["entry/map/I"][3, 2, 5] = kept + 1
        verdict = check(whole)
        assert not verdict.sound and any(told in problem for problem in verdict.problems), verdict.problems
        with h5py.File(path, "r+") as file:
            file["entry/map/I"][3, 2, 5] = kept
    assert check(whole).sound


def written_twice(parts: Divided, number: int) -> None:
    """Frame `number`, of part 0, is in the sums of part 1 too, as far as that says."""
    with h5py.File(str(parts.files[1][1]), "r+") as file:
        for name, group in file["entry"].items():
            if isinstance(group, h5py.Group) and COVERED in group and name != "data":
                group[COVERED][number] = 1


@pytest.mark.slow
def test_sums_that_have_a_frame_twice_are_left_out_and_told(tmp_path: Path) -> None:
    parts = divided(pipeline(tmp_path / "several", recorded(tmp_path), *ALL), 2)
    written_twice(parts, 1)
    (_, whole), troubles = parts.make()
    for name in ("map", "mosaicity", "energy_bands"):
        assert any(f"{name}: 1 frames came to two processes (the first: frame 1)" in text for text in troubles), (
            troubles
        )
        assert any(f"{name} does not cover 24 frames" in text for text in troubles)
    for name, values in gathered(whole).items():
        with h5py.File(whole) as file:
            fill = file[name].fillvalue
        assert ((values == fill) | (values != values)).all() or not values.shape, name
    assert not check(whole).sound


@pytest.mark.slow
def test_the_share_of_a_process_that_was_killed_for_good_is_left_out_and_told(tmp_path: Path) -> None:
    parts = divided(pipeline(tmp_path / "several", recorded(tmp_path), MAP), 2)
    with h5py.File(str(parts.files[1][1]), "r+") as file:
        file["entry/ledger/finished"][0] = 0
    (frames, whole), troubles = parts.make()
    assert [text for text in troubles if "map does not cover 12 frames that have data" in text], troubles
    with h5py.File(whole) as file:
        index = file["entry/map/frame_index"][()].ravel()
        assert index.tolist() == [*range(12), *[-1] * 12]
        assert np.isnan(file["entry/map/I"][2:]).all() and np.isfinite(file["entry/map/I"][:2, :, 1:8]).all()
    assert not check(whole).sound
    assert parts.make() == ([frames, whole], troubles), "told again, where nothing is left to be made"
    with h5py.File(str(parts.files[1][1]), "r+") as file:
        file["entry/ledger/finished"][0] = 1
    assert parts.make() == ([frames, whole], []), "made anew of a part that has been gone on with"
    assert check(whole).sound, check(whole).line()


@pytest.mark.slow
def test_a_live_map_of_receivers_one_of_which_is_killed_is_whole(tmp_path: Path) -> None:
    one, two, count = Detector(), Detector(), 60
    grid = {"type": "map", "fast": {"points": 10}, "slow": {"points": 6}}
    config = of_detectors(tmp_path, (one, two), {"type": "correct"}, INTEGRATE, grid, scans=1)
    parts = [tmp_path / f"1{kind}.r{number}.h5" for number in range(2) for kind in ("", "_frames")]
    try:
        with running(config, 2, one, two) as (receivers, codes):
            one.send(start(count), *(image(index) for index in range(0, 30, 2)))
            two.send(*(image(index) for index in range(1, 30, 2)))
            wait_for(lambda: sum(committed(path) for path in parts) == 60, "half of the frames in both files")
            killed = receivers.processes[1]
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: receivers.processes[1] not in (0, killed), "another process")
            one.send(*(image(index) for index in range(30, count, 2)))
            two.send(*(image(index) for index in range(31, count, 2)), end())
    finally:
        one.close()
        two.close()
    assert codes == [1], "it was started again"
    with h5py.File(tmp_path / "1.h5") as file:
        assert file["entry/map/frame_index"][()].ravel().tolist() == list(range(count))
        np.testing.assert_array_equal(file["entry/map/I"][()].reshape(count, -1), file["entry/data/I"][()])
        assert file[f"entry/map/{COVERED}"][()].all()
    verdict = check(tmp_path / "1.h5")
    assert verdict.sound, verdict.line()


def classes_of(name: str) -> list[type]:
    module = registry.module("processors", name)
    found = [each for each in vars(module).values() if isinstance(each, type)]
    return [each for each in found if each.__module__ == module.__name__]


def test_every_gatherer_says_in_the_docs_whether_it_can_be_merged() -> None:
    text = (Path(__file__).parents[1] / "docs/several.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (yes|no)\b", text, re.MULTILINE))
    known = {}
    for name in registry.BUILT_IN["processors"]:
        gatherers = [each for each in classes_of(name) if issubclass(each, Gatherer)]
        if gatherers:
            known[name] = "yes" if any("merge" in vars(each) for each in gatherers) else "no"
    assert told == known and len(known) >= 6


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"type": "diffraction_tomography", "fast": {"points": 6}}, "cannot be made of what several processes have"),
        ({"type": "tomography"}, "cannot be made of what several processes have"),
        ({**MOSAICITY, "background_lowest": 3}, "the 3 weakest of all frames are the background"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_the_start(options: dict[str, Any], why: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, "tcp://127.0.0.1:9", INTEGRATE, options)
    told = rf"processors\[1\].*{options['type']} needs all frames in one process \(.*{why}.*archive's master"
    with pytest.raises(ConfigError, match=told):
        Receivers(config, 2).execute()
    with pytest.raises(ConfigError, match=told):
        on_dask.process_on("local://1", config, parts=2, quiet=True)


def test_the_gatherers_that_merge_keep_to_the_role() -> None:
    for options in (MAP, MOSAICITY, BANDS):
        made = registry.create("processors", registry.model("processors", options["type"]).model_validate(options))
        assert isinstance(made, Gatherer) and isinstance(made, Mergeable) and made.undivided == ""
