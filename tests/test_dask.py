"""`inbeam process --dask`: the values of one process, whoever computes them, and a lost worker's part done again."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import wait_for

from sinks.check import check
from stream.commands import dask_cluster, dask_jobs, on_dask
from stream.commands.main import main
from stream.config import load
from stream.errors import ConfigError

distributed = pytest.importorskip("distributed")
FRAMES = 41
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def recorded(folder: Path) -> Path:
    path = folder / "scan.h5"
    images = np.random.default_rng(1).poisson(30, (FRAMES, 40, 50)).astype("u2")
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, 40, 50))
    return path


def pipeline(folder: Path, *more: dict[str, Any]) -> Path:
    integrate = {
        "type": "integrate",
        "npt": 30,
        "unit": "r_mm",
        "device": "cpu",
        "error_model": "azimuthal",
        "distance_m": 0.1,
        "beam_center_px": [25.0, 20.0],
        "pixel_size_m": [75e-6, 75e-6],
    }
    frames = str(folder / "{scan}_frames.h5")
    document = {
        "stream": {"type": "files", "files": ["given"]},
        "processors": [{"type": "correct"}, integrate, *more],
        "sinks": [
            {"type": "archive", "path": frames},
            {"type": "hdf5", "path": str(folder / "{scan}.h5"), "link": frames},
        ],
    }
    path = folder / "config.yaml"
    folder.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two workers in processes, started again by their nannies if they die."""
    made = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, scheduler_kwargs=dask_jobs.NO_DASHBOARD, silence_logs=50
    )
    yield made
    made.close()


@pytest.mark.slow
def test_parts_on_workers_have_the_values_of_one_process_to_the_bit(cluster: Any, tmp_path: Path) -> None:
    source = recorded(tmp_path)
    assert main(["process", "--quiet", str(pipeline(tmp_path / "one")), str(source)]) == 0
    several = tmp_path / "several"
    address = cluster.scheduler_address
    command = ["process", "--quiet", "--dask", address, "--parts", "3", str(pipeline(several)), str(source)]
    assert main(command) == 0
    for name in ("scan", "scan_frames"):
        verdict = check(several / f"{name}.h5")
        assert verdict.sound, verdict.line()
    with h5py.File(tmp_path / "one/scan.h5") as one, h5py.File(several / "scan.h5") as other:
        for field in ("I", "I_errors", "radial_axis", "norm"):
            if field in one["entry/data"]:
                np.testing.assert_array_equal(one[f"entry/data/{field}"], other[f"entry/data/{field}"])
        for column in ("status", "checksum", "nbytes", "frame_number"):
            np.testing.assert_array_equal(one[f"entry/ledger/{column}"], other[f"entry/ledger/{column}"])
        owners = other["entry/ledger/receiver"][()]
        assert (np.diff(owners.astype(int)) >= 0).all() and set(owners.tolist()) == {0, 1, 2}
        np.testing.assert_array_equal(one["entry/frames/data"][FRAMES - 1], other["entry/frames/data"][FRAMES - 1])
    before = sorted(several.iterdir())
    assert main(command) == 0, "what is there already is left alone"
    assert sorted(several.iterdir()) == before


@pytest.mark.slow
def test_the_part_of_a_worker_that_is_killed_is_done_again(cluster: Any, tmp_path: Path) -> None:
    source, several = recorded(tmp_path), tmp_path / "several"
    config = pipeline(several)
    codes: list[int] = []
    command = ["process", "--quiet", "--dask", cluster.scheduler_address, "--parts", "4", str(config), str(source)]
    thread = threading.Thread(target=lambda: codes.append(main(command)))
    with distributed.Client(cluster) as client:
        first = next(iter(client.run(os.getpid).values()))
        thread.start()
        wait_for(lambda: any(client.processing().values()), "a part in hand")
        os.kill(first, signal.SIGKILL)
        thread.join(120)
    assert codes == [0]
    assert check(several / "scan.h5").sound, check(several / "scan.h5").line()
    with h5py.File(several / "scan.h5") as file:
        assert (file["entry/ledger/status"][()] == 1).all() and len(file["entry/ledger/status"]) == FRAMES


@pytest.mark.parametrize(("of", "count"), [(1, 41), (3, 41), (7, 5), (4, 0)])
def test_every_frame_is_in_exactly_one_part(of: int, count: int) -> None:
    from stream.formats.reader import Choice

    wanted = [Choice(part=(number, of)).frames(count) for number in range(of)]
    for index in range(count + 3):
        assert sum(part is not None and index in part for part in wanted) == 1
    unknown = [Choice(part=(number, of)).frames(None) for number in range(of)]
    assert unknown[0] is None and not any(unknown[1:])


def test_a_job_of_slurm_asks_for_what_the_address_says() -> None:
    pytest.importorskip("dask_jobqueue")
    taken = socket.socket()
    with suppress(OSError):  # another scheduler of this machine has the usual port
        taken.bind(("", 8787))
        taken.listen()
    cluster = dask_jobs.slurm("slurm://beamline?cores=8&memory=32GB&walltime=02:00:00&account=mx1&jobs=3").cluster
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
        taken.close()
    for line in ("#SBATCH -p beamline", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=30G", "#SBATCH -t 02:00:00"):
        assert line in script, script
    assert "#SBATCH -A mx1" in script and "distributed.cli.dask_worker tcp://" in script


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        ("http://host", "is no scheduler"),
        ("slurm://q?cores=many", "whole numbers"),
        ("slurm://q?nodes=2", "unknown nodes"),
        ("slurm://q?jobs=0", "1 or more"),
        ("local://two", "two is no number of workers"),
        ("local://0", "0 is no number of workers"),
    ],
)
def test_a_scheduler_that_is_none_is_told(scheduler: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told), dask_cluster.connected(scheduler):
        pass


def test_gatherers_are_refused(tmp_path: Path) -> None:
    config = load(pipeline(tmp_path / "out", {"type": "tomography"}))
    with pytest.raises(ConfigError, match="all frames in one process"):
        on_dask.process_on("local://1", config, parts=2, quiet=True)


@pytest.mark.slow
def test_a_second_scheduler_on_a_machine_leaves_the_first_one_its_port() -> None:
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody has it: as good
            first.bind(("127.0.0.1", 8787))
            first.listen()
        with dask_cluster.connected("local://1") as client:
            assert len(client.nthreads()) == 1
