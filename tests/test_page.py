"""The page as its viewers see it, over the WebSocket, and what they can do to the pipeline: nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyFAI
import pytest
from driven import Driven
from page_client import AXIS, IMAGES, MAP, PRODUCT, Viewer, frame, page, piece, scan, viewer
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed

from sinks.browser.geometry import Where
from sinks.browser.guard import static_files
from sinks.live.preview import preview
from sinks.page import Config, Page, create
from stream import Counters, EndStatus, Frame, FrameStatus, ScanEnd, SinkFailed
from stream.events import Payload, Update
from stream.roles import Sink
from stream.simulate import eiger
from stream.testing import SinkConformance


class TestPageConforms(SinkConformance):
    def make(self, folder: Path) -> Sink:
        return create(Config(endpoint="127.0.0.1:0"))


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for it, at most so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def look(browser: Viewer, **view: object) -> None:
    browser.hello()
    browser.watch(**view)


def test_a_viewer_gets_the_scan_the_image_the_pattern_the_series_and_the_counters() -> None:
    with page() as sink, viewer(sink) as browser:
        for index in range(4):
            sink.write(frame(index))
        sink.tick(Counters(scan="7", expected=1000, received=4, finished=4, rate=12.5))
        look(browser, size=128, pool="mean")
        image = browser.image(3)
        scan_told = browser.told["scan"]["scan"]
        curve = browser.told["curves"]
        browser.until("turn", lambda told: told.get("counters", {}).get("received") == 4)
        assert browser.told["welcome"]["role"] == "operator"
        assert (scan_told["name"], scan_told["shape"], scan_told["expected"]) == ("7", [256, 256], 1000)
        assert np.allclose(scan_told["products"][0]["axes"][0]["values"], AXIS.values)
        wanted, step = preview(IMAGES[1]["threshold_1"], 128, "mean")
        assert step == image["step"] == 2 and np.array_equal(image["values"], wanted, equal_nan=True)
        assert curve["frame"] == 3 and curve["items"] == [["integrate.I", 40]] and set(curve["values"]) == {3}
        assert browser.told["counters"]["rate"] == 12.5 and browser.told["counters"]["status"] == "running"
        seen = {name: row for told in browser.rows for name, row in zip(told["names"], told["table"][2:], strict=True)}
        assert seen["temperature"][-1] == 303 and seen["integrate.total"][-1] == 120


def test_what_is_looked_at_closely_comes_pixel_by_pixel_and_with_its_true_counts() -> None:
    with page() as sink, viewer(sink) as browser:
        sink.write(frame(0))
        look(browser, size=64, rows=[100, 160], columns=[31, 90])
        image = browser.image(0)
        pixels = IMAGES[0]["threshold_1"]
        assert image["step"] == 1 and image["rows"] == [100, 160] and image["columns"] == [31, 90]
        part = pixels[100:160, 31:90].astype(np.float32)
        good = part != np.iinfo(pixels.dtype).max
        assert np.array_equal(image["values"][good], part[good]) and np.isnan(image["values"][~good]).all()
        browser.say({"kind": "probe", "source": "image threshold_1", "row": 120, "column": 60})
        probe = browser.until("probe")
        assert (probe["value"], probe["masked"], probe["frame"]) == (int(pixels[120, 60]), False, 0)


def test_masked_pixels_are_told_from_those_without_counts() -> None:
    made = Page(Config(endpoint="127.0.0.1:0", rate_hz=50, share=1))
    sink = Driven(made)
    bad = np.zeros(scan().shape, bool)
    bad[10:20, 30:40] = True
    begin = replace(scan(), detector=replace(scan().detector, pixel_mask={"threshold_1": bad.astype("u4")}))
    try:
        sink.start(begin, [])
        sink.write(frame(0))
        with viewer(sink) as browser:
            look(browser, size=256)
            values = browser.image(0)["values"]
            flagged = IMAGES[0]["threshold_1"] == np.iinfo("u2").max
            assert np.array_equal(np.isnan(values), bad | flagged)
            browser.say({"kind": "probe", "source": "image threshold_1", "row": 12, "column": 33})
            assert browser.until("probe")["masked"]
    finally:
        sink.close()


def test_a_map_is_seen_as_it_grows() -> None:
    with page() as sink, viewer(sink) as browser:
        look(browser, source="map.total")
        for number in range(12):
            sink.write(frame(number))
            sink.update(piece(number // 4, number % 4, number))
        wanted = np.arange(12, dtype=np.float32).reshape(3, 4)
        browser.until("image", lambda told: np.array_equal(told["values"], wanted))
        sink.update(Update("uid", "map", afresh=True))
        browser.until("image", lambda told: np.isnan(told["values"]).all())


def test_the_next_turn_comes_only_after_the_last_one_was_shown_and_is_the_newest() -> None:
    with page() as sink, viewer(sink) as browser, viewer(sink) as other:
        look(browser)
        look(other)
        sink.write(frame(0))
        browser.image(0)
        while browser.hear()["kind"] != "turn":
            pass
        for index in range(1, 30):  # the other viewer sees them all go by
            sink.write(frame(index))
            other.image(index)
        browser.say({"kind": "shown"})
        assert browser.until("image")["frame"] == 29


@pytest.mark.slow
def test_ten_viewers_of_whom_one_is_stuck_and_one_vanishes_all_get_the_newest() -> None:
    with page() as sink, ExitStack() as stack:
        browsers = [stack.enter_context(viewer(sink)) for _ in range(10)]
        for browser in browsers:
            look(browser)
        sink.write(frame(0))
        for browser in browsers[1:]:
            browser.image(0)
        browsers[1].connection.socket.shutdown(socket.SHUT_RDWR)
        for index in range(1, 10):
            sink.write(frame(index))
            for browser in browsers[2:]:
                browser.image(index)


def test_nothing_is_decoded_or_copied_while_nobody_looks() -> None:
    with page() as sink:
        for index in range(50):
            sink.write(frame(index))
            time.sleep(0.002)
        until(lambda: sink.sink._news._told.get("rows", 0) == sink.sink._news._rows_made > 0)
        assert sink.sink._news._told["frame"] == -1


def test_a_viewer_that_comes_late_gets_the_series_from_its_beginning() -> None:
    with page() as sink:
        for index in range(20):
            sink.write(frame(index))
            until(lambda index=index: sink.sink._news._rows_made == index + 1)
        with viewer(sink) as browser:
            browser.hello()
            browser.until("rows", lambda rows: rows["table"][0, -1] == 19)
            assert browser.rows[0]["afresh"] and not any(later["afresh"] for later in browser.rows[1:])
            assert np.concatenate([rows["table"][0] for rows in browser.rows]).tolist() == list(range(20))


@pytest.mark.slow
def test_the_process_that_serves_is_started_again_and_knows_everything_again() -> None:
    with page() as sink:
        for index in range(3):
            sink.write(frame(index))
            until(lambda index=index: sink.sink._news._rows_made == index + 1)
        sink.update(piece(1, 1, 5.0))
        with viewer(sink) as browser:
            look(browser)
            browser.image(2)
            os.kill(sink.sink.child.pid, signal.SIGKILL)
        with viewer(sink) as browser:
            browser.hello()
            browser.say(
                {"kind": "watch", "views": {"a": {"source": "image threshold_1"}, "b": {"source": "map.total"}}}
            )
            browser.image(2)
            grown = browser.until("image", lambda told: told["source"] == "map.total")
            assert grown["values"][1, 1] == 5 and np.isnan(grown["values"]).sum() == 11
            assert browser.rows[0]["table"][0].tolist() == [0, 1, 2]
        assert sink.sink.child.starts == 2


def test_the_process_that_serves_ends_when_inbeam_is_killed() -> None:
    script = (
        "import time; from sinks.page import *; page = Page(Config(endpoint='127.0.0.1:0')); page.tick(None);"
        "print(page.child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    until(lambda: not Path(f"/proc/{child}/exe").exists())


def test_a_process_that_hangs_holds_up_neither_frames_nor_the_end() -> None:
    with page() as sink, viewer(sink) as browser:
        look(browser)
        sink.write(frame(0))
        browser.image(0)
        os.kill(sink.sink.child.pid, signal.SIGSTOP)
        began = time.monotonic()
        for index in range(1, 500):
            sink.write(frame(index))
        sink.finish(ScanEnd("uid"))
        sink.start(scan("8"), [PRODUCT])
        assert time.monotonic() - began < 5
        os.kill(sink.sink.child.pid, signal.SIGCONT)
        browser.until("scan", lambda told: told["scan"]["name"] == "8")


def test_the_end_of_a_scan_is_told_and_the_next_one_replaces_it() -> None:
    with page() as sink, viewer(sink) as browser:
        look(browser)
        sink.write(frame(5))
        browser.image(5)
        sink.finish(ScanEnd("uid", EndStatus.ABORTED, counts={FrameStatus.RECEIVED: 1, FrameStatus.MISSING: 999}))
        browser.until("turn", lambda told: told.get("counters", {}).get("status") == "aborted")
        assert browser.told["counters"]["counts"]["missing"] == 999
        sink.start(scan("8"), [MAP])
        browser.until("scan", lambda told: told["scan"]["name"] == "8")
        sink.write(replace(frame(0), results={}))
        assert browser.image(0)["frame"] == 0


def test_viewers_see_the_end_before_they_are_sent_away() -> None:
    with page() as sink, viewer(sink) as browser:
        look(browser)
        sink.write(frame(5))
        browser.image(5)
        sink.finish(ScanEnd("uid", EndStatus.STOPPED))
        ending = threading.Thread(target=sink.close)
        ending.start()
        browser.until("turn", lambda told: told.get("counters", {}).get("status") == "stopped")
        with pytest.raises(ConnectionClosed, match="inbeam has ended"):
            browser.until("nothing")
        ending.join()


def test_holes_and_late_frames_are_not_shown_and_a_corrupt_image_is_told() -> None:
    with page() as sink, viewer(sink) as browser:
        look(browser)
        sink.write(frame(5))
        sink.write(Frame("uid", 6, {}, 0.0, status=FrameStatus.CORRUPT))
        sink.write(replace(frame(2), status=FrameStatus.LATE))
        browser.image(5)
        payload = frame(0).payloads["threshold_1"]
        cut = Payload(payload.data[:100], payload.encoding, payload.shape, payload.dtype)
        sink.write(replace(frame(7), payloads={"threshold_1": cut}))
        assert browser.image(7)["problem"] == "frame 7: cannot be decoded"
        sink.write(frame(8))
        assert "problem" not in browser.image(8)


def test_a_pixels_place_is_that_of_pyfai(tmp_path: Path) -> None:
    text, shape = eiger.poni(eiger.small()), eiger.small().shape
    where = Where(text)
    assert where.at(10, 20) == {}
    where.load()
    found = where.at(10, 20)
    (tmp_path / "detector.poni").write_text(text)
    integrator = pyFAI.load(str(tmp_path / "detector.poni"))
    for name, unit in (("two_theta_deg", "2th_deg"), ("chi_deg", "chi_deg"), ("q_nm", "q_nm^-1")):
        assert found[name] == pytest.approx(integrator.center_array(shape, unit)[10, 20], rel=1e-9)
    assert found["d_angstrom"] == pytest.approx(20 * np.pi / found["q_nm"])


@pytest.mark.parametrize("text", ["", "Rot1: 0.3\nRot2: -0.2\nRot3: 0.5\n"])
def test_a_point_of_the_plane_has_the_angles_of_pyfai(text: str, tmp_path: Path) -> None:
    poni = 'Detector: Detector\nDetector_config: {"pixel1": 1e-4, "pixel2": 2e-4, "orientation": 2}\n'
    (tmp_path / "x.poni").write_text(f"{poni}Distance: 0.1\nPoni1: 0.02\nPoni2: 0.03\nWavelength: 1e-10\n{text}")
    where = Where((tmp_path / "x.poni").read_text())
    assert where.plane((300, 400)) is None  # not loaded yet
    where.load()
    plane = where.plane((300, 400))
    assert plane is not None and plane["wavelength_angstrom"] == pytest.approx(1.0)
    for row, column in ((0, 0), (211, 17), (299, 399)):
        x, y, z = (np.array([1, column + 0.5, row + 0.5]) @ [plane[k] for k in ("origin", "column", "row")]).tolist()
        wanted = where.at(row, column)
        assert np.degrees(np.arctan2(np.hypot(x, y), z)) == pytest.approx(wanted["two_theta_deg"], abs=1e-6)
        assert np.degrees(np.arctan2(y, x)) == pytest.approx(wanted["chi_deg"], abs=1e-6)


def test_a_detector_that_is_not_flat_has_no_plane() -> None:
    where = Where("Detector: Aarhus\nDistance: 0.3\nPoni1: 0\nPoni2: 0\n")
    where.load()
    assert where.at(10, 10) and where.plane((1000, 16000)) is None


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with page() as first:
        port = first.sink.address.rstrip("/").rpartition(":")[2]
        second = Page(Config(endpoint=f"127.0.0.1:{port}"))
        with closing(second), pytest.raises(SinkFailed, match=f"cannot use 127.0.0.1:{port}.*another `endpoint`"):
            second.start(scan(), [])
    with page(endpoint=f"127.0.0.1:{port}"):  # free again as soon as the first one is closed
        pass


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for options, text in (
        ({"endpoint": "tcp://127.0.0.1:8765"}, "write host:port"),
        ({"endpoint": "127.0.0.1:70000"}, "write host:port"),
        ({"endpoint": "0.0.0.0:8765"}, "name a file for `tokens`"),
        ({"endpoint": "[::]:8765"}, "name a file for `tokens`"),
        ({"rate_hz": 0}, "greater than 0"),
        ({"colour": "red"}, "not permitted"),
    ):
        with pytest.raises(ValidationError, match=text):
            Config.model_validate(options)
    assert not Config().required


def test_the_page_is_there_over_ipv6_and_before_any_scan() -> None:
    made = Page(Config(endpoint="[::1]:0"))
    with closing(made):
        made.tick(Counters())
        with urlopen(made.address, timeout=20) as answer:
            assert answer.status == 200 and b"<title>inbeam</title>" in answer.read()


def test_everything_that_the_page_is_made_of_is_there_and_nothing_comes_from_elsewhere() -> None:
    files = static_files()
    assert {"/", "/index.html", "/main.js", "/uplot.js", "/page.css"} <= files.keys()
    for path, (_, content) in files.items():
        assert not re.search(rb"(?:src|href)=[\"']?https?:|import[^;]*https?:|url\(['\"]?https?:", content), path
