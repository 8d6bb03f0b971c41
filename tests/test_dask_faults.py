"""`inbeam process --dask` when its scheduler is killed, a worker stands still, or scans are divided in another way."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from commands import committed, wait_for
from schedulers import children_of, scheduler

from sinks.check import check
from sinks.file.locks import is_written
from stream.commands import on_dask
from stream.commands.main import main

pytest.importorskip("distributed")
FRAMES = 2000
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    """`inbeam process` of a recorded scan, in parts."""
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        images = np.random.default_rng(1).poisson(30, (FRAMES, 20, 30)).astype("u2")
        file.create_dataset("entry/data/data", data=images, chunks=(1, 20, 30))
    document = {
        "stream": {"type": "files", "files": ["given"]},
        "processors": [{"type": "correct"}],
        "sinks": [{"type": "archive", "path": str(tmp_path / "out/{scan}.h5"), "flush_frames": 1}],
        "run": {"inbox_mb": 0.05, "sink_mb": 0.05},  # what was read ahead is finished
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(document))

    def made(address: str, *options: str) -> list[str]:
        words = ["process", "--quiet", "--dask", address, *options]
        return [*words, str(tmp_path / "my.yaml"), str(tmp_path / "scan.h5")]

    return made


@contextmanager
def begun(command: list[str]) -> Iterator[list[int]]:
    """The command at work, and its exit code once there is one."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(command)))
    thread.start()
    try:
        yield codes
    finally:
        thread.join(90)
    assert not thread.is_alive()


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "out").glob("scan.r*.h5"))


def whole(folder: Path, count: int) -> None:
    """The master is sound and has every frame once, and there is no other file."""
    assert check(folder / "out/scan.h5").sound, check(folder / "out/scan.h5").line()
    with h5py.File(folder / "out/scan.h5") as file, h5py.File(folder / "scan.h5") as recorded:
        assert (file["entry/ledger/status"][()] == 1).all() and len(file["entry/ledger/status"]) == FRAMES
        assert len(file["entry/receivers"]) == count and file["entry/ledger/repeats"][0] == 0
        for index in range(0, FRAMES, 271):
            np.testing.assert_array_equal(file["entry/data/data"][index], recorded["entry/data/data"][index])


def test_when_all_workers_or_the_scheduler_are_killed_the_parts_stop_in_order_and_a_new_start_finishes_them(
    tmp_path: Path,
    command: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_dask, "WORKERLESS_S", 1.0)
    with scheduler(tmp_path, workers=1) as dask:
        with begun(command(dask.address, "--parts", "2")) as codes:
            wait_for(lambda: any(committed(path) > 5 for path in parts(tmp_path)), "frames on disk")
            next(iter(dask.workers.values())).kill()
        assert codes == [1] and "has had no worker for 1 s: start some" in capsys.readouterr().err
        wait_for(lambda: not any(is_written(path) for path in parts(tmp_path)), "the end of every part")
        before = sum(map(committed, parts(tmp_path)))
        dask.ready(1)
        with begun(command(dask.address)) as codes:
            wait_for(lambda: sum(map(committed, parts(tmp_path))) > before, "more frames on disk")
            dask.process.kill()
    assert codes == [1]
    assert f"{dask.address} is gone: start it and its workers, then this command again. " in capsys.readouterr().err
    wait_for(lambda: not any(is_written(path) for path in parts(tmp_path)), "the end of every part")
    assert not (tmp_path / "out/scan.h5").exists() and 0 < sum(map(committed, parts(tmp_path))) < FRAMES
    for path in parts(tmp_path):
        assert check(path).sound, check(path).line()
    with scheduler(tmp_path, workers=1) as dask:
        assert main(command(dask.address, "--parts", "5")) == 2 and "one of 2 parts" in capsys.readouterr().err
        assert main(command(dask.address)) == 0, "four parts would be usual, but two were begun"
        whole(tmp_path, 2)
        assert len(parts(tmp_path)) == 2
        (tmp_path / "out/scan.h5").unlink()
        assert main(command(dask.address)) == 0, "all parts are there, the master is not"
        whole(tmp_path, 2)


def test_the_part_of_a_worker_that_stands_still_is_done_by_another(
    tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    stopped: list[int] = []
    with scheduler(tmp_path, DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="2s") as dask:
        try:
            with begun(command(dask.address, "--parts", "2")) as codes:
                wait_for(lambda: len(parts(tmp_path)) == 2, "both parts")
                worker = next(iter(dask.workers.values())).pid
                stopped += [worker, *children_of(worker)]
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                assert len(stopped) > 1 and sum(map(committed, parts(tmp_path))) < FRAMES
            assert codes == [0]
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
    whole(tmp_path, 2)
