"""`inbeam run --dask`: receivers on the workers of Dask, whose end, and that of their scheduler, costs no frame."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from commands import committed, completed, inbeam, wait_for
from receivers import Detector, configuration, end, image, running, shares, start
from schedulers import Scheduler, scheduler

from sinks.check import check
from stream.commands import dask_cluster, dask_receivers
from stream.commands import receivers as receivers_module
from stream.commands.dask_receivers import DaskChild, crews, own_address, placed
from stream.commands.receivers import Receivers
from stream.errors import ConfigError, InbeamError

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def detector() -> Iterator[Detector]:
    made = Detector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    with scheduler(tmp_path_factory.mktemp("cluster"), workers=0) as made:
        yield made


@pytest.fixture
def dask(cluster: Scheduler) -> Scheduler:
    """With two workers, whatever became of those that a test before had."""
    cluster.ready(2)
    return cluster


def on_disk(folder: Path, count: int = 2) -> int:
    return sum(committed(folder / f"1_frames.r{number}.h5") for number in range(count))


def worker_of(made: Receivers, number: int) -> str:
    child = made.children[number]
    assert isinstance(child, DaskChild)
    return child.worker


def proven(folder: Path) -> np.ndarray:
    """The states of scan 1, whose masters are sound."""
    for name in ("1_frames.h5", "1.h5"):
        verdict = check(folder / name)
        assert verdict.sound, verdict.line()
    with h5py.File(folder / "1.h5") as file:
        assert file["entry/ledger/repeats"][0] == 0
        states: np.ndarray = file["entry/ledger/status"][()]
        return states


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_frame_and_a_receiver_that_is_killed_is_started_again(
    dask: Scheduler, tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration(tmp_path, detector.endpoint, scans=1)
    with running(config, 2, detector, crews=crews(dask.address, config)) as (made, codes):
        detector.send(start(120), *(image(index) for index in range(40)))
        wait_for(lambda: on_disk(tmp_path) == 40, "all frames on disk")
        pids = made.processes
        dask.workers[worker_of(made, 1)].kill()
        detector.send(*(image(index) for index in range(40, 80)))
        wait_for(lambda: on_disk(tmp_path) == 80, "all frames on disk, also of the receiver whose worker is gone")
        assert made.processes == pids
        os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: made.processes[0] not in (0, pids[0]), "another process")
        detector.send(*(image(index) for index in range(80, 120)), end())
    states = proven(tmp_path)
    assert codes == [1] and "receiver 0 ended by itself and was started again" in capsys.readouterr().out
    has_data = np.isin(states, (1, 2, 3))
    assert has_data[:80].all() and has_data.sum() >= 120 - 2 * 4
    assert sum(shares(tmp_path / "1.h5")) == has_data.sum() and not list(tmp_path.glob(".inbeam-*"))


@pytest.mark.slow
def test_when_the_scheduler_is_killed_the_scan_stops_in_order_and_a_new_start_goes_on_with_it(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers_module, "PATIENCE_S", 0.5)
    config = configuration(tmp_path, detector.endpoint, scans=1)
    with (
        scheduler(tmp_path, workers=1) as dask,
        running(config, 2, detector, crews=crews(dask.address, config)) as (made, codes),
    ):
        detector.send(start(60), *(image(index) for index in range(20)))
        wait_for(lambda: on_disk(tmp_path) == 20, "all frames on disk")
        dask.process.kill()
        wait_for(lambda: any("is gone" in text for text in made.troubles), "that somebody noticed")
        detector.send(*(image(index) for index in range(20, 30)))  # the receivers live
        wait_for(lambda: codes, "the end")
    assert codes == [1]
    assert f"{dask.address} is gone: start it and its workers, then this command again" in capsys.readouterr().out
    assert np.flatnonzero(proven(tmp_path)).tolist() == list(range(30))
    again = Detector()
    again.port = detector.port
    detector.close()
    with (
        scheduler(tmp_path, workers=1) as dask,
        running(config, 2, again, crews=crews(dask.address, config)) as (_, codes),
    ):
        again.send(*(image(index) for index in range(30, 60)), end())
    again.close()
    assert codes == [0] and (proven(tmp_path) == 1).all()
    assert sorted(path.name for path in tmp_path.glob("1*.h5")) == [
        "1.h5", "1.r0.h5", "1.r1.h5", "1_frames.h5", "1_frames.r0.h5", "1_frames.r1.h5",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_the_receivers_end_in_order_when_the_command_does(
    number: signal.Signals, code: int, tmp_path: Path, detector: Detector
) -> None:
    detector.open()
    document = configuration(tmp_path, detector.endpoint).document
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(dict(document)))
    command = inbeam("run", "--dask", "local://1", str(tmp_path / "my.yaml"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        detector.send(start(100), *(image(index) for index in range(20)))
        wait_for(lambda: on_disk(tmp_path) == 20, "all frames on disk")
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        words = process.communicate(timeout=60)[0].decode()
    finally:
        process.kill()
    assert process.returncode == code, words
    parts = [tmp_path / f"1{kind}.r0.h5" for kind in ("", "_frames")]
    wait_for(lambda: all(completed(path) for path in parts), "the end of the scan in each part")
    assert code or np.flatnonzero(proven(tmp_path)).tolist() == list(range(20))


@pytest.mark.slow
def test_a_receiver_that_stands_still_is_told_and_one_that_is_given_up_is_replaced(
    dask: Scheduler,
    tmp_path: Path,
    detector: Detector,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_receivers, "SILENT_S", 1.5)
    config = configuration(tmp_path, detector.endpoint, scans=1)
    with running(config, 2, detector, crews=crews(dask.address, config)) as (made, codes):
        detector.send(start(90), *(image(index) for index in range(30)))
        wait_for(lambda: on_disk(tmp_path) == 30, "all frames on disk")
        stalled = made.processes[1]
        os.kill(stalled, signal.SIGSTOP)
        try:
            dask.workers[worker_of(made, 1)].kill()  # Dask gives it to another, which must not write
            wait_for(lambda: len(made.processes) == 3 and made.processes[2], "one in its place")
            wait_for(lambda: any(tmp_path.glob(".1_frames.r2*")), "that it knows of the scan")
            detector.send(*(image(index) for index in range(30, 60)))
        finally:
            os.kill(stalled, signal.SIGCONT)
        detector.send(*(image(index) for index in range(60, 90)), end())
    assert codes == [1] and "was silent for a while" in capsys.readouterr().out
    assert (proven(tmp_path) == 1).all(), "it came back, and what it had is there"
    assert len(shares(tmp_path / "1.h5")) == 3


@pytest.mark.slow
def test_what_cannot_be_done_is_told_before_a_frame_is_taken(
    dask: Scheduler,
    tmp_path: Path,
    detector: Detector,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configuration(tmp_path, detector.endpoint)
    with pytest.raises(ConfigError, match=r"5 receivers take a thread of a worker each, and .* has 4"):
        Receivers(config, 5, crews(dask.address, config)).execute()
    ours = tmp_path / "elsewhere" / "marker"
    monkeypatch.setattr(dask_receivers, "marked", lambda config: nullcontext(ours))
    assert Receivers(config, 1, crews(dask.address, config)).execute() == 1
    assert "write to a folder that all machines share" in capsys.readouterr().out
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.3)
    with pytest.raises(InbeamError, match="no scheduler of Dask answers"):
        Receivers(config, 1, crews("tcp://127.0.0.1:1", config)).execute()


def test_receivers_are_placed_on_all_machines_before_two_are_on_one() -> None:
    threads = {"tcp://a:1": 2, "tcp://a:2": 2, "tcp://b:1": 1}
    assert placed(threads, 1) == ["tcp://a:1"]
    assert placed(threads, 5) == ["tcp://a:1", "tcp://b:1", "tcp://a:2", "tcp://a:1", "tcp://a:2"]


def test_the_address_for_workers_is_the_one_on_their_network(ipv6: None) -> None:
    assert own_address("tcp://127.0.0.1:8786") == "127.0.0.1"
    assert own_address("tcp://[::1]:8786") == "[::1]"
