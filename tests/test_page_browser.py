"""The page in a real browser: what is seen, dragged, lost and found again, and that the console has nothing to say."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from chromium import Browser, Tab, chromium, needs_chromium
from commands import inbeam, wait_for
from driven import Driven
from page_client import DETECTOR, IMAGES, PRODUCT, frame, page, piece, scan

from processors import roi
from stream import Counters
from stream.commands.demo import free_port
from stream.context import Context
from stream.events import Encoding, Payload
from stream.pipeline.control import RunControl
from stream.pipeline.revisions import OptionSet

pytestmark = [needs_chromium, pytest.mark.slow]
SHAPE = (200, 300)
SHAPE_OF_FRAMES = DETECTOR.shape
CANVAS = "#detector canvas.image"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def shown(tab: Tab, number: int) -> None:
    """Wait for the image of a frame."""
    tab.until("document.querySelector('#detector .under').textContent", lambda text: f"frame {number}," in text)


def fed(sink: Driven, count: int) -> None:
    for index in range(count):
        sink.write(frame(index))
        sink.update(piece(index // 4 % 3, index % 4, index + 1.0))
        wait_for(lambda index=index: sink.sink._news._rows_made == index + 1, "the sink")
    sink.tick(Counters(scan="7", expected=1000, received=count, finished=count, rate=12.5, latency_ms=7.25))


def test_a_browser_shows_image_pattern_series_map_and_counters_without_a_complaint(
    browser: Browser, tmp_path: Path
) -> None:
    with page() as sink, browser.tab() as tab:
        fed(sink, 12)
        tab.open(sink.sink.address)
        shown(tab, 11)
        tab.until("document.querySelector('[data-name=frames] b').textContent", lambda text: text == "12 / 1000")
        assert tab.text("[data-name='frames/s'] b") == "12.5" and tab.text("#scan") == "scan 7"
        assert tab.text("#status") == "running" and tab.text("#role") == "operator"
        assert tab.until("document.querySelectorAll('#curves canvas').length") == 2  # the plot, and the waterfall
        tab.until("document.querySelector('#pictures .under').textContent", lambda text: text.startswith("4 × 3"))
        tab.until("document.querySelector('#series .choice').textContent", lambda text: "integrate.total" in text)
        part = f"document.querySelector('{CANVAS}').getContext('2d').getImageData(200, 200, 200, 200).data"
        assert tab.run(f"new Set({part}).size") > 8
        tab.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000 and not tab.problems


def test_the_wheel_zooms_to_single_pixels_and_the_pointer_reads_their_counts(browser: Browser) -> None:
    with page(image_size=64) as sink, browser.tab() as tab:
        fed(sink, 2)
        tab.open(sink.sink.address)
        shown(tab, 1)
        assert "mean of 4 × 4 pixels" in tab.text("#detector .under")
        left, top, width, height = tab.box(CANVAS)
        x, y = left + 0.5 * width, top + 0.5 * height
        for _ in range(16):
            tab.ask("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-100)
        tab.until("document.querySelector('#detector .under').textContent", lambda text: "every pixel" in text)
        tab.mouse("mouseMoved", x, y)
        said = tab.until(
            "[...document.querySelectorAll('#detector .under')].at(-1).textContent", lambda text: text.startswith("row")
        )
        row, column, value = map(int, re.match(r"row (\d+), column (\d+)\s+(\d+)", said).groups())  # type: ignore[union-attr]
        assert abs(row - 128) <= 2 and abs(column - 128) <= 2
        assert value == IMAGES[1]["threshold_1"][row, column]
        assert not tab.problems


def test_a_frozen_image_stays_while_the_counters_go_on(browser: Browser) -> None:
    with page() as sink, browser.tab() as tab:
        fed(sink, 3)
        tab.open(sink.sink.address)
        shown(tab, 2)
        tab.run(
            "[...document.querySelectorAll('#detector button')].find((each) => each.textContent === 'freeze').click()"
        )
        sink.write(frame(9))
        tab.until("document.documentElement.dataset.frame", lambda text: text == "9")
        assert "frame 2," in tab.text("#detector .under")


def test_alarms_and_big_numbers_stay_after_a_reload_and_a_phone_scrolls_one_way_only(
    browser: Browser, tmp_path: Path
) -> None:
    with page() as sink, browser.tab() as tab:
        fed(sink, 3)
        for visit in range(2):
            tab.open(sink.sink.address, 390, 844, mobile=True)
            shown(tab, 2)
            if not visit:
                tab.run("document.querySelector('#alarms input[type=number]').value = 20")
                tab.run("document.querySelectorAll('#alarms select')[1].value = 'below'")
                tab.run("[...document.querySelectorAll('#alarms button')].find((b) => b.textContent === 'add').click()")
                tab.click("#big")
            said = tab.until("document.querySelector('#alarm').textContent")
            assert said == "frames/s 12.5 is below 20" and tab.run("document.body.classList.contains('big')")
        size = tab.run("parseFloat(getComputedStyle(document.querySelector('#numbers b')).fontSize)")
        assert size > 50
        tab.screenshot(tmp_path / "phone.png")
        tab.click("#big")
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        tab.run("localStorage.clear()")
        assert not tab.problems


def test_big_numbers_of_chosen_series_fit_into_the_window(browser: Browser, tmp_path: Path) -> None:
    with page() as sink, browser.tab() as tab:
        fed(sink, 3)
        tab.open(sink.sink.address)
        shown(tab, 2)
        tab.until("document.querySelectorAll('#series input').length === 2")
        tab.run("document.querySelectorAll('#series input').forEach((each) => each.checked || each.click())")
        tab.click("#big")
        sink.tick(Counters(scan="7", expected=1000, received=3, finished=3))
        tab.until("document.querySelector('#numbers').children.length === 8")
        assert tab.text("[data-name=temperature] b") == "302"
        tab.screenshot(tmp_path / "big.png")
        assert tab.run("document.documentElement.scrollHeight <= innerHeight")
        assert tab.run("parseFloat(getComputedStyle(document.querySelector('#numbers b')).fontSize)") > 100
        tab.run("localStorage.clear()")
        assert not tab.problems


def alarm(tab: Tab, what: str, operation: str, limit: float) -> None:
    tab.until(f"[...document.querySelectorAll('#alarms option')].some((each) => each.value === '{what}')")
    tab.run(f"document.querySelector('#alarms select').value = '{what}'")
    tab.run(f"document.querySelectorAll('#alarms select')[1].value = '{operation}'")
    tab.run(f"document.querySelector('#alarms input[type=number]').value = {limit}")
    tab.run("[...document.querySelectorAll('#alarms button')].find((b) => b.textContent === 'add').click()")


def test_alarms_on_a_series_lost_frames_and_saturated_pixels_are_silent_unless_asked_for(browser: Browser) -> None:
    with page() as sink, browser.tab() as tab:
        fed(sink, 3)
        tab.ask(
            "Page.addScriptToEvaluateOnNewDocument",
            source="window.sounds = 0; AudioContext = class extends AudioContext "
            "{ createOscillator() { sounds++; return super.createOscillator() } }",
        )
        tab.open(sink.sink.address)
        shown(tab, 2)
        alarm(tab, "temperature", "above", 304)
        alarm(tab, "lost", "above", 0)
        assert tab.run("document.querySelector('#alarm').hidden")
        for index in (3, 4, 5):
            sink.write(frame(index))
        sink.tick(Counters(scan="7", expected=1000, missing=2))
        said = "document.querySelector('#alarm').textContent"
        tab.until(said, lambda text: text == "temperature 305 is above 304; lost 2 is above 0")
        alarm(tab, "saturated pixels", "above", 0)
        good = sink.sink._news._scan["masks"]["threshold_1"]
        bad = np.unpackbits(good["bits"])[: SHAPE_OF_FRAMES[0] * SHAPE_OF_FRAMES[1]].astype(bool)
        image = IMAGES[0]["threshold_1"].copy()
        image.flat[np.flatnonzero(~bad)[:7]] = np.iinfo(image.dtype).max
        payload = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
        sink.write(replace(frame(6), payloads={"threshold_1": payload}))
        tab.until(said, lambda text: "saturated pixels 7 is above 0" in text)
        assert tab.run("sounds") == 0
        tab.click("#alarms input[type=checkbox]")
        sink.tick(Counters(scan="7", expected=1000, missing=3))
        tab.until("sounds > 1")
        tab.run("localStorage.clear()")
        assert not tab.problems


def test_ten_browsers_see_the_same_frame_and_come_back_when_the_process_is_killed(browser: Browser) -> None:
    with page() as sink, ExitStack() as stack:
        fed(sink, 2)
        tabs = [stack.enter_context(browser.tab()) for _ in range(10)]
        for tab in tabs:
            tab.open(sink.sink.address, 700, 500)
        for tab in tabs:
            tab.until("document.documentElement.dataset.frame", lambda text: text == "1")
        before = sink.sink.child.pid
        subprocess.run(["kill", "-9", str(before)], check=True)
        wait_for(lambda: sink.sink.child.pid not in (None, before), "the process that serves")
        sink.write(frame(5))
        for tab in tabs:
            tab.until("document.documentElement.dataset.frame", lambda text: text == "5")
            assert tab.text("#link") == "connected"
            assert all("WebSocket connection" in each for each in tab.problems)


@contextmanager
def running(folder: Path, port: int, control: str) -> Iterator["subprocess.Popen[bytes]"]:
    """inbeam with regions, as a user runs it."""
    document = {
        "stream": {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{port}"},
        "processors": [
            {"type": "roi", "most": 4, "regions": {"spot": {"kind": "rectangle", "x": [100, 140], "y": [60, 100]}}}
        ],
        "sinks": [
            {"type": "hdf5", "path": str(folder / "roi.h5")},
            {"type": "page", "endpoint": control, "rate_hz": 20},
        ],
        "run": {"scans": 1},
    }
    (folder / "inbeam.yaml").write_text(yaml.safe_dump(document))
    process = subprocess.Popen(inbeam("run", "--quiet", str(folder / "inbeam.yaml")))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def sending(folder: Path, images: np.ndarray, port: int, rate: int) -> Iterator[None]:
    """A detector that sends a recorded scan."""
    with h5py.File(folder / "scan.h5", "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, *SHAPE))
    command = inbeam("replay", str(folder / "scan.h5"), "--as", "stream2", "--rate", str(rate))
    process = subprocess.Popen([*command, "--bind", f"tcp://127.0.0.1:{port}"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _open(tab: Tab, url: str) -> Any:
    tab.open(url)
    time.sleep(0.2)
    return tab.run("document.title") == "inbeam" or tab.text("#scan")


def test_the_page_comes_back_by_itself_when_inbeam_was_killed_and_started_again(
    browser: Browser, tmp_path: Path
) -> None:
    images = np.random.default_rng(1).integers(0, 90, (300, *SHAPE)).astype("u2")
    endpoint = f"127.0.0.1:{free_port()}"
    with browser.tab() as tab:
        for visit in range(2):
            port = free_port()
            (folder := tmp_path / str(visit)).mkdir()
            with running(folder, port, endpoint) as run, sending(folder, images, port, 30):
                if not visit:
                    wait_for(lambda: _open(tab, f"http://{endpoint}/"), "the page")
                tab.until("document.querySelector('#link').textContent", lambda text: text == "connected", 60)
                tab.until("document.documentElement.dataset.frame", lambda text: text.isdigit(), 60)
                run.kill()
                run.wait()
                tab.until("document.querySelector('#link').textContent", lambda text: "trying again" in text)


def test_an_edit_of_what_somebody_else_has_changed_is_refused_with_the_present_value(browser: Browser) -> None:

    config = roi.Config.model_validate({"type": "roi", "regions": {}})
    control = RunControl(OptionSet((config,)))
    document = {"processors": [{"type": "roi", "regions": {}}]}
    with page(Context(name="sinks.0", document=document, control=control)) as sink, browser.tab() as tab:
        sink.start(scan(), [PRODUCT])
        fed(sink, 1)
        tab.open(sink.sink.address)
        option = "document.querySelector('[data-path=\"processors.roi.regions\"]')"
        tab.until(f"{option}?.querySelector('textarea').value", lambda text: text == "{}")
        control.change("processors.roi.regions", {"a": {"kind": "rectangle", "x": [1, 2], "y": [1, 2]}}, "somebody")
        tab.run(f"{option}.querySelector('button').click()")
        said = tab.until("document.querySelector('#options .answer').textContent")
        assert "was changed by somebody else meanwhile" in said
        assert list(control.value("processors.roi.regions")) == ["a"]
