"""docs/exit-codes.md, row by row: 0 is said only where everything that was asked for is there."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import yaml
from commands import FRAMES, committed, configuration, detector, inbeam, recorded, wait_for
from plug_ins import install, processor

from sinks.check import check
from stream.commands.demo import free_port
from stream.commands.main import main
from stream.events import FrameStatus

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")


def states(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return [int(state) for state in file["entry/ledger/status"]]


def whole(folder: Path) -> int:
    return main(["process", "--quiet", str(configuration(folder)), str(recorded(folder))])


def again(folder: Path) -> int:
    return whole(folder) or main(["process", "--quiet", str(folder / "pipeline.yaml"), str(folder / "scan.h5")])


def damaged(folder: Path) -> int:
    (folder / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    given = [str(recorded(folder)), str(folder / "bad.h5")]
    return main(["process", "--quiet", str(configuration(folder)), *given])


@pytest.mark.slow
@pytest.mark.parametrize("length", [8, 9, 20, 48, 100, 2000])
@pytest.mark.parametrize("filler", [0, 2, 255])
def test_a_damaged_file_costs_none_of_the_others(length: int, filler: int, tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes([filler]) * (length - 8))
    given = [str(recorded(tmp_path)), str(tmp_path / "bad.h5"), str(recorded(tmp_path, "other.h5"))]
    assert main(["process", "--quiet", str(configuration(tmp_path)), *given]) == 1
    for name in ("scan.h5", "other.h5"):
        assert states(tmp_path / "out" / name) == [FrameStatus.RECEIVED] * FRAMES


def unwritable(folder: Path) -> int:
    (folder / "out").write_text("a file where a folder should be")
    return whole(folder)


def unknown(folder: Path) -> int:
    return main(["validate", str(configuration(folder, "nothing"))])


def not_there(folder: Path) -> int:
    return main(["process", str(configuration(folder)), str(folder / "nothere.h5")])


@pytest.mark.parametrize("words", ["reconstruct {}", "savu {}", "recompute {}", "replay {}", "stitch {}"])
def test_what_a_command_is_given_is_looked_for_before_anything_is_begun(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.format(tmp_path / "nothere.h5").split()) == 2
    assert "nothere.h5 is not there (looked from" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["reconstruct {}", "savu {}", "recompute {}"])
def test_a_folder_in_place_of_a_file_is_told(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.format(".").split()) == 2
    assert ". is a folder, not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "recon3d-getdata . x - - a,b 10,10 o d",
        "diff-map -t x a.h5",
        "diff-map -O x a.h5",
        "simulate --pool 0",
        "simulate --frames=-5",
        "simulate --timeout=-1",
        "replay a.h5 --repeat 0",
        "capture tcp://127.0.0.1:9 a.cbors --messages 0",
        "capture tcp://127.0.0.1:9 a.cbors --seconds nan",
        "reconstruct a.h5 --threads 0",
        "tomo-reconstruct -i a.h5 -o out -n 0",
        "demo --rate 0",
    ],
)
def test_a_number_that_is_none_is_named_with_what_it_should_be(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert ": give " in told


def checked(folder: Path) -> int:
    return whole(folder) or main(["check", str(folder / "out" / "scan.h5")])


def unsound(folder: Path) -> int:
    whole(folder)
    with h5py.File(folder / "out" / "scan.h5", "r+") as file:
        file["entry/ledger/checksum"][3] = 1
    return main(["check", str(folder / "out" / "scan.h5")])


def wrong_option(folder: Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["process", "--nonsense"])
    return int(ended.value.code or 0)


def handed_over(folder: Path) -> int:
    return main(["jobs", "submit", "--folder", str(folder / "jobs"), "false"])


ROWS: dict[str, tuple[Callable[[Path], int], int]] = {
    "every frame is in every file": (whole, 0),
    "everything was there already": (again, 0),
    "a file is sound": (checked, 0),
    "`jobs submit` handed a job over, whatever becomes of it": (handed_over, 0),
    "an input cannot be read": (damaged, 1),
    "a file is not sound": (unsound, 1),
    "the configuration is wrong": (unknown, 2),
    "an input is not there": (not_there, 2),
    "an output cannot be written where it should be": (unwritable, 2),
    "the command line is wrong": (wrong_option, 2),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_exit_code_is_that_of_the_table(row: str, tmp_path: Path) -> None:
    scenario, code = ROWS[row]
    assert scenario(tmp_path) == code


def test_the_table_has_every_code_and_every_row_that_is_tested() -> None:
    told = {(code, text.strip()) for code, text in re.findall(r"^\| (\d+) \| (.*?) \|$", TABLE, re.MULTILINE)}
    assert {code for code, _ in told} == {"0", "1", "2", "130"}
    assert {(str(code), row) for row, (_, code) in ROWS.items()} <= told


@pytest.mark.parametrize("raised", ["SystemExit(0)", "KeyboardInterrupt()", "ValueError('odd')", "GeneratorExit()"])
@pytest.mark.parametrize("place", ["start", "process", "finish"])
def test_whatever_a_processor_raises_costs_its_frames_only_and_is_told_by_the_exit_code(
    raised: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    install(tmp_path / "plug_in", monkeypatch, "processors", "odd", processor("odd", **{place: f"raise {raised}"}))
    assert main(["process", "--quiet", str(configuration(tmp_path, "odd")), str(recorded(tmp_path))]) == 1
    told = capsys.readouterr().out
    assert "messages" not in told and "odd" in told + caplog.text
    assert raised.split("(")[0] in (caplog.text if place == "process" else told)
    expected = FrameStatus.RECEIVED if place == "finish" else FrameStatus.FAILED
    assert states(tmp_path / "out" / "scan.h5") == [expected] * FRAMES
    assert check(tmp_path / "out" / "scan.h5").sound


def test_a_sink_that_raises_system_exit_is_a_sink_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "from typing import Literal\nfrom stream import Options\n"
        "class Config(Options):\n    type: Literal['odd_sink'] = 'odd_sink'\n"
        "class Sink:\n    lane = 'block'\n"
        "    def start(self, scan, products): return None\n"
        "    def write(self, frame): raise SystemExit(0)\n"
        "    def tick(self, counters): pass\n    def finish(self, end): pass\n    def close(self): pass\n"
        "def create(config, context=None): return Sink()\n"
    )
    install(tmp_path / "plug_in", monkeypatch, "sinks", "odd_sink", source)
    config = configuration(tmp_path)
    document = yaml.safe_load(config.read_text())
    document["sinks"].append({"type": "odd_sink"})
    config.write_text(yaml.safe_dump(document))
    assert main(["process", "--quiet", str(config), str(recorded(tmp_path))]) == 1
    assert "odd_sink: SystemExit" in capsys.readouterr().out


SIGNAL = "if (self.scan.name, work.frame.index) == ('b', 3): import os, signal; os.kill(os.getpid(), signal.{})"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_process_that_is_stopped_says_what_is_left_and_the_same_command_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plug_in"
    install(folder, monkeypatch, "processors", "stopper", processor("stopper", process=SIGNAL.format(name)))
    files = [str(recorded(tmp_path, f"{each}.h5", 4000 if each == "b" else FRAMES)) for each in "abc"]
    config = configuration(tmp_path, "stopper", inbox_mb=0.01)
    command = [sys.executable, "-m", "stream.commands.main", "process", "--quiet", str(config), *files]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert first.returncode == 1, first.stderr
    assert re.search(r"stopped with 2 of 3 files left, \d+ frames of one that was begun", first.stdout)
    assert "Traceback" not in first.stderr
    install(tmp_path / "harmless", monkeypatch, "processors", "stopper", processor("stopper"))
    assert main(["process", "--quiet", str(config), *files]) == 0
    assert [len(states(tmp_path / "out" / f"{each}.h5")) for each in "abc"] == [FRAMES, 4000, FRAMES]
    assert all(check(tmp_path / "out" / f"{each}.h5").sound for each in "abc")


def test_a_stop_when_all_is_done_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = processor("late", finish="import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    install(tmp_path / "plug_in", monkeypatch, "processors", "late", stop)
    config = configuration(tmp_path, "late", workers=1)
    assert main(["process", "--quiet", str(config), str(recorded(tmp_path))]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("ignored", "code"), [(False, 1), (True, 0)], ids=["terminal", "nohup"])
def test_sighup_ends_a_run_in_order_unless_it_is_ignored(ignored: bool, code: int, tmp_path: Path) -> None:
    script = (
        "import os, signal, threading\n"
        f"if {ignored}: signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from stream.pipeline.runner import stop_on_signals\n"
        "stopped = threading.Event()\n"
        "with stop_on_signals(stopped.set):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "raise SystemExit(stopped.is_set())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, stderr=subprocess.DEVNULL)
    assert ended.returncode == code


def test_the_second_signal_ends_with_the_code_of_the_table() -> None:
    script = (
        "import os, signal\nfrom stream.pipeline.runner import stop_on_signals\n"
        "with stop_on_signals(lambda: None):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, stderr=subprocess.DEVNULL)
    assert ended.returncode == 130 and signal.SIGTERM


def test_words_that_nobody_takes_any_more_do_not_become_the_exit_code() -> None:
    script = (
        "import os, sys\nfrom stream.commands import main\nmain._run = lambda options: 0\n"
        "for stream in (sys.stdout, sys.stderr):\n"
        "    reader, writer = os.pipe()\n    os.close(reader)\n    os.dup2(writer, stream.fileno())\n"
        "    stream.write('a line that is not yet at its end')\n"
        "raise SystemExit(main.main(['info']))\n"
    )
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, env=buffered)
    assert ended.returncode == 0


@pytest.mark.slow
def test_a_run_whose_terminal_goes_away_ends_in_order(tmp_path: Path) -> None:
    """Every word that it still says goes nowhere; the file is closed, and the exit code is that of the run."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    archive = tmp_path / "1.h5"
    document = {
        "stream": {"type": "simplon", "endpoint": endpoint},
        "sinks": [{"type": "archive", "path": str(archive), "flush_ms": 20}],
    }
    (tmp_path / "live.yaml").write_text(yaml.safe_dump(document))
    sending = ["simulate", "--protocol", "simplon", "--detector", "small", "--frames", "100000", "--rate", "200"]
    ours, terminal = pty.openpty()

    def enough() -> bool:
        while select.select([ours], [], [], 0)[0]:
            os.read(ours, 65536)
        return committed(archive) > 20

    with detector(*sending, "--bind", endpoint):
        process = subprocess.Popen(
            inbeam("run", str(tmp_path / "live.yaml")),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        wait_for(enough, "frames on disk")
        os.close(ours)
        assert process.wait(60) == 0
    assert check(archive).sound


@pytest.mark.slow
def test_a_reader_of_the_output_that_goes_away_changes_neither_the_exit_code_nor_the_words(tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    reader, writer = os.pipe()
    os.close(reader)
    command = inbeam("process", str(configuration(tmp_path)), str(recorded(tmp_path)), str(tmp_path / "bad.h5"))
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr and b"Exception ignored" not in ended.stderr
