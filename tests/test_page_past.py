"""Back in time on the page: archived frames of the scan that is shown, read while the archive grows, and never held."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from chromium import Browser, Tab, chromium, needs_chromium
from driven import Driven
from page_archive import recorded
from page_client import IMAGES, PACKED, PRODUCT, frame, page, scan, viewer
from websockets.exceptions import ConnectionClosed

from sinks.browser import holes
from sinks.check import check
from stream import Counters, EndStatus, ScanEnd


def back(browser: Any, number: int, scan_number: int = 1, **view: Any) -> Any:
    browser.watch(past={"scan": scan_number, "frame": number}, size=256, **view)
    return browser.until("image", lambda told: told.get("past") and told["frame"] == number)


@pytest.mark.slow
def test_an_archived_frame_of_the_running_scan_is_shown_while_the_archive_grows(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        told = browser.until("turn", lambda turn: any(each["type"] == "archive" for each in turn.get("files", ())))
        assert told["files"] == [{"type": "archive", "path": str(run.path)}]
        assert browser.told["scan"]["scan"]["number"] == 1
        for number in (3, 0, 6):
            image = back(browser, number)
            assert "problem" not in image, image["problem"]
            pixels = IMAGES[number % 2]["threshold_1"]
            good = pixels != np.iinfo(pixels.dtype).max
            assert np.array_equal(image["values"][good], pixels[good]) and image["status"] == "received"
            row, column = np.argwhere(good)[number]
            probe = {"kind": "probe", "source": "image threshold_1", "row": int(row), "column": int(column)}
            browser.say({**probe, "past": {"scan": 1, "frame": number}})
            answer = browser.until("probe")
            assert (answer["value"], answer["frame"]) == (int(pixels[row, column]), number)
        assert back(browser, 20)["problem"] == "frame 20 is not in the archive yet"
        run.write(frame(20))
        run.flush()
        browser.until("image", lambda told: told["frame"] == 20 and "values" in told and "problem" not in told)
        browser.watch()
        browser.until("image", lambda told: "past" not in told and told["frame"] == 20)


@pytest.mark.slow
def test_what_the_archive_does_not_have_is_said_and_why(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        browser.until("turn", lambda turn: turn.get("files"))
        assert back(browser, 4)["problem"] == "frame 4 is not in the archive yet"
        assert back(browser, 5)["problem"] == "frame 5: corrupt, block 3 is damaged"
        assert back(browser, 1 << 40)["problem"].endswith("is not in the archive yet")
        assert back(browser, 3, scan_number=9)["problem"] == "another scan is shown now"
        run.archive.finish(ScanEnd("uid", EndStatus.COMPLETE, expected=40))
        browser.watch(past={"scan": 1, "frame": 4})
        browser.until("image", lambda told: told.get("problem") == "frame 4: missing")
        assert back(browser, 8)["values"].shape == (256, 256)


@pytest.mark.slow
def test_an_archive_of_another_scan_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        run.page.start(replace(scan("8"), uid="another"), [PRODUCT])  # before its archive is open
        run.page.write(frame(0))
        browser.until("scan", lambda told: told["scan"].get("name") == "8")
        assert back(browser, 3, scan_number=2)["problem"] == "7_frames.h5 has no frames of this scan yet"


@pytest.mark.slow
def test_looking_back_holds_no_file_and_changes_none(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        browser.until("turn", lambda turn: turn.get("files"))
        back(browser, 3)
        before = run.path.read_bytes()
        for number in (0, 1, 2, 6, 7, 8):
            back(browser, number)
        assert run.path.read_bytes() == before
        child = run.page.sink.child.pid
        assert str(run.path) not in {os.readlink(each) for each in Path(f"/proc/{child}/fd").iterdir()}
        for index in range(9, 40):  # written while it is read
            run.write(frame(index))
            run.flush()
            back(browser, index)
        run.archive.finish(ScanEnd("uid", EndStatus.COMPLETE, expected=40))
    assert check(run.path).problems == ()
    with h5py.File(run.path) as file:
        assert file["entry/data/data"].id.read_direct_chunk((30, 0, 0))[1] == bytes(PACKED[0]["threshold_1"].data)


@pytest.mark.slow
def test_a_damaged_or_removed_archive_is_said_and_the_page_goes_on(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        browser.until("turn", lambda turn: turn.get("files"))
        run.path.rename(tmp_path / "elsewhere.h5")
        assert "7_frames.h5 cannot be read now" in back(browser, 3)["problem"]
        run.path.write_bytes(b"no file of ours" * 100)
        assert "7_frames.h5 cannot be read now" in back(browser, 2)["problem"]
        with h5py.File(run.path, "w") as file:  # the names are ours, what they name is not
            group = file.create_group("entry/ledger")
            group.attrs["scan_uid"] = run.page.sink._news._scan["identity"]
            group["finished"], group["status"] = 1, "nothing"
        assert "7_frames.h5 cannot be read now" in back(browser, 1)["problem"]
        assert holes.read(run.path, run.page.sink._news._scan["identity"]) is None
        browser.watch()
        browser.image(8)
        assert run.page.sink.child.starts == 1


@pytest.mark.slow
def test_a_file_that_cannot_be_read_in_time_holds_up_neither_the_others_nor_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser, viewer(run.page) as other:
        browser.hello()
        browser.until("turn", lambda turn: turn.get("files"))
        back(browser, 3)
        run.path.rename(tmp_path / "elsewhere.h5")
        os.mkfifo(run.path)  # to open it for reading waits for ever
        browser.watch(past={"scan": 1, "frame": 2})
        other.hello()
        other.watch()
        run.page.write(frame(30))
        other.image(30)
        run.page.close()
    assert "failed" not in capfd.readouterr().err and "does not end" not in caplog.text


def test_without_an_archive_there_is_nothing_to_go_back_to() -> None:
    with page() as sink, viewer(sink) as browser:
        sink.write(frame(3))
        browser.hello()
        browser.until("scan", lambda told: told["scan"])
        assert "no sink `archive`" in back(browser, 3)["problem"]


HOSTILE: list[Any] = [
    {"scan": 1, "frame": -1},
    {"scan": 1, "frame": 1.5},
    {"scan": 1, "frame": (1 << 40) + 1},
    {"scan": -1, "frame": 1},
    {"scan": "1", "frame": 1},
    {"scan": 1, "frame": 1, "path": "/etc/passwd"},
    {"scan": 1},
    {"scan": "../../etc/passwd", "frame": 0},
    "/etc/passwd",
    [1, 2],
    True,
]


@pytest.mark.parametrize("past", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("kind", ["watch", "probe"])
def test_a_request_for_the_past_that_is_not_two_numbers_ends_its_connection(
    shared_page: Driven, kind: str, past: Any
) -> None:
    view = {"source": "image threshold_1", "past": past}
    message = {"kind": "watch", "views": {"a": view}} if kind == "watch" else {"kind": "probe", "row": 1, "column": 1}
    with viewer(shared_page) as browser:
        browser.hello()
        browser.until("welcome")
        browser.connection.send(json.dumps(message if kind == "watch" else {**message, **view}))
        with pytest.raises(ConnectionClosed):
            browser.until("nothing")


@pytest.fixture(scope="module")
def shared_page() -> Iterator[Driven]:
    with page() as made:
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def caption(tab: Tab, wanted: str) -> str:
    words: str = tab.until("document.querySelector('#detector .under').textContent", lambda text: wanted in text)
    return words


@needs_chromium
@pytest.mark.slow
def test_a_browser_steps_back_and_is_live_again(browser: Browser, tmp_path: Path) -> None:
    with recorded(tmp_path) as run, browser.tab() as tab:
        run.page.tick(Counters(scan="7", received=8))
        tab.open(run.page.sink.address)
        caption(tab, "frame 8,")
        tab.until("document.querySelector('.past').hidden", lambda hidden: hidden is False)
        step = "document.querySelector('.past button').click()"
        tab.run(step)
        caption(tab, "archived frame 7,")
        run.write(frame(30))
        tab.until("document.documentElement.dataset.frame", lambda text: text == "30")
        tab.run(step)
        caption(tab, "archived frame 6,")
        tab.run(step)
        caption(tab, "frame 5: corrupt")
        tab.run("document.querySelector('.past button:last-child').click()")
        assert caption(tab, "frame 30,").startswith("frame 30,")
        tab.screenshot(tmp_path / "past.png")
        assert not tab.problems
