"""Jobs through a cluster's queue: a real SLURM of one node, and what is told where there is none."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from submitted import jobs, look, over, said, submitted, until

from stream.jobs import folders, queue
from stream.jobs.resources import Batch

RESOURCES = {
    "cluster": {"type": "slurm", "partition": "short", "cores": 1, "time_min": 5, "extra": {"comment": "test"}},
    "wrong": {"type": "slurm", "partition": "nowhere", "time_min": 5},
}
CLUSTER = ["--resource", "cluster"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the YAML of the resources."""
    (tmp_path / "inbeam-jobs.yaml").write_text(yaml.safe_dump({"resources": RESOURCES}))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "state", "code"),
    [
        (("true",), "done", "0"),
        (("sh", "-c", "exit 7"), "failed", "7"),
        (("no-such-program",), "failed", "127"),
        (("sh", "-c", "kill -9 $$"), "failed", "SIGKILL"),
    ],
)
def test_slurm_runs_a_job_and_its_folder_has_the_true_exit_code(
    command: tuple[str, ...], state: str, code: str, slurm: None, place: Path
) -> None:
    job = submitted(place, *command, options=[*CLUSTER, "--name", "named"])
    found = over(job)
    assert (found.state, found.exit_text) == (state, code)
    assert found.native_id.isdecimal()
    script = next((job / "queue" / "slurm").glob("*.job")).read_text()
    for line in ('--job-name="named"', '--partition="short"', "--time=0:5:0", '--comment="test"', "--cpus-per-task=1"):
        assert f"#SBATCH {line}\n" in script


@pytest.mark.slow
def test_a_job_that_waits_in_the_queue_of_slurm_and_one_that_runs_are_cancelled(slurm: None, place: Path) -> None:
    program = "print('begun', flush=True); import time; time.sleep(100)"
    first = submitted(place, sys.executable, "-c", program, options=CLUSTER)
    said(first, "begun")
    second = submitted(place, "sleep", "100", options=CLUSTER)
    assert until(second, "pending").state == "pending" and look(first).state == "running"
    assert jobs(place, "cancel", "2", "1").returncode == 0
    assert over(first).state == over(second).state == "cancelled"
    _, described = folders.find(second.parent, 2)
    assert isinstance(described.options, Batch)
    assert not (second / "started.json").exists()
    assert look(first).native_id in (queue.known(first, described.options) or ())


@pytest.mark.slow
def test_a_queue_that_refuses_says_why_and_the_job_has_failed(slurm: None, place: Path) -> None:
    told = jobs(place, "submit", "--resource", "wrong", "true")
    assert told.returncode == 1 and "invalid partition specified: nowhere" in told.stderr
    assert "Traceback" not in told.stderr
    found = look(place / "jobs" / "0001")
    assert found.state == "failed" and "nowhere" in found.why and found.exit_text == ""


def test_where_sbatch_is_missing_that_is_said_and_nothing_waits(place: Path) -> None:
    (place / "empty").mkdir()
    told = jobs(place, "submit", *CLUSTER, "true", path=str(place / "empty"))
    assert told.returncode == 1 and "sbatch is not on this machine: use a login node" in told.stderr
    assert "Traceback" not in told.stderr
    assert look(place / "jobs" / "0001").state == "failed"


def test_without_psij_python_local_jobs_run_and_a_cluster_is_refused_with_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "none" / "psij").mkdir(parents=True)
    (place / "none" / "psij" / "__init__.py").write_text("raise ImportError('not installed')")
    monkeypatch.setattr("submitted.ROOT", f"{place / 'none'}{os.pathsep}{Path(__file__).parents[1]}")
    told = jobs(place, "submit", *CLUSTER, "true")
    assert told.returncode == 2 and "pip install 'inbeam[jobs]'" in told.stderr
    assert not (place / "jobs").exists()
    assert over(submitted(place, "true")).state == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"type": "slurm"}, "time_min"),
        ({"type": "slurm", "time_min": "2:00"}, "time_min"),
        ({"type": "slurm", "time_min": 5, "partition": 'a"\n#SBATCH --x'}, "partition"),
        ({"type": "slurm", "time_min": 5, "modules": ["x; rm"]}, "modules"),
        ({"type": "slurm", "time_min": 5, "extra": {"a b": "c"}}, "extra"),
        ({"type": "slurm", "time_min": 5, "password": "x"}, "password"),
        ({"type": "condor"}, "type"),
    ],
)
def test_a_resource_that_cannot_be_used_is_told_by_its_key(
    options: dict[str, object], told: str, tmp_path: Path
) -> None:
    (tmp_path / "inbeam-jobs.yaml").write_text(yaml.safe_dump({"resources": {"cluster": options}}))
    ended = jobs(tmp_path, "list")
    assert ended.returncode == 2 and told in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_folder_that_the_scripts_of_a_queue_could_not_name_is_refused(place: Path) -> None:
    told = jobs(place, "submit", *CLUSTER, "--folder", "my jobs", "true")
    assert told.returncode == 2 and "without blanks" in told.stderr
    assert not (place / "my jobs").exists()
    assert over(submitted(place, "true", options=["--folder", "my jobs"])).state == "done"
