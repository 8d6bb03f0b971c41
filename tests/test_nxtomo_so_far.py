"""Closed files of a tomogram that is still being written, for programs that open nothing else."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from sink_examples import frame, image, scan

from sinks import nxtomo
from sinks.check import check
from stream import Context
from stream.events import Frame, ScanEnd

NABU = """
import json, sys, warnings
warnings.simplefilter("ignore")
import hdf5plugin
from nabu.resources.dataset_tomoscan import NXTomoDataset
found = NXTomoDataset(sys.argv[1])
print(json.dumps({
    "projections": sorted(map(int, found.projections)),
    "flats": sorted(map(int, found.flats)),
    "darks": sorted(map(int, found.darks)),
    "angles": [float(each) for each in found.rotation_angles],
    "sums": found.get_reader().load_data().sum(axis=(1, 2)).astype(int).tolist(),
}))
"""
FILL = 65_535 * image(0).size
"""The sum of a frame that is not there."""
KEYS = [2, 1, 1, 0, 0, 0, 0, 0]
ANGLES = [0.0, 0, 0, 0, 30, 60, 90, 120]


def turned(index: int) -> Frame:
    return frame(index, readings={"image_key": float(KEYS[index]), "rotation_angle": ANGLES[index]})


def begun(path: Path, frames: int = 8, told: list[str] | None = None, uid: str = "01-first", **options: Any) -> Any:
    context = Context("sinks.0", trouble=(told if told is not None else []).append)
    given = {"flush_frames": 1, "closed_frames": 3, "pixel_size_m": (1e-6, 1e-6), "energy_kev": 20, **options}
    sink = nxtomo.create(nxtomo.Config(path=str(path), **given), context)
    sink.start(scan(uid, expected=frames), ())
    return sink


def opened(path: Path) -> dict[str, Any]:
    """What is in a file, opened as one that nobody writes."""
    with h5py.File(path, "r") as file:
        entry = file["entry"]
        detector = entry["instrument/detector"]
        return {
            "sums": detector["data"][()].sum(axis=(1, 2), dtype=int).tolist(),
            "keys": detector["image_key"][()].tolist(),
            "angles": entry["sample/rotation_angle"][()].tolist(),
            "same": detector["data"] == entry["data/data"],
            "definition": entry["definition"].asstr()[()],
            "signal": entry["data"].attrs["signal"],
            "numbers": entry["data/frame_number"][()].tolist(),
            "groups": sorted(entry),
        }


def sums(numbers: Any) -> list[int]:
    return [int(image(each).sum(dtype=int)) for each in numbers]


def test_what_has_come_is_in_a_closed_file_while_the_scan_goes_on_and_all_of_it_afterwards(tmp_path: Path) -> None:
    sink, so_far = begun(tmp_path / "a.nx"), tmp_path / "a_so_far" / "a.nx"
    for index in range(8):
        sink.write(turned(index))
        if index < 2:
            assert not so_far.exists()
        if index in (2, 4, 6):
            there = (index + 1) // 3 * 3
            found = opened(so_far)
            assert found["sums"] == sums(range(there)) and found["same"]
            assert found["keys"] == KEYS[:there] and found["angles"] == ANGLES[:there]
            assert found["definition"] == "NXtomo" and found["signal"] == "data"
            assert found["numbers"] == list(range(there)) and "ledger" not in found["groups"]
    sink.finish(ScanEnd("01-first", announced=8, expected=8))
    assert opened(so_far)["sums"] == opened(tmp_path / "a.nx")["sums"] == sums(range(8))
    parts = sorted(so_far.parent.glob("frames_*.h5"))
    assert len(parts) == 3
    for each in parts:  # the frames lie on the disk once
        with h5py.File(each, "r") as part:
            assert part["data"].is_virtual
    assert not list(so_far.parent.glob(".*"))


def test_whoever_has_the_file_open_goes_on_reading_the_same_frames_when_the_scan_is_complete(tmp_path: Path) -> None:
    sink, so_far = begun(tmp_path / "a.nx"), tmp_path / "a_so_far" / "a.nx"
    for index in range(4):
        sink.write(turned(index))
    with h5py.File(so_far, "r") as before:
        for index in range(4, 8):
            sink.write(turned(index))
        sink.finish(ScanEnd("01-first", announced=8, expected=8))
        data = before["entry/instrument/detector/data"]
        assert len(data) == 3 == len(before["entry/sample/rotation_angle"])
        np.testing.assert_array_equal(data[()], [image(index) for index in range(3)])


@pytest.mark.slow
def test_a_frame_that_comes_late_is_put_into_its_part(tmp_path: Path) -> None:
    sink, so_far = begun(tmp_path / "a.nx"), tmp_path / "a_so_far" / "a.nx"
    for index in (0, 2, 3, 4):
        sink.write(turned(index))
    assert opened(so_far)["sums"] == [*sums([0]), FILL, *sums([2])]
    assert opened(so_far)["keys"] == [2, 3, 1]
    sink.write(turned(1))
    found = opened(so_far)
    assert found["sums"] == sums(range(3)) and found["keys"] == KEYS[:3]
    sink.finish(ScanEnd("01-first", announced=8, expected=8))
    assert opened(so_far)["keys"] == [*KEYS[:5], 3, 3, 3]


@pytest.mark.slow
def test_a_scan_that_is_stopped_and_gone_on_with_has_them_all(tmp_path: Path) -> None:
    sink, so_far = begun(tmp_path / "a.nx"), tmp_path / "a_so_far" / "a.nx"
    for index in range(4):
        sink.write(turned(index))
    sink.close()
    assert opened(so_far)["sums"] == sums(range(3))
    again = begun(tmp_path / "a.nx")
    for index in range(4, 8):
        again.write(turned(index))
    assert opened(so_far)["sums"] == sums(range(6))
    again.finish(ScanEnd("01-first", announced=8, expected=8))
    assert opened(so_far)["sums"] == sums(range(8)) and check(tmp_path / "a.nx").sound


@pytest.mark.slow
def test_nothing_of_an_earlier_scan_is_taken_for_one_that_replaces_it(tmp_path: Path) -> None:
    sink, so_far = begun(tmp_path / "a.nx"), tmp_path / "a_so_far" / "a.nx"
    for index in range(8):
        sink.write(turned(index))
    sink.finish(ScanEnd("01-first", announced=8, expected=8))
    again = begun(tmp_path / "a.nx", uid="02-second", if_exists="overwrite")
    again.write(replace(turned(0), scan="02-second"))
    assert not so_far.exists() and not list(so_far.parent.glob("frames_*"))
    for index in range(1, 4):
        again.write(replace(turned(index), scan="02-second"))
    assert opened(so_far)["sums"] == sums(range(3))
    again.close()


def test_where_they_cannot_be_written_that_is_said_and_the_scan_has_its_file(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "a_so_far").write_text("in the way")
    sink = begun(tmp_path / "a.nx", told=told)
    for index in range(8):
        sink.write(turned(index))
    sink.finish(ScanEnd("01-first", announced=8, expected=8))
    assert len(told) == 1 and "a_so_far has not what comes from now on" in told[0]
    assert opened(tmp_path / "a.nx")["sums"] == sums(range(8))


@pytest.mark.slow
def test_nabu_opens_the_scan_while_it_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("nabu", reason="pip install nabu")
    sink, so_far = begun(tmp_path / "a.nx"), tmp_path / "a_so_far" / "a.nx"
    for index in range(7):
        sink.write(turned(index))
    growing = subprocess.run([sys.executable, "-c", NABU, str(tmp_path / "a.nx")], capture_output=True, text=True)
    assert "already open for write" in growing.stderr  # which is why
    done = subprocess.run([sys.executable, "-c", NABU, str(so_far)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["projections"] == [3, 4, 5] and found["flats"] == [1] and found["darks"] == [0]  # series, by the first
    np.testing.assert_allclose(np.rad2deg(found["angles"]), ANGLES[3:6])
    assert found["sums"] == sums([3, 4, 5])
    sink.close()
