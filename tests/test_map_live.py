"""A map while its scan runs, over sockets: what a late client of the monitor sees, regions that are changed."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import completed, wait_for
from held_back import held_back
from integration_frames import PONI, record
from karabo_bridge import Client
from runs import background

from stream.commands.demo import free_port
from stream.commands.main import main
from stream.config import validate
from stream.pipeline.runner import Run

FAST, SLOW = 8, 5
OLD = {"first": {"range": [8.0, 14.0]}}
NEW = {"first": {"range": [10.0, 13.0], "edge_bins": 2}, "second": {"range": [15.0, 22.0]}}


def document(folder: Path, stream: dict[str, Any], name: str, rois: dict[str, Any], *sinks: Any, **run: Any) -> Any:
    integrate = {"type": "integrate", "poni": str(folder / "d.poni"), "npt": 120, "unit": "q_nm^-1", "device": "cpu"}
    mapped = {"type": "map", "fast": FAST, "slow": SLOW, "zigzag": True, "rois": rois, "spare_rois": 1}
    return {
        "stream": stream,
        "processors": [integrate, mapped],
        "sinks": [{"type": "hdf5", "path": str(folder / f"{name}.h5"), "flush_ms": 20}, *sinks],
        "run": {"workers": 2, **run},
    }


@pytest.mark.slow
def test_regions_that_are_set_in_mid_scan_are_seen_whole_by_a_client_that_comes_late(tmp_path: Path) -> None:
    (tmp_path / "d.poni").write_text(PONI)
    recorded = tmp_path / "scan.h5"
    record(recorded, FAST * SLOW)
    stream, seen, control = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
    live = document(
        tmp_path,
        {"type": "stream2", "endpoint": stream},
        "live",
        OLD,
        {"type": "monitor", "endpoint": seen, "rate_hz": 50, "image": "none"},
        control=control,
    )
    running = Run(validate(live), reopen=True)
    with background(running), held_back(recorded, stream, 3 * FAST) as go_on:
        wait_for(lambda: running.counters().finished > 2 * FAST, "two lines")
        for region, value in NEW.items():
            assert main(["set", "--control", control, f"processors.map.rois.{region}={value}"]) == 0
        go_on[3 * FAST].set()
        wait_for(lambda: completed(tmp_path / "live.h5"), "the end of the scan")
        with Client(seen, sock="SUB", timeout=20) as late:
            data, _ = late.next()
            while data["inbeam/counters"]["status"] == "running":
                data, _ = late.next()
        running.stop()
    shown = data["inbeam/map_images"]
    reference = document(tmp_path, {"type": "files", "files": [str(recorded)]}, "whole", NEW)
    assert Run(validate(reference), reopen=False).execute().exit_code == 0
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "live.h5") as file:
        assert file["entry/changes/frame"][0] > 0
        wanted, kept = whole["entry/map_images"], file["entry/map_images"]
        for place, region in (("first", "first"), ("spare_1", "second")):
            for quantity in ("sum", "net", "position", "width"):
                expected = wanted[f"{region}_{quantity}"][()]
                assert np.isfinite(expected).all() and expected.shape == (SLOW, FAST)
                np.testing.assert_array_equal(kept[f"{place}_{quantity}"][()], expected)
                np.testing.assert_array_equal(shown[f"{place}_{quantity}"], expected)
        np.testing.assert_array_equal(shown["total"], wanted["total"][()])
        assert shown["signal"] == "total" and shown["axes"] == ["slow", "fast"]
        np.testing.assert_array_equal(data["inbeam/map"]["I"], whole["entry/map/I"][()])
        np.testing.assert_array_equal(data["inbeam/map"]["frame_index"], whole["entry/map/frame_index"][()])
