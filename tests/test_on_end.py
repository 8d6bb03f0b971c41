"""Jobs that a live scan submits by itself when it has ended (run.on_end)."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import inbeam, recorded
from submitted import over

from stream.commands.main import main
from stream.jobs import folders


def written(folder: Path, *jobs: Mapping[str, Any]) -> str:
    """A pipeline that takes recorded frames as if they came live, with the jobs of their end."""
    document = {
        "stream": {"type": "files", "files": [str(folder / "scan.h5")]},
        "sinks": [
            {"type": "archive", "path": str(folder / "{scan}_frames.h5")},
            {"type": "archive", "path": str(folder / "{scan}_again.h5")},
        ],
        "run": {"on_end": [dict(job) for job in jobs]},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(document))
    return str(folder / "pipeline.yaml")


def ran(folder: Path, *jobs: Mapping[str, Any]) -> "subprocess.CompletedProcess[str]":
    words = inbeam("run", written(folder, *jobs))
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def found(folder: Path) -> list[tuple[str, ...]]:
    return [job.command for _, job, _ in folders.all_of(folder / "jobs") if job is not None]


def with_a_hole(folder: Path) -> None:
    """A recorded scan whose frame 3 cannot be read: its chunk was damaged."""
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data/data", (5, 4, 8), "u2", chunks=(1, 4, 8), fletcher32=True)
        data[...] = np.arange(160).reshape(5, 4, 8)
        where = data.id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[where.byte_offset] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_a_scan_that_is_whole_submits_its_jobs_with_its_own_files_and_they_run(tmp_path: Path) -> None:
    recorded(tmp_path)
    ended = ran(
        tmp_path,
        {"submit": "inbeam check {sinks[0]} {sinks[1]}", "name": "checked"},
        {"submit": "sh -c 'exit 7' {scan}", "when": "always"},
    )
    assert ended.returncode == 0, ended.stderr
    assert "job 1 (checked) on local" in ended.stderr
    frames, again = tmp_path / "scan_frames.h5", tmp_path / "scan_again.h5"
    assert found(tmp_path) == [("inbeam", "check", str(frames), str(again)), ("sh", "-c", "exit 7", "scan")]
    assert over(tmp_path / "jobs" / "0001").state == "done"
    assert over(tmp_path / "jobs" / "0002").exit_text == "7"

    second = ran(tmp_path, {"submit": "inbeam check {sinks[0]}"})
    assert second.returncode == 0 and "left alone" in second.stderr
    assert len(found(tmp_path)) == 2  # nothing new was written, so nothing is to be done


@pytest.mark.slow
def test_a_scan_with_a_hole_submits_only_what_is_wanted_always(tmp_path: Path) -> None:
    with_a_hole(tmp_path)
    ended = ran(tmp_path, {"submit": "echo whole"}, {"submit": "echo any", "when": "always"})
    assert ended.returncode == 1, ended.stderr
    assert found(tmp_path) == [("echo", "any")]
    assert over(tmp_path / "jobs" / "0001").state == "done"


def test_recorded_scans_that_are_processed_submit_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["process", written(tmp_path, {"submit": "echo done"}), str(recorded(tmp_path))]) == 0
    assert (tmp_path / "scan_frames.h5").exists() and not (tmp_path / "jobs").exists()


@pytest.mark.slow
def test_what_the_folder_of_jobs_refuses_is_told_and_the_frames_are_kept(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / "jobs").write_text("in the way")
    ended = ran(tmp_path, {"submit": "echo done"})
    assert ended.returncode == 1
    assert "'echo done' could not be submitted" in ended.stdout and "jobs" in ended.stdout
    assert (tmp_path / "scan_frames.h5").exists()


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"submit": "inbeam check {hdf5}"}, "run.on_end[0].submit: {hdf5} is no sink: use {scan} or one of {sinks[0]}"),
        ({"submit": "inbeam check {archive}"}, "{archive} is no sink"),
        ({"submit": "inbeam chek {sinks[0]}"}, "run.on_end[0].submit: inbeam chek: use one of"),
        ({"submit": "inbeam check --wrong {sinks[0]}"}, "--wrong"),
        ({"submit": "sh -c 'never closed"}, "quotation"),
        ({"submit": "true", "resource": "moon"}, "run.on_end[0].resource: 'moon' is not known: use one of local"),
        ({"submit": "true", "name": "two words"}, "run.on_end[0].submit: 'two words'"),
        ({"submit": ""}, "run.on_end[0].submit"),
        ({"submit": "true", "when": "never"}, "run.on_end[0].when"),
    ],
)
def test_a_job_that_could_never_be_submitted_is_told_before_the_start(
    command: str, job: Mapping[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    assert main([command, written(tmp_path, job)]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("*_frames.h5"))
