"""The whole way: recorded detector streams and real frames through replay, run and process into files."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pyFAI
import pytest
import silx.io
import yaml
from commands import committed, detector, inbeam, pipeline, simulated_file, small_pipeline, wait_for
from karabo_bridge import Client
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
from runs import background

from sinks.check import check
from stream import FrameStatus, registry
from stream.codec.payload import decode
from stream.commands.demo import free_port
from stream.commands.main import main
from stream.config import validate
from stream.events import Array, ScanStart
from stream.pipeline.journal import Journal
from stream.pipeline.runner import Run

LIVE = {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"}
RECORDED = "streams/streaming-receiver"
GEOMETRY = {"distance_m": 0.1, "beam_center_px": (500.0, 520.0), "pixel_size_m": (75e-6, 75e-6)}
INTEGRATE = {"type": "integrate", "npt": 300, "unit": "r_mm", "error_model": "poisson", "device": "cpu"}


def images_of(config: Mapping[str, Any]) -> list[Array]:
    """Every image of the first channel that a source gives, decoded."""
    source = registry.create("stream", validate({"stream": config, "sinks": [{"type": "monitor"}]}).stream)
    events = list(source.events())
    return [
        decode(next(iter(event.payloads.values())))
        for event in events
        if not isinstance(event, ScanStart) and getattr(event, "payloads", None)
    ]


def assert_close(found: Array, error: Array, expected: Any) -> None:
    """<= 1e-5 of the larger of value and error, on every bin that is not empty."""
    filled = expected.count > 0
    scale = np.maximum(np.abs(expected.intensity), expected.sigma)[filled]
    scale[scale == 0] = 1
    assert np.abs(found[filled] - expected.intensity[filled]).max() <= 1e-5 * scale.max()
    assert (np.abs(found[filled] - expected.intensity[filled]) <= 1e-5 * scale).all()
    assert (np.abs(error[filled] - expected.sigma[filled]) <= 1e-5 * scale).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "count"),
    [("stream2", "derived_dectris_stream2_plain.cborseq.gz", 10), ("simplon", "eiger_legacy_dump.zip", 9)],
)
def test_a_recorded_stream_replayed_over_a_socket_is_archived_and_integrated_as_pyfai_does(
    shared: Path, tmp_path: Path, kind: str, name: str, count: int
) -> None:
    recording = shared / RECORDED / name
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    integrate = {**INTEGRATE, **GEOMETRY, "solid_angle": True, "polarization": 0.99}
    # The v1 recording stops in mid-scan: no end message will come.
    timeout = {"scan_timeout_s": 2.0} if kind == "simplon" else {}
    document = pipeline(tmp_path, {"type": kind, "endpoint": endpoint}, {"type": "correct"}, integrate, **timeout)
    running = Run(validate(document), reopen=True)
    with background(running) as reports, detector("replay", str(recording), "--bind", endpoint, "--rate", "max"):
        wait_for(lambda: reports, "the end of the run")
    (scan,) = reports[0].scans
    assert scan.counts[FrameStatus.RECEIVED] == count
    images = images_of({"type": "capture", "file": str(recording)})
    assert len(images) == count
    (archive,) = tmp_path.glob("*_frames.h5")
    (results,) = (path for path in tmp_path.glob("*.h5") if path != archive)
    ai = AzimuthalIntegrator(dist=0.1, poni1=520 * 75e-6, poni2=500 * 75e-6, pixel1=75e-6, pixel2=75e-6)
    with h5py.File(archive) as file, silx.io.open(str(results)) as opened:
        mask = (file["entry/instrument/detector/pixel_mask"][()] != 0) | (images[0] == np.iinfo("u4").max)
        for index, image in enumerate(images):
            assert np.array_equal(file["entry/data/data"][index], image)
            bad = mask | (image == np.iinfo(image.dtype).max)
            expected = ai.integrate1d(
                image,
                300,
                unit="r_mm",
                mask=bad,
                method=("no", "csr", "cython"),
                polarization_factor=0.99,
                error_model="poisson",
            )
            data = opened["entry/integrate"]
            assert_close(data["I"][index], data["I_errors"][index], expected)
    if kind == "stream2":
        assert check(archive).sound
        assert check(results).sound
        assert reports[0].exit_code == 0


def test_process_integrates_recorded_eiger2_frames_as_pyfai_does(shared: Path, tmp_path: Path) -> None:
    folder = shared / "powder/i15_1_eiger2_cdte500k"
    config = tmp_path / "powder.yaml"
    integrate = {**INTEGRATE, "distance_m": 0.3, "beam_center_px": (514.0, 1500.0), "pixel_size_m": (75e-6, 75e-6)}
    config.write_text(yaml.safe_dump(pipeline(tmp_path, LIVE, {"type": "correct"}, integrate)))
    recorded = folder / "i15-1-100245-fastcs_eiger_000001.h5"
    assert main(["process", "--quiet", str(config), f"{recorded}::/data"]) == 0
    (results,) = (path for path in tmp_path.glob("*.h5") if not path.stem.endswith("_frames"))
    ai = AzimuthalIntegrator(dist=0.3, poni1=1500 * 75e-6, poni2=514 * 75e-6, pixel1=75e-6, pixel2=75e-6)
    with h5py.File(recorded) as source, h5py.File(results) as file:
        raw = source["data"] if "data" in source else source["entry/data/data"]
        for index in (0, 7, 19):
            image = raw[index]
            expected = ai.integrate1d(
                image,
                300,
                unit="r_mm",
                mask=image == np.iinfo(image.dtype).max,
                method=("no", "csr", "cython"),
                error_model="poisson",
            )
            assert_close(file["entry/integrate/I"][index], file["entry/integrate/I_errors"][index], expected)
        assert file["entry/ledger/expected"][0] == 20


@pytest.mark.slow
def test_process_takes_a_powder_image_with_its_poni(shared: Path, tmp_path: Path) -> None:
    folder = shared / "powder/dioptas_ceo2_pilatus1m"
    config = tmp_path / "ceo2.yaml"
    image = folder / "CeO2_Pilatus1M.tif"
    poni_file = folder / "CeO2_Pilatus1M.poni"
    # The range is given: by itself pyFAI takes it from the pixels that this frame has not flagged.
    limits = (2.0, 20.0)
    integrate = {**INTEGRATE, "poni": str(poni_file), "npt": 800, "unit": "2th_deg", "radial_range": list(limits)}
    document = pipeline(tmp_path, LIVE, {"type": "correct"}, integrate)
    config.write_text(yaml.safe_dump(document))
    assert main(["process", "--quiet", str(config), str(image)]) == 0
    (results,) = (path for path in tmp_path.glob("*.h5") if not path.stem.endswith("_frames"))
    counts = fabio.open(str(image)).data
    ai = pyFAI.load(str(poni_file))
    expected = ai.integrate1d(
        counts,
        800,
        unit="2th_deg",
        mask=counts < 0,
        radial_range=limits,
        method=("no", "csr", "cython"),
        error_model="poisson",
    )
    with h5py.File(results) as file:
        data = file["entry/integrate"]
        assert_close(data["I"][0], data["I_errors"][0], expected)


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_where_its_ledger_ends(tmp_path: Path) -> None:
    recorded = simulated_file(tmp_path, 3000)
    config = small_pipeline(tmp_path, recorded, workers=1)
    results = tmp_path / "out/recorded.h5"
    process = subprocess.Popen(inbeam("process", "--quiet", str(config), str(recorded)))
    wait_for(lambda: committed(results) > 50, "frames on disk")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = committed(results)
    assert 50 < before < 3000, "the machine was too fast for this test: make the scan longer"
    kept = results.stat().st_ino
    assert main(["process", "--quiet", str(config), str(recorded)]) == 0
    assert results.stat().st_ino == kept, "the same file must be gone on with"
    for path in (results, tmp_path / "out/recorded_frames.h5"):
        verdict = check(path)
        assert verdict.sound, verdict.problems
        with h5py.File(path) as file:
            assert (file["entry/ledger/status"][()] == FrameStatus.RECEIVED).all()
            assert file["entry/ledger/expected"][0] == 3000
    with h5py.File(results) as file:
        patterns = file["entry/integrate/I"][()]
    for index in range(4, 3000):
        assert np.array_equal(patterns[index], patterns[index % 4], equal_nan=True)
    again = results.stat().st_mtime_ns
    assert main(["process", "--quiet", str(config), str(recorded)]) == 0
    assert results.stat().st_mtime_ns == again, "a finished scan is left alone"


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_a_clear_error_and_the_scan_is_completed_later(
    tmp_path: Path, small_disk: Path
) -> None:
    recorded = simulated_file(tmp_path, 600)
    config = small_pipeline(tmp_path, recorded)
    archive = small_disk / "frames.h5"
    command = inbeam(
        "process",
        "--quiet",
        str(config),
        str(recorded),
        "--set",
        f"sinks.0.path={archive}",
        "--set",
        f"sinks.1.link={archive}",
    )
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert stopped.returncode == 1
    assert "frames.h5" in stopped.stdout
    assert "room" in stopped.stdout or "full" in stopped.stdout
    before = committed(archive)
    assert 0 < before < 600
    with h5py.File(tmp_path / "out/recorded.h5") as file:
        assert 0 < np.count_nonzero(file["entry/ledger/status"][()]) <= 600
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    assert committed(archive) == 600
    assert check(archive).sound
    assert check(tmp_path / "out/recorded.h5").sound


@pytest.mark.slow
def test_a_full_disk_of_an_optional_file_leaves_the_other_files_and_the_monitor_alive(
    tmp_path: Path, small_disk: Path
) -> None:
    endpoint, port = f"tcp://127.0.0.1:{free_port()}", free_port()
    document = pipeline(tmp_path / "out", {"type": "stream2", "endpoint": endpoint})
    archive = {"type": "archive", "path": str(small_disk / "frames.h5"), "required": False, "flush_frames": 20}
    monitor = {"type": "monitor", "endpoint": f"tcp://127.0.0.1:{port}", "rate_hz": 50}
    document["sinks"] = [archive, {"type": "archive", "path": str(tmp_path / "kept.h5")}, monitor]
    running = Run(validate(document), reopen=True)
    with background(running) as reports:
        sending = ["simulate", "--detector", "small", "--frames", "1500", "--rate", "500", "--bind", endpoint]
        with detector(*sending), Client(f"tcp://127.0.0.1:{port}", sock="SUB", timeout=60) as client:
            wait_for(lambda: "frames.h5" in running.report().summary(), "the disk to be full")
            reached = running.counters().finished
            shown = 0
            while shown <= reached:
                shown = client.next()[0]["inbeam/counters"]["finished"]
            wait_for(lambda: reports, "the end of the run")
    assert reports[0].exit_code == 1
    assert reports[0].scans[0].counts[FrameStatus.RECEIVED] == 1500
    assert check(tmp_path / "kept.h5").sound
    assert 0 < committed(small_disk / "frames.h5") < 1500


@pytest.mark.slow
def test_a_live_run_that_is_killed_takes_up_the_scan_without_its_start_message(tmp_path: Path) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    document = pipeline(tmp_path / "out", {"type": "stream2", "endpoint": endpoint})
    document["sinks"] = document["sinks"][:1]
    document["sinks"][0]["flush_ms"] = 20
    config = tmp_path / "live.yaml"
    config.write_text(yaml.safe_dump(document))
    archive = tmp_path / "out/1_frames.h5"
    sending = ["simulate", "--detector", "small", "--frames", "2500", "--rate", "400", "--bind", endpoint]
    with detector(*sending) as sender:
        first = subprocess.Popen(inbeam("run", "--quiet", str(config)))
        wait_for(lambda: committed(archive) > 50, "frames on disk")
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = committed(archive)
        assert Journal.of(validate(document)).read() is not None
        second = subprocess.run(inbeam("run", "--quiet", str(config)), capture_output=True, timeout=120, check=False)
        sender.wait(60)
    with h5py.File(archive) as file:
        status = file["entry/ledger/status"][()]
        assert file["entry/ledger/expected"][0] == 2500
    stored = np.isin(status, (1, 2, 3))
    assert stored[:before].all(), "everything flushed before the kill is still there"
    assert stored[-1]
    assert stored.sum() > before
    lost = int((~stored).sum())
    # What the killed process had taken from the socket and not yet written is lost with it, and is said.
    assert second.returncode == (1 if lost else 0)
    assert (f"{lost} frames without data" in second.stdout.decode()) == bool(lost)
    assert check(archive).sound
    assert Journal.of(validate(document)).read() is None
    assert len(list((tmp_path / "out").glob("*.h5"))) == 1


@pytest.mark.slow
def test_a_recorded_stream_that_is_sent_again_after_a_kill_completes_the_same_file(
    shared: Path, tmp_path: Path
) -> None:
    recording = str(shared / RECORDED / "derived_dectris_stream2_plain.cborseq.gz")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    document = pipeline(tmp_path / "out", {"type": "stream2", "endpoint": endpoint}, {**INTEGRATE, **GEOMETRY})
    for sink in document["sinks"]:
        sink["flush_ms"] = 0
    document["run"]["scans"] = None
    config = tmp_path / "live.yaml"
    config.write_text(yaml.safe_dump(document))
    archive, results = tmp_path / "out/16_frames.h5", tmp_path / "out/16.h5"
    with detector("replay", recording, "--bind", endpoint, "--rate", "4"):
        first = subprocess.Popen(inbeam("run", "--quiet", str(config)))
        wait_for(lambda: committed(results) >= 2, "frames on disk")
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = committed(results)
    assert 2 <= before < 10
    second = subprocess.Popen(inbeam("run", "--quiet", str(config)))
    try:
        with detector("replay", recording, "--bind", endpoint, "--rate", "max") as sender:
            sender.wait(60)
            wait_for(lambda: committed(archive) == 10 and committed(results) == 10, "all frames on disk")
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(30)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.h5")) == ["16.h5", "16_frames.h5"]
    for path in (archive, results):
        assert check(path).sound, check(path).problems
    images = images_of({"type": "capture", "file": recording})
    with h5py.File(archive) as file:
        assert np.array_equal(file["entry/data/data"][()], images)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_frames_in_hand_and_exits_with_zero(tmp_path: Path, number: int) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    document = pipeline(tmp_path / "out", {"type": "simplon", "endpoint": endpoint})
    document["sinks"] = document["sinks"][:1]
    document["sinks"][0]["flush_ms"] = 20
    config = tmp_path / "live.yaml"
    config.write_text(yaml.safe_dump(document))
    archive = tmp_path / "out/1_frames.h5"
    sending = ["simulate", "--protocol", "simplon", "--detector", "small", "--frames", "100000", "--rate", "200"]
    with detector(*sending, "--bind", endpoint):
        process = subprocess.Popen(inbeam("run", "--quiet", str(config)))
        wait_for(lambda: committed(archive) > 20, "frames on disk")
        process.send_signal(number)
        assert process.wait(30) == 0
    with h5py.File(archive) as file:
        states = file["entry/ledger/status"][()]
    arrived = np.flatnonzero(states)
    assert (states[arrived[0] : arrived[-1] + 1] == FrameStatus.RECEIVED).all()
    assert check(archive).sound


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    script = (
        "import os, signal, threading\n"
        "from stream.pipeline.runner import stop_on_signals\n"
        "with stop_on_signals(lambda: None):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    threading.Event().wait(60)\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], timeout=60, check=False, stderr=subprocess.DEVNULL).returncode
        == 130
    )


@pytest.mark.slow
def test_a_lost_start_message_is_said_and_costs_no_frame(tmp_path: Path) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    document = pipeline(tmp_path / "out", {"type": "stream2", "endpoint": endpoint})
    running = Run(validate(document), reopen=True)
    with background(running) as reports:
        options = ["--detector", "small", "--frames", "20", "--rate", "max", "--bind", endpoint]
        with detector("simulate", *options, "--faults", "drop-start"):
            wait_for(lambda: reports, "the end of the run")
    assert reports[0].scans[0].counts[FrameStatus.RECEIVED] == 20
    assert "no start message" in reports[0].scans[0].notes[0]
    assert reports[0].exit_code == 1


def test_the_command_line_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(pipeline(tmp_path, LIVE)))
    assert main(["process", str(config), str(tmp_path / "nowhere.h5")]) != 0
    assert "nowhere.h5" in "".join(capsys.readouterr())
    assert main(["info"]) == 0
    assert "hdf5plugin" in capsys.readouterr().out
    assert main(["validate", str(config)]) == 0


def test_a_journal_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    document = pipeline(tmp_path, LIVE, journal=str(tmp_path))
    journal = Journal.of(validate(document))
    assert journal.read() is None
    path = next(iter(tmp_path.glob(".inbeam*")), None)
    assert path is None
    name = journal.path
    name.write_bytes(os.urandom(100))
    assert journal.read() is None
    assert not name.exists()
    assert name.with_suffix(".unreadable").exists()
