"""The progress line on a terminal of any width, and what a log gets instead."""

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import configuration, recorded
from screen import Screen

from stream.commands.progress import Pace, describe
from stream.commands.terminal import StatusLine, cells, fitting
from stream.roles import Counters

NAME = "a scan with a name that is as long as names of scans at a beamline are"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Screen, StatusLine, Callable[[str], None]]]:
    """A terminal, the line at its bottom, and a logger that writes above it."""
    screen = Screen(120)
    monkeypatch.setattr(StatusLine, "_columns", lambda line: screen.columns)
    line = StatusLine(screen)
    logger = logging.Logger("inbeam.test")
    logger.addHandler(line)
    yield screen, line, logger.info
    line.close()


@pytest.mark.parametrize("widths", [(120, 60, 120), (120, 50, 33), (40, 120, 40), (120, 10, 3), (70, 35, 71)])
def test_a_terminal_that_is_resized_shows_one_line_and_every_message(
    widths: tuple[int, ...], terminal: tuple[Screen, StatusLine, Callable[[str], None]]
) -> None:
    screen, line, say = terminal
    messages = [f"message {number}" for number in range(len(widths) * 2)]
    told = iter(messages)
    for width in widths:
        screen.columns = width
        line.show(f"{NAME} | first")
        say(next(told))
        line.show(f"{NAME} | second")
        say(next(told))
    line.show(f"{NAME} | last")
    assert screen.lines == [*messages, fitting(f"{NAME} | last", widths[-1] - 1)]
    line.close()
    assert screen.lines == [*messages, ""]


def test_a_name_from_the_network_cannot_steer_the_terminal(
    terminal: tuple[Screen, StatusLine, Callable[[str], None]],
) -> None:
    screen, line, say = terminal
    line.show(describe(Counters(scan="\x1b]0;owned\x07\x1b[2J\r\n")))
    say("frame 3 failed: \x1b[31mred\nand a second line\x9b2J")
    assert screen.lines[0] == "frame 3 failed: ?[31mred"
    assert screen.lines[1] == "and a second line?2J"
    assert screen.lines[2].startswith("scan ?]0;owned??[2J??")


@pytest.mark.parametrize(("text", "width", "shown"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…")])
def test_a_line_is_cut_to_the_cells_that_there_are(text: str, width: int, shown: str) -> None:
    assert fitting(text, width) == shown
    assert cells(shown) <= width


def test_messages_of_many_threads_are_whole_lines_above_the_progress(
    terminal: tuple[Screen, StatusLine, Callable[[str], None]],
) -> None:
    screen, line, say = terminal

    def work(number: int) -> None:
        for count in range(50):
            say(f"thread {number} message {count}")
            line.show(f"at {count}")

    threads = [threading.Thread(target=work, args=(number,), name=f"inbeam-test-{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(screen.lines[:-1]) == sorted(f"thread {n} message {c}" for n in range(4) for c in range(50))


def test_recorded_files_show_which_one_it_is_and_how_long_it_still_takes() -> None:
    pace = Pace(100.0)
    half = Counters(scan="b", finished=50, expected=100, file=2, files=4)
    assert pace.left(half, 101.0) == "", "too early to tell"
    assert pace.left(half, 130.0) == "50 s left"
    assert pace.left(replace(half, file=1), 3100.0) == "5 h 50 min left"
    assert pace.left(replace(half, files=0), 130.0) == "", "nobody knows how long a detector goes on"
    assert "scan b | file 2 of 4 | 50/100 frames" in describe(half)
    assert describe(half, "50 s left").endswith(" | 50 s left")
    assert "file" not in describe(replace(half, file=1, files=1))


@pytest.mark.slow
def test_a_log_has_times_and_no_progress_of_a_run_that_is_soon_over(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.commands.main", "process", str(configuration(tmp_path))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*command, str(recorded(tmp_path))], capture_output=True, text=True, env=environment, check=True, timeout=120
    )
    (line,) = done.stderr.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d scan scan complete: 40 received", line)
    assert done.stdout == ""
