"""Workers of Dask that a queue starts: in a real SLURM of one node, and the scripts for the others."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
import yaml
from commands import wait_for
from receivers import Detector, configuration, end, image, running, start

from sinks.check import check
from stream.commands import dask_jobs
from stream.commands.dask_receivers import crews
from stream.commands.main import main
from stream.errors import ConfigError
from stream.jobs.resources import Batch

pytest.importorskip("dask_jobqueue")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RESOURCES = {"cluster": {"type": "slurm", "partition": "short", "cores": 1, "time_min": 5}}


@pytest.fixture
def detector() -> Iterator[Detector]:
    made = Detector()
    yield made
    made.close()


def queued() -> str:
    return subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_slurm_starts_the_workers_of_receivers_and_of_parts_and_is_rid_of_them_afterwards(
    slurm: None, tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = configuration(tmp_path / "live", detector.endpoint, scans=1)
    Path("inbeam-jobs.yaml").write_text(yaml.safe_dump({"resources": RESOURCES}))
    with running(config, 1, detector, crews=crews("cluster", config)) as (_, codes):
        detector.send(start(30), *(image(index) for index in range(30)), end())
    assert codes == [0] and check(tmp_path / "live/1.h5").sound, check(tmp_path / "live/1.h5").line()
    document = dict(config.document)
    document["sinks"] = [{"type": "archive", "path": str(tmp_path / "again/{scan}.h5")}]
    Path("again.yaml").write_text(yaml.safe_dump({**document, "run": {}}))
    words = ["process", "--quiet", "--dask", "slurm://short?walltime=00:05:00", "--parts", "2"]
    assert main([*words, "again.yaml", str(tmp_path / "live/1_frames.h5")]) == 0
    assert check(tmp_path / "again/1_frames.h5").sound
    with h5py.File(tmp_path / "again/1_frames.h5") as file:
        assert (file["entry/ledger/status"][()] == 1).all() and len(file["entry/receivers"]) == 2
    wait_for(lambda: not queued(), "an empty queue")


@pytest.mark.slow
def test_a_queue_that_refuses_the_workers_is_told_and_nothing_waits(
    slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    document = dict(configuration(tmp_path, "tcp://127.0.0.1:9").document)
    Path("my.yaml").write_text(yaml.safe_dump(document))
    assert main(["run", "--dask", "slurm://nowhere?memory=1GB", "my.yaml"]) == 1
    told = capsys.readouterr().err
    assert "the queue refused the workers" in told and "invalid partition specified: nowhere" in told
    assert "Traceback" not in told and not queued()


@pytest.mark.parametrize(
    ("kind", "memory_gb", "lines"),
    [
        ("slurm", 16, ["#SBATCH -p short", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=15G", "#SBATCH -t 01:30:00"]),
        ("slurm", None, ["#SBATCH -A mx1", "module load python/3.12"]),
        ("pbs", 16, ["#PBS -q short", "#PBS -l select=1:ncpus=8:mem=16000mb", "#PBS -l walltime=01:30:00"]),
        ("pbs_classic", None, ["#PBS -A mx1", "#PBS -l nodes=1:ppn=8"]),
        ("lsf", 16, ["#BSUB -q short", '#BSUB -P "mx1"', "#BSUB -n 8", "#BSUB -W 01:30"]),
    ],
)
def test_the_script_of_a_resource_asks_its_queue_for_what_the_yaml_says(
    kind: str, memory_gb: float | None, lines: list[str]
) -> None:
    told = {"type": kind, "partition": "short", "account": "mx1", "cores": 8, "time_min": 90, "nodes": 3}
    queue = dask_jobs.of_resource(Batch.model_validate({**told, "memory_gb": memory_gb, "modules": ["python/3.12"]}))
    try:
        script = queue.cluster.job_script()
    finally:
        queue.close()
    assert queue.jobs == 3 and "distributed.cli.dask_worker tcp://" in script
    for line in lines:
        assert line in script.splitlines(), script
    assert ("--mem" in script.replace("--memory-limit", "")) == (kind == "slurm" and memory_gb is not None)


@pytest.mark.parametrize("told", [{"type": "cobalt"}, {"type": "pbs", "extra": {"qos": "high"}}])
def test_a_resource_that_dask_cannot_be_started_on_says_what_to_do(told: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="start a scheduler and its workers yourself"):
        dask_jobs.of_resource(Batch.model_validate({**told, "time_min": 5}))


def test_a_name_that_is_no_resource_is_told_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inbeam-jobs.yaml").write_text(yaml.safe_dump({"resources": RESOURCES}))
    Path("my.yaml").write_text(yaml.safe_dump(dict(configuration(tmp_path, "tcp://127.0.0.1:9").document)))
    assert main(["run", "--dask", "clutser", "my.yaml"]) == 2
    assert "or a cluster of the resources: cluster" in capsys.readouterr().err
