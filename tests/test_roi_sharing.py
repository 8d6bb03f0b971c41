"""Sets of regions in JSON files: shared between scans and samples; pickles are never opened."""

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from measured_regions import box, measured
from roi_files import IMAGES, processed

import inbeam
from processors.roi import Config
from stream.errors import InbeamError

SET: dict[str, Any] = {
    "peak": {"kind": "rectangle", "x": [10.0, 20.0], "y": [0.0, 10.0], "background": "all", "colour": "#ffcc00"},
    "ring": {"kind": "ring", "center": [15.0, 10.0], "radius": [2.0, 6.0], "role": "background"},
    "gone": None,
}


def test_a_set_that_is_dumped_is_loaded_again(tmp_path: Path) -> None:
    inbeam.dump_roi(SET, tmp_path / "sample.json")
    assert inbeam.load_roi(tmp_path / "sample.json") == SET
    assert [path.name for path in tmp_path.iterdir()] == ["sample.json"]


def test_what_is_no_region_is_not_dumped(tmp_path: Path) -> None:
    with pytest.raises(InbeamError, match=r"nothing was written to .*: a.x: "):
        inbeam.dump_roi({"a": {"kind": "rectangle", "x": [3, 1], "y": [0, 1]}}, tmp_path / "sample.json")
    with pytest.raises(InbeamError, match="its background 'b' is no region"):
        inbeam.dump_roi({"a": box((0, 1), (0, 1), background="b")}, tmp_path / "sample.json")
    assert not list(tmp_path.iterdir())


def test_a_run_begins_with_the_regions_of_the_file_and_keeps_what_is_changed(tmp_path: Path) -> None:
    inbeam.dump_roi(SET, tmp_path / "sample.json")
    edits = [{"frame": 4, "path": "processors.roi.regions.peak.x", "value": [0, 10]}]
    path = processed(tmp_path, changes=edits, regions_file=str(tmp_path / "sample.json"))
    with h5py.File(path) as file:
        counts = file["entry/roi/counts"][()]
        told = json.loads(file["entry/provenance/parameters_roi"][()])["configuration"]
    assert counts[:4, 0].tolist() == IMAGES[:4, :10, 10:20].sum((1, 2)).tolist()
    assert counts[4:, 0].tolist() == IMAGES[4:, :10, :10].sum((1, 2)).tolist()
    assert told["regions"]["peak"]["x"] == [10, 20] and len(told["regions_read"]) == 16


def test_regions_of_two_origins_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    inbeam.dump_roi(SET, tmp_path / "sample.json")
    with pytest.raises(ValueError, match="regions beside regions_file: give one of them"):
        Config(regions_file=tmp_path / "sample.json", regions=SET)
    with pytest.raises(ValueError, match="cannot be read"):
        Config(regions_file=tmp_path / "none.json")
    for content, words in (
        (b'{"regions": {}}', "has inbeam_regions None, this inbeam reads 1"),
        (b"[1, 2]", "entry 0 is no rectangle"),
        (b'{"inbeam_regions": 1, "regions": [1]}', "holds no regions"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
    ):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            Config(regions_file=tmp_path / "bad.json")


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 2):
        Path("roi_position").write_bytes(pickle.dumps([Bomb()], protocol))
        with pytest.raises(InbeamError, match="convert a pickle to JSON"):
            inbeam.load_roi("roi_position")
    assert not Path("exploded").exists()


def test_rectangles_of_the_original_are_placed_where_pyqtgraph_had_them(tmp_path: Path) -> None:
    """pos is the corner that it is turned about; the image was cropped at column 150, row 70."""
    states = [{"pos": [20, 3], "size": [30, 10], "angle": 0.0}, {"pos": [20, 3], "size": [30, 10], "angle": 90.0}]
    (tmp_path / "roi.json").write_text(json.dumps(states))
    found = inbeam.load_roi(tmp_path / "roi.json", offset=(150, 70))
    assert list(found) == ["ctr", "tw"] and found["ctr"]["colour"] == "#ffff00"
    assert (found["ctr"]["x"], found["ctr"]["y"]) == ([170, 200], [73, 83])
    image = np.random.default_rng(1).poisson(50, (195, 487)).astype("u4")
    counts = measured(image, found)["counts"]
    assert counts[0] == image[73:83, 170:200].sum()
    assert counts[1] == image[73:103, 160:170].sum()  # x turns into y, y into -x
