"""What the page shows beside the images: frame numbers without data, the files, the jobs, and regions as a file."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser, chromium, needs_chromium
from commands import wait_for
from page_archive import recorded
from page_client import PRODUCT, frame, page, scan, viewer
from submitted import over, submitted

import inbeam
from processors import roi
from sinks.browser import holes
from sinks.browser.desk import table
from stream import Counters, EndStatus, FrameStatus, ScanEnd
from stream.context import Context
from stream.pipeline.control import RunControl
from stream.pipeline.revisions import OptionSet


def test_frame_numbers_without_data_are_ranges_and_no_more_than_fit() -> None:
    states = np.full(1000, FrameStatus.RECEIVED, np.uint8)
    states[10:20] = FrameStatus.MISSING
    states[30], states[31:33] = FrameStatus.CORRUPT, FrameStatus.LATE
    wanted = [["missing", 10, 19], ["corrupt", 30, 30], ["late", 31, 32]]
    assert holes.ranges(states) == {"ranges": wanted, "more": 0}
    assert holes.ranges(states, 2) == {"ranges": wanted[:2], "more": 1}
    states[::2] = FrameStatus.MISSING
    found = holes.ranges(states)
    assert len(found["ranges"]) == holes.MOST_RANGES and found["more"] > 200
    assert holes.ranges([]) == {"ranges": [], "more": 0}


@pytest.mark.slow
def test_the_numbers_that_are_missing_are_told_while_the_scan_runs_and_at_its_end(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        run.page.tick(Counters(scan="7", expected=40, received=8, missing=1, corrupt=1))
        found = browser.until("turn", lambda turn: (turn.get("holes") or {}).get("ranges"))["holes"]
        assert found == {"ranges": [["missing", 4, 4], ["corrupt", 5, 5]], "more": 0}
        end = ScanEnd("uid", EndStatus.COMPLETE, expected=40, counts={FrameStatus.MISSING: 32})
        run.archive.finish(end)
        run.page.finish(end)
        browser.until("turn", lambda turn: ["missing", 9, 39] in (turn.get("holes") or {}).get("ranges", []))
        run.page.start(scan("8"), [PRODUCT])
        browser.until("turn", lambda turn: "holes" in turn and turn["holes"] is None)


@pytest.mark.slow
def test_no_ledger_is_read_while_nothing_is_lost(tmp_path: Path) -> None:
    with recorded(tmp_path) as run, viewer(run.page) as browser:
        browser.hello()
        for count in range(3):
            run.page.tick(Counters(scan="7", expected=40, received=count))
            browser.until("turn", lambda turn, count=count: turn.get("counters", {}).get("received") == count)
        assert "holes" not in browser.told


@pytest.mark.slow
def test_jobs_are_told_as_the_command_tells_them_and_followed(tmp_path: Path) -> None:
    first = submitted(tmp_path, sys.executable, "-c", "raise SystemExit(7)", options=("--name", "seven"))
    over(first)
    with page(jobs=tmp_path / "jobs") as sink, viewer(sink) as browser:
        browser.hello()
        rows = browser.until("turn", lambda turn: turn.get("jobs"))["jobs"]
        assert [rows[0][place] for place in (0, 1, 2, 4, 5)] == ["local", "seven", "1", "failed", "7"]
        before = {each: each.stat().st_mtime_ns for each in (tmp_path / "jobs").rglob("*")}
        second = submitted(tmp_path, sys.executable, "-c", "print('\x1b[31m')", options=("--name", "zero"))
        over(second)
        done = browser.until("turn", lambda turn: [each[4] for each in turn.get("jobs", ())] == ["done", "failed"])
        assert done["jobs"][0][1] == "zero" and "\x1b" not in json.dumps(done["jobs"])
        assert before == {each: each.stat().st_mtime_ns for each in before}  # only looked at


def test_a_folder_of_jobs_that_is_not_there_or_cannot_be_read_is_no_trouble(tmp_path: Path) -> None:
    assert table(tmp_path / "nowhere") == []
    (tmp_path / "file").write_text("no folder")
    [row] = table(tmp_path / "file")
    assert row[4] == "unknown" and "cannot be read" in row[7]
    (tmp_path / "jobs" / "0001").mkdir(parents=True)
    (tmp_path / "jobs" / "0001" / "job.json").write_text("{" * 100_000)
    [row] = table(tmp_path / "jobs")
    assert row[4] == "unknown" and all(len(cell) <= 500 for cell in row)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@needs_chromium
@pytest.mark.slow
def test_a_browser_shows_holes_files_and_jobs_in_their_colours(browser: Browser, tmp_path: Path) -> None:
    over(submitted(tmp_path, sys.executable, "-c", "pass", options=("--name", "good")))
    over(submitted(tmp_path, sys.executable, "-c", "raise SystemExit(7)", options=("--name", "bad")))
    with recorded(tmp_path, jobs=tmp_path / "jobs") as run, browser.tab() as tab:
        run.page.tick(Counters(scan="7", expected=40, received=8, missing=1, corrupt=1))
        tab.open(run.page.sink.address)
        tab.until("document.querySelector('.holes').textContent", lambda text: text == "missing: 4corrupt: 5")
        tab.until("document.querySelector('.files').textContent", lambda text: "7_frames.h5" in text)
        tab.until("document.querySelectorAll('#jobs .job').length", lambda count: count == 2)
        colours = tab.run("[...document.querySelectorAll('#jobs .job')].map((each) => getComputedStyle(each).color)")
        assert colours == ["rgb(255, 107, 107)", "rgb(77, 192, 138)"]  # the newest first
        tab.screenshot(tmp_path / "record.png")
        assert not tab.problems


@needs_chromium
@pytest.mark.slow
def test_regions_are_saved_as_a_file_that_python_reads_and_loaded_again(browser: Browser, tmp_path: Path) -> None:
    one = {"kind": "rectangle", "x": [10, 20], "y": [30, 40]}
    config = roi.Config.model_validate({"type": "roi", "regions": {"one": one}})
    control = RunControl(OptionSet((config,)))
    document = {"processors": [{"type": "roi", "regions": {}}]}
    with page(Context(name="sinks.0", document=document, control=control)) as sink, browser.tab() as tab:
        sink.start(scan(), [PRODUCT])
        sink.write(frame(1))
        tab.open(sink.sink.address)
        tab.until("document.querySelector('[data-region=one]')?.className ?? null", lambda name: name is not None)
        tab.run(
            "window.saved = null; URL.createObjectURL = (blob) => { blob.text().then((text) => (window.saved = text)); "
            "return 'data:,'; }; [...document.querySelectorAll('.regions button')].find((each) => each.textContent === "
            "'JSON').click()"
        )
        text = tab.until("window.saved", lambda found: found)
        (tmp_path / "regions.json").write_text(text)
        kept = inbeam.load_roi(tmp_path / "regions.json")
        assert list(kept) == ["one"]
        found: dict[str, Any] = json.loads(text)
        found["regions"] = {"two": {**one, "x": [11, 21]}}
        put = (
            "(text) => { const files = new DataTransfer(); files.items.add(new File([text], 'regions.json')); "
            "const input = document.querySelector('.regions input[type=file]'); input.files = files.files; "
            "input.dispatchEvent(new Event('change')); }"
        )
        tab.run(f"({put})({json.dumps(json.dumps(found))})")
        wait_for(lambda: list(control.value("processors.roi.regions")) == ["two"], "the regions of the file")
        tab.until("document.querySelector('[data-region=two]')?.className ?? null", lambda name: name is not None)
        tab.run(f"({put})('[1, 2]')")
        said = tab.until("document.querySelector('#options .answer').textContent", lambda text: "holds no" in text)
        assert "regions.json holds no regions" in said and list(control.value("processors.roi.regions")) == ["two"]
        assert not tab.problems
