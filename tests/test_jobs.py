"""Jobs on this machine: what became of them is in their folder, whoever was killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import configuration, recorded, wait_for
from submitted import ROOT, jobs, look, over, runner, submitted, until

from sinks.check import check
from stream.jobs import folders, records
from stream.jobs.processes import identify
from stream.jobs.records import Ended, Started

SLEEPS = (sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(100)")
FAMILY = """
import os, signal, subprocess, sys, time
if len(sys.argv) > 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    subprocess.Popen([sys.executable, __file__, "child"])
print(os.getpid(), flush=True)
time.sleep(100)
"""


def gone(pid: int) -> bool:
    return identify(pid) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "state", "code"),
    [
        (("sh", "-c", "exit 0"), "done", "0"),
        (("sh", "-c", "exit 7"), "failed", "7"),
        (("no-such-program", "x"), "failed", "127"),
        (("./data.txt",), "failed", "126"),
        (("sh", "-c", "kill -9 $$"), "failed", "SIGKILL"),
    ],
)
def test_the_state_and_the_exit_code_are_those_of_the_command(
    command: tuple[str, ...], state: str, code: str, tmp_path: Path
) -> None:
    (tmp_path / "data.txt").write_text("no program")
    found = over(submitted(tmp_path, *command))
    assert (found.state, found.exit_text) == (state, code)
    assert found.why or code in ("0", "7")


def said(job: Path) -> str:
    """What the job has printed so far; its runner makes the file when it begins."""
    file = job / "stdout"
    return file.read_text().strip() if file.exists() else ""


def test_arguments_reach_the_command_as_they_were_typed_and_no_shell_sees_them(tmp_path: Path) -> None:
    words = ["a b", "$HOME", "`id`", "x;touch broken", "*", "'", "--name"]
    job = submitted(tmp_path, sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    assert over(job).state == "done"
    assert (job / "stdout").read_text() == f"{words}\n"
    assert not (tmp_path / "broken").exists()


@pytest.mark.slow
def test_a_job_of_inbeam_processes_with_the_configuration_as_it_was_when_submitted(tmp_path: Path) -> None:
    config, scan = configuration(tmp_path), recorded(tmp_path)
    job = submitted(tmp_path, "inbeam", "process", "--quiet", f"./{config.name}", scan.name)
    config.write_text("changed: since")
    assert over(job).state == "done", (job / "stderr").read_text()
    assert check(tmp_path / "out" / "scan.h5").sound
    told = json.loads((job / "provenance.json").read_text())
    assert told["versions"]["inbeam"] and told["inputs"][1]["bytes"] == scan.stat().st_size
    assert jobs(tmp_path, "rerun", "1").returncode == 0
    again = job.parent / "0002"
    assert (
        over(again).state == "done"
        and (again / "configuration.yaml").read_bytes() == (job / "configuration.yaml").read_bytes()
    )
    assert json.loads((again / "job.json").read_text())["rerun_of"] == 1


def test_the_table_has_every_job_with_its_exit_code_and_command(tmp_path: Path) -> None:
    over(submitted(tmp_path, "sh", "-c", "echo told; echo warned >&2; exit 7", options=["--name", "seven"]))
    over(submitted(tmp_path, "printf", "\x1b[31mred", options=["--name", "escapes"]))
    told = jobs(tmp_path, "list")
    assert told.returncode == 0
    rows = told.stdout.splitlines()
    assert rows[0].split() == ["RESOURCE", "NAME", "ID", "NATIVE", "ID", "STATUS", "EXIT", "COMMAND"]
    assert rows[1].split()[:3] == ["local", "seven", "1"]
    assert rows[1].split()[4:] == ["failed", "7", "sh", "-c", "'echo", "told;", "echo", "warned", ">&2;", "exit", "7'"]
    assert "\x1b" not in told.stdout
    log = jobs(tmp_path, "log", "1").stdout
    assert "told\n" in log and "warned\n" in log


@pytest.mark.slow
def test_cancel_ends_every_process_of_the_group_also_one_that_ignores_sigterm(tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    job = submitted(tmp_path, sys.executable, "family.py")
    lines = wait_for(lambda: len(found := said(job).split()) == 2 and found, "both to begin")
    assert until(job, "running").state == "running"
    assert "told to end" in jobs(tmp_path, "cancel", "1").stdout
    assert over(job).state == "cancelled"
    assert all(gone(int(pid)) for pid in lines)
    assert "cancelled already" in jobs(tmp_path, "cancel", "1").stdout


def test_a_job_whose_runner_was_killed_is_lost_and_nothing_of_it_runs_on(tmp_path: Path) -> None:
    job = submitted(tmp_path, *SLEEPS)
    wait_for(lambda: said(job), "the job's process")
    os.kill(runner(job), signal.SIGKILL)
    found = over(job)
    assert found.state == "lost" and "rerun" in found.why
    wait_for(lambda: gone(int((job / "stdout").read_text())), "the job to end with its runner")


def test_a_job_outlives_the_client_that_submitted_it_and_its_terminal(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    command = [sys.executable, "-P", "-m", "stream.commands.main", "jobs", "submit", "sh", "-c", "cat go; exit 5"]
    client = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    job = tmp_path / "jobs" / "0001"
    runner(job)
    with suppress(ProcessLookupError):
        os.killpg(client.pid, signal.SIGKILL)  # all that its terminal had
    client.wait()
    assert look(job).state == "running"
    go.write_text("on\n")
    assert (over(job).state, look(job).exit_text) == ("failed", "5")


def test_a_runner_that_is_told_to_end_says_so_and_the_job_has_failed(tmp_path: Path) -> None:
    job = submitted(tmp_path, *SLEEPS)
    wait_for(lambda: said(job), "the job's process")
    os.kill(runner(job), signal.SIGTERM)
    found = over(job)
    assert (found.state, found.exit_text) == ("failed", "SIGTERM") and "told to end by SIGTERM" in found.why


def test_the_exit_code_is_kept_on_a_disk_that_became_full(small_disk: Path) -> None:
    fill = "cat /dev/zero > filler; exit 7"
    job = submitted(small_disk, "sh", "-c", fill)
    found = over(job)
    assert (found.state, found.exit_text) == ("failed", "7")
    assert b"No space" in (job / "stderr").read_bytes() or os.statvfs(small_disk).f_bfree == 0
    refused = jobs(small_disk, "submit", "true")
    assert refused.returncode == 1 and "No space" in refused.stderr and "nothing runs" in refused.stderr


def test_a_number_that_another_process_has_now_is_not_taken_for_the_runner(tmp_path: Path) -> None:
    job = submitted(tmp_path, "true")
    over(job)
    (job / records.ENDED).unlink()
    itself = identify(os.getpid())
    assert itself is not None
    time = datetime.now(UTC)
    records.write(job, records.STARTED, Started(runner=itself, time=time))
    assert look(job).state == "running"
    records.write(job, records.STARTED, Started(runner=itself.model_copy(update={"ticks": 1}), time=time))
    assert look(job).state == "lost"


def test_the_silence_of_another_machine_is_unknown_until_its_queue_has_forgotten_the_job(tmp_path: Path) -> None:
    job = submitted(tmp_path, "true")
    over(job)
    (job / records.ENDED).unlink()
    started = records.read(job, records.STARTED, Started)
    assert started is not None
    elsewhere = started.runner.model_copy(update={"host": "node17"})
    records.write(job, records.STARTED, Started(runner=elsewhere, time=datetime.now(UTC)))
    assert look(job).state == "running"
    os.utime(job / records.STARTED, (1e9, 1e9))
    assert look(job).state == "unknown" and "node17" in look(job).why
    _, described = folders.find(job.parent, 1)
    from stream.jobs.state import status

    assert status(job, described, lambda *_: False).state == "lost"
    assert status(job, described, lambda *_: True).state == "unknown"


@pytest.mark.parametrize("name", ["job.json", "ended.json", "started.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"exit_code": "many"}', b"\xff\x00" * 100])
def test_a_damaged_record_makes_its_job_unknown_and_hides_no_other(name: str, content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "0001"
    folder.mkdir()
    (folder / name).write_bytes(content)
    (tmp_path / "0002").mkdir()
    found = {number: status.state for number, _, status in folders.all_of(tmp_path)}
    assert found == {1: "unknown", 2: "unknown"}


def test_the_end_fits_into_its_room_however_long_the_words(tmp_path: Path) -> None:
    records.reserve(tmp_path)
    records.end(tmp_path, Ended(why="x" * 10_000, exit_code=3, time=records.now()))
    found = records.read(tmp_path, records.ENDED, Ended)
    assert found is not None and found.exit_code == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["submit"], "COMMAND"),
        (["submit", "inbeam", "proces", "x.yaml"], "use one of"),
        (["submit", "inbeam", "process", "none.yaml", "x.h5"], "none.yaml is not there"),
        (["submit", "--resource", "moon", "true"], "use one of local"),
        (["submit", "--name", "a\nb", "true"], "--name"),
        (["cancel", "9"], "no job 9"),
        (["log", "9"], "no job 9"),
        (["rerun", "9"], "no job 9"),
        (["list", "--resources", "none.yaml"], "none.yaml is not there"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_begun(words: list[str], told: str, tmp_path: Path) -> None:
    ended = jobs(tmp_path, *words)
    assert ended.returncode == 2 and told in ended.stderr and "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())
