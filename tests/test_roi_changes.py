"""Regions that move while the scan runs: each row by the regions of its frame number, the same again from the file."""

import json
import re
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
import yaml
from following import blocks
from pipelines import Kept
from roi_files import IMAGES, SHAPE, START, processed

from processors import roi
from processors.regions import kernels, levels
from stream import Detector, Encoding, Frame, Payload, ScanEnd, ScanStart, Work
from stream.commands.main import main
from stream.config import RunOptions
from stream.errors import ConfigError
from stream.pipeline.chain import Chain, Step
from stream.pipeline.control import RunControl
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.revisions import OptionSet
from stream.registry import model


def frame(index: int) -> Frame:
    return Frame("one", index, {"data": Payload(IMAGES[index].tobytes(), Encoding.RAW, SHAPE, IMAGES.dtype)}, 0.0)


def running(regions: dict[str, Any] = START) -> tuple[RunControl, Pipeline, Kept]:
    config = roi.Config(regions=regions, most=4)
    control, sink = RunControl(OptionSet((config,))), Kept()
    chains = [Chain([Step("roi", roi.create(config), 0, config, roi.create)]) for _ in range(2)]
    pipeline = Pipeline(chains, {"sink": (sink, True)}, RunOptions(reorder_ms=60_000), control=control)
    pipeline.put(ScanStart("one", "one", SHAPE, IMAGES.dtype, ("data",), None, Detector(), 0.0))
    return control, pipeline, sink


def ended(pipeline: Pipeline, *indices: int) -> None:
    for index in indices:
        pipeline.put(frame(index))
    pipeline.put(ScanEnd("one"))
    pipeline.close()


def test_a_region_moves_at_the_frame_that_is_named_and_late_frames_have_the_one_of_before() -> None:
    control, pipeline, sink = running()
    for index in (0, 1, 4):
        pipeline.put(frame(index))
    taken = control.change("processors.roi.regions.a.x", [10, 20], "alice")
    assert (taken.frame, taken.revision) == (5, 1)
    ended(pipeline, 5, 2, 3, 6)  # 2 and 3 come late
    for each in sink.frames:
        x = slice(0, 10) if each.index < 5 else slice(10, 20)
        assert each.results["roi"]["sum"][0] == IMAGES[each.index][:10, x].sum(), each.index
        assert each.revision == int(each.index >= 5)


def test_a_region_that_is_new_takes_the_next_place_and_one_that_is_taken_out_keeps_its_own() -> None:
    control, pipeline, sink = running()
    pipeline.put(frame(0))
    control.change("processors.roi.regions.b", {"kind": "rectangle", "x": [5, 9], "y": [5, 9]}, "alice")
    pipeline.put(frame(1))
    control.change("processors.roi.regions.a", None, "bob")
    ended(pipeline, 2)
    zero, one, two = (each.results["roi"] for each in sorted(sink.frames, key=lambda each: each.index))
    assert not np.isnan(zero["sum"][0]) and np.isnan(zero["sum"][1])
    assert one["sum"][1] == IMAGES[1][5:9, 5:9].sum()
    assert np.isnan(two["sum"][0]) and two["pixels"][0] == 0 and two["sum"][1] == IMAGES[2][5:9, 5:9].sum()


def test_a_region_that_is_dragged_leaves_nothing_behind() -> None:
    config = roi.Config(regions=START, most=4)
    made, work = roi.create(config), Work()
    made.start(ScanStart("one", "one", SHAPE, IMAGES.dtype, ("data",), None, Detector(), 0.0), work)
    options = OptionSet((config,))
    for step in range(30):
        options = options.changed("processors.roi.regions.a.x", [step / 10, 10 + step / 10])
        work.hand(options.processors[0])
        work.take(frame(0))
        made.process(work)
    assert len(made._shapes) <= len(made._sets) <= roi.MOST_SETS


def test_edits_that_cannot_be_are_refused_and_change_nothing() -> None:
    control, pipeline, _ = running()
    pipeline.put(frame(0))
    for path, value, words in (
        ("processors.roi.regions.a.x", [9, 3], "the smaller first"),
        ("processors.roi.regions.a.y", "wide", "must be a list"),
        ("processors.roi.regions.b", {"kind": "circle"}, "'kind' must be one of 'rectangle'"),
        (
            "processors.roi.regions.b",
            {"kind": "rectangle", "x": [0, 1], "y": [0, 1], "background": "c"},
            "is no region",
        ),
        ("processors.roi.most", 9, "may not change while inbeam runs"),
    ):
        with pytest.raises(ConfigError, match=words):
            control.change(path, value, "mallory")
    with pytest.raises(ConfigError, match="revision 0, not 4"):
        control.change("processors.roi.regions.a.x", [1, 2], "late", revision=4)
    assert control.value("processors.roi.regions.a.x") == [0.0, 10.0]
    ended(pipeline, 1)


def test_a_ring_without_a_geometry_in_mid_scan_is_nan_and_costs_no_frame() -> None:
    control, pipeline, sink = running()
    pipeline.put(frame(0))
    control.change("processors.roi.regions.r", {"kind": "ring", "radius": [1, 2], "unit": "2th_deg"}, "alice")
    ended(pipeline, 1)
    last = sink.frames[-1]
    assert not last.problem and np.isnan(last.results["roi"]["sum"][1])
    assert last.results["roi"]["sum"][0] == IMAGES[1][:10, :10].sum()


def test_the_past_of_a_series_with_changes_is_repeated_bit_for_bit(tmp_path: Path) -> None:
    """With a list of edits, then with the file that this made: history, revisions, every column."""
    ring = {"kind": "ring", "center": [15, 10], "radius": [2, 6], "colour": "#00ff00"}
    edits = [
        {"frame": 3, "path": "processors.roi.regions.a.x", "value": [10, 20], "who": "alice"},
        {"frame": 7, "path": "processors.roi.regions.ring", "value": ring, "who": "bob"},
    ]
    first = processed(tmp_path, "first.h5", edits, profiles=360)
    second = processed(tmp_path, "second.h5", first, profiles=360)
    with h5py.File(first) as one, h5py.File(second) as two:
        assert one["entry/changes/who"][()].tolist() == [b"alice", b"bob"]
        assert json.loads(one["entry/changes/value"][1]) == ring
        assert one["entry/ledger/revision"][()].tolist() == [0] * 3 + [1] * 4 + [2] * 5
        for name, dataset in one["entry/roi"].items():
            np.testing.assert_array_equal(dataset[()], two[f"entry/roi/{name}"][()], err_msg=name)
        y, x = np.mgrid[:20, :30] + 0.5
        inside = (np.hypot(x - 15, y - 10) >= 2) & (np.hypot(x - 15, y - 10) < 6)
        wanted = [*IMAGES[:3, :10, :10].sum((1, 2)), *IMAGES[3:, :10, 10:20].sum((1, 2))]
        assert one["entry/roi/sum"][:, 0].tolist() == wanted
        assert one["entry/roi/sum"][7:, 1].tolist() == IMAGES[7:, inside].sum(1).tolist()
        assert np.isnan(one["entry/roi/sum"][:7, 1]).all()


@pytest.mark.slow
def test_the_configuration_for_a_growing_sample_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """configs/insitu_roi.yaml as it is, on a folder of a sample with two measurements."""
    shape = (195, 487)
    images = np.random.default_rng(4).poisson(5, (2, 4, *shape)).astype("u4")
    images[:, :, 80:100, 235:255] += 20
    for measurement in range(2):
        folder = tmp_path / "sample" / f"time{measurement}"
        folder.mkdir(parents=True)
        for number, image in enumerate(images[measurement]):
            fabio.tifimage.TifImage(data=image).write(str(folder / f"time{measurement}_{number:04d}.tif"))
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[1] / "configs/insitu_roi.yaml"
    changed = ["--set", "stream.scan_files=4", "--set", f"run.control=ipc://{tmp_path}/control"]
    assert main(["run", "--quiet", "--scans", "2", *changed, str(config)]) == 0
    for measurement in range(2):
        with h5py.File(tmp_path / f"data/time{measurement}_roi.h5") as file:
            found = file["entry/roi"]
            assert found["pixels"][0].tolist() == [3000, 3000, 1800, 1800, 0, 0, 0, 0]
            assert found["counts"][:, 0].tolist() == images[measurement][:, 60:120, 220:270].sum((1, 2)).tolist()
            assert found["sum"][:, 0] == pytest.approx(400 * 20, abs=5 * found["sum_errors"][0, 0])
            assert found["sum"][:, 1] == pytest.approx(0, abs=5 * found["sum_errors"][0, 1])
            assert found["com_x"][:, 0] == pytest.approx(244.5, abs=2)


PAGE = Path(__file__).parents[1] / "docs/roi.md"


def test_what_the_page_says_of_the_options_is_true() -> None:
    for block in blocks(PAGE, "yaml"):
        entries = yaml.safe_load(block)
        for entry in entries["processors"] if isinstance(entries, dict) else entries:
            model("processors", entry["type"]).model_validate(entry)
    written = yaml.safe_load(blocks(PAGE, "yaml")[0])["processors"][1]
    options = OptionSet((roi.Config.model_validate(written),))
    changes = re.findall(r"^inbeam set '([^=]+)=(.*)'", "".join(blocks(PAGE, "sh")), re.MULTILINE)
    assert len(changes) == 3
    for path, value in changes:
        options = options.changed(path, yaml.safe_load(value))
    regions = options.value("processors.roi.regions")
    assert regions["bragg"] is None and regions["new"]["kind"] == "ellipse"


def test_a_background_that_comes_in_mid_scan_needs_no_kernel_that_is_not_compiled() -> None:
    running()[1].close()
    before = [kernels.moments.versions, levels.levels.versions]
    assert all(before)
    control, pipeline, sink = running()
    pipeline.put(frame(0))
    control.change("processors.roi.regions.b", {"kind": "rectangle", "x": [15, 20], "y": [0, 10]}, "alice")
    control.change("processors.roi.regions.a.background", "b", "alice")
    ended(pipeline, 1)
    assert sink.frames[-1].results["roi"]["background"][0] == IMAGES[1][:10, 15:20].mean()
    assert [kernels.moments.versions, levels.levels.versions] == before
