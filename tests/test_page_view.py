"""How images are looked at on the page, in a real browser: turned, zoomed, frozen, above a point, three as colours."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from chromium import Browser, Tab, chromium, needs_chromium
from driven import Driven
from page_client import DETECTOR, IMAGES, MAP, PRODUCT, frame, page, scan

from processors import roi
from stream import Counters, Field, Product
from stream.context import Context
from stream.events import Piece, Update
from stream.pipeline.control import RunControl
from stream.pipeline.revisions import OptionSet

pytestmark = [needs_chromium, pytest.mark.slow]
CANVAS = "#detector canvas.image"
SIZE = DETECTOR.shape[0]
CAPTION = "document.querySelector('#detector .under').textContent"
HOVER = "document.querySelector('#detector .hover').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def shared_sink() -> Iterator[Driven]:
    with page() as found:
        yield found


@pytest.fixture
def sink(shared_sink: Driven) -> Driven:
    """With an image of frame 0 of a new scan: its process takes a second to start, so there is one for all."""
    shared_sink.start(scan(), [PRODUCT, MAP])
    shared_sink.write(frame(0))
    shared_sink.tick(Counters(scan="7", expected=1000))
    return shared_sink


@pytest.fixture
def tab(browser: Browser, sink: Driven) -> Iterator[Tab]:
    with browser.tab() as found:
        found.open(sink.sink.address)
        shown(found, 0)
        yield found
        found.run("localStorage.clear()")
        assert not found.problems


def shown(tab: Tab, number: int) -> None:
    tab.until(CAPTION, lambda text: f"frame {number}," in text)


def press(tab: Tab, text: str, panel: str = "detector") -> None:
    tab.run(f"[...document.querySelectorAll('#{panel} button')].find((b) => b.textContent === '{text}').click()")


def seen_at(tab: Tab, right: float, down: float) -> tuple[int, int]:
    """The (row, column) that the page names at a place of the screen, in pixels from the image's upper left."""
    left, top, width, height = tab.box(CANVAS)
    scale = min(width, height) / SIZE
    x = left + width / 2 + (right - SIZE / 2) * scale
    y = top + height / 2 + (down - SIZE / 2) * scale
    tab.mouse("mouseMoved", x, y)
    said = tab.until(f"{HOVER.removesuffix('.textContent')}.dataset.pixel")
    tab.until(HOVER, lambda text: text.startswith(said))
    found = re.match(r"row (\d+), column (\d+)", said)
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(
    ("turns", "row", "column"),
    [
        ((), 30, 100),
        (("flip ↔",), 30, SIZE - 1 - 100),
        (("flip ↕",), SIZE - 1 - 30, 100),
        (("transpose",), 100, 30),
        (("transpose", "flip ↔"), SIZE - 1 - 100, 30),
    ],
)
def test_a_turned_image_still_names_the_pixel_under_the_pointer(
    tab: Tab, turns: tuple[str, ...], row: int, column: int
) -> None:
    for each in turns:
        press(tab, each)
    assert seen_at(tab, 100.5, 30.5) == (row, column)
    said = tab.until(HOVER, lambda text: f"row {row}, column {column}" in text)
    value = IMAGES[0]["threshold_1"][row, column]
    assert said.split("   ")[1] == (str(value) if value != np.iinfo(value.dtype).max else f"masked ({value})")


def test_what_is_drawn_is_turned_as_what_is_named(tab: Tab) -> None:
    before = corner(tab, 0, 0), corner(tab, 1, 0)
    press(tab, "flip ↔")
    after = corner(tab, 0, 0), corner(tab, 1, 0)
    assert before == (after[1], after[0]) and before[0] != before[1]


def corner(tab: Tab, right: int, down: int) -> float:
    """Mean brightness of a quarter of the image."""
    return float(
        tab.run(
            f"(c => {{ const s = Math.min(c.width, c.height), x = (c.width - s) / 2 + {right} * s / 2 + 4, "
            f"y = (c.height - s) / 2 + {down} * s / 2 + 4; "
            "const d = c.getContext('2d').getImageData(Math.round(x), Math.round(y), s / 2 - 8, s / 2 - 8).data; "
            f"return Math.round(d.reduce((a, b) => a + b, 0) / d.length / 2) }})(document.querySelector('{CANVAS}'))"
        )
    )


def test_how_an_image_is_turned_and_coloured_is_kept_for_its_detector_and_no_other(tab: Tab, sink: Driven) -> None:
    press(tab, "flip ↕")
    tab.run(
        "(s => { s.value = 'viridis'; s.dispatchEvent(new Event('change')) })"
        "(document.querySelector('#detector [data-map]'))"
    )
    pressed = "document.querySelector('[data-turn=flipY]').getAttribute('aria-pressed')"
    tab.open(sink.sink.address)
    shown(tab, 0)
    assert tab.run(pressed) == "true" and seen_at(tab, 100.5, 30.5) == (SIZE - 1 - 30, 100)
    for serial, wanted in (("another", "false"), (DETECTOR.name, "true")):
        one = scan("8")
        other = one if wanted == "true" else replace(one, detector=replace(one.detector, serial_number=serial))
        sink.start(other, [PRODUCT, MAP])
        sink.write(frame(1))
        tab.until(pressed, lambda text, wanted=wanted: text == wanted)


def test_the_zoom_stays_over_frames_scans_and_another_size_of_the_window(tab: Tab, sink: Driven) -> None:
    left, top, width, height = tab.box(CANVAS)
    for _ in range(6):
        about = {"x": left + width / 2, "y": top + height / 2, "deltaX": 0, "deltaY": -100}
        tab.ask("Input.dispatchMouseEvent", type="mouseWheel", **about)
    place = [seen_at(tab, 0.25 * SIZE, 0.25 * SIZE), seen_at(tab, 0.75 * SIZE, 0.75 * SIZE)]
    assert place[1][0] - place[0][0] < 0.2 * SIZE
    sink.write(frame(1))
    shown(tab, 1)
    assert [seen_at(tab, 0.25 * SIZE, 0.25 * SIZE), seen_at(tab, 0.75 * SIZE, 0.75 * SIZE)] == place
    sink.start(scan("8"), [PRODUCT, MAP])
    sink.write(frame(2))
    shown(tab, 2)
    assert [seen_at(tab, 0.25 * SIZE, 0.25 * SIZE), seen_at(tab, 0.75 * SIZE, 0.75 * SIZE)] == place
    tab.ask("Emulation.setDeviceMetricsOverride", width=1100, height=900, deviceScaleFactor=1, mobile=False)
    tab.until(f"document.querySelector('{CANVAS}').width < {width - 50}")
    middle = seen_at(tab, 0.5 * SIZE, 0.5 * SIZE)
    assert max(abs(each - SIZE // 2) for each in middle) <= 1
    assert seen_at(tab, 0.75 * SIZE, 0.75 * SIZE)[0] - middle[0] < 0.1 * SIZE


def test_limits_by_hand_stay_and_percentiles_come_back(tab: Tab, sink: Driven) -> None:
    tab.run("(f => { f.value = 3; f.dispatchEvent(new Event('change')) })(document.querySelector('[data-limit=high]'))")
    sink.write(frame(1))
    shown(tab, 1)
    high = "document.querySelector('#detector [data-limit=high]').valueAsNumber"
    assert tab.run(high) == 3
    press(tab, "auto")
    image = IMAGES[1]["threshold_1"]
    good = image[image != np.iinfo(image.dtype).max]
    assert tab.run(high) == pytest.approx(np.percentile(good, 99.9), abs=1)


def test_a_frozen_image_is_read_as_it_is_and_the_newest_comes_when_it_thaws(tab: Tab, sink: Driven) -> None:
    press(tab, "freeze")
    sink.write(frame(9))
    tab.until("document.documentElement.dataset.frame", lambda text: text == "9")
    row, column = seen_at(tab, 60.5, 200.5)
    assert IMAGES[0]["threshold_1"][row, column] != np.iinfo(np.uint16).max
    said = tab.until(HOVER, lambda text: f"row {row}, column {column}" in text)
    assert said.split("   ")[1:3] == [str(IMAGES[0]["threshold_1"][row, column]), "frame 0"]
    press(tab, "freeze")
    shown(tab, 9)  # no further frame is needed for it


def test_a_background_point_is_subtracted_and_said(tab: Tab) -> None:
    press(tab, "background point")
    row, column = seen_at(tab, 60.5, 200.5)
    left, top, width, height = tab.box(CANVAS)
    scale = min(width, height) / SIZE
    at = (left + width / 2 + (60.5 - SIZE / 2) * scale, top + height / 2 + (200.5 - SIZE / 2) * scale)
    tab.mouse("mousePressed", *at)
    tab.mouse("mouseReleased", *at)
    image = IMAGES[0]["threshold_1"].astype(float)
    zero = image[row, column]
    assert tab.until(CAPTION).endswith(f"less {zero:g}, which is at row {row}, column {column}")
    other = seen_at(tab, 128.5, 40.5)
    said = tab.until(HOVER, lambda text: f"row {other[0]}, column {other[1]}" in text)
    assert f"{image[other] - zero:g} above the background point" in said
    press(tab, "background point")
    assert "less" not in tab.run(CAPTION)


def test_three_images_of_a_map_are_red_green_and_blue_and_what_is_not_there_is_chequered(browser: Browser) -> None:
    names = ("a_sum", "b_sum", "c_sum")
    product = Product("map_images", tuple(Field(name, (1, 4), np.dtype("f8"), per="scan") for name in names), "a_sum")
    nan = float("nan")
    values = ([0.0, 1, 0, 0], [0.0, 0, 1, 0], [0.0, 0, 1, nan])
    with page() as sink, browser.tab() as tab:
        sink.start(scan("8"), [PRODUCT, product])
        sink.write(frame(0))
        pieces = {name: Piece((0, 0), np.array([each])) for name, each in zip(names, values, strict=True)}
        sink.update(Update("uid", "map_images", pieces))
        tab.open(sink.sink.address)
        tab.until("document.querySelector('#pictures .under').textContent", lambda text: text.startswith("4 × 1"))
        press(tab, "RGB", "pictures")
        tab.until("document.querySelector('#pictures .under').textContent", lambda t: "red: map_images.a_sum" in t)
        found = [
            tab.run(
                "(c => [...c.getContext('2d').getImageData(Math.round(c.width * "
                f"{(at + 0.25) / 4}), Math.round(c.height / 2), 1, 1).data].slice(0, 3))"
                "(document.querySelector('#pictures canvas.image'))"
            )
            for at in range(4)
        ]
        assert found[:3] == [[0, 0, 0], [255, 0, 0], [0, 255, 255]]
        assert found[3] in ([62, 72, 86], [98, 110, 126])
        tab.run("localStorage.clear()")
        assert not tab.problems


def test_arrows_move_a_region_as_it_is_seen_when_the_image_is_turned(browser: Browser) -> None:
    region = {"kind": "rectangle", "x": [20, 60], "y": [100, 130]}
    document = {"processors": [{"type": "roi", "regions": {"a": region}}]}
    control = RunControl(OptionSet((roi.Config.model_validate(document["processors"][0]),)))
    with page(Context(name="sinks.0", document=document, control=control)) as sink, browser.tab() as tab:
        sink.start(scan(), [PRODUCT])
        sink.write(frame(0))
        tab.open(sink.sink.address)
        shown(tab, 0)
        press(tab, "transpose")
        press(tab, "flip ↕")  # columns now go up
        tab.until("document.querySelector('[data-region=a]')?.textContent")
        tab.run(f"document.querySelector('{CANVAS}').focus()")
        tab.key("Tab")
        tab.key("ArrowUp")
        tab.key("ArrowRight", 2)
        tab.until("!document.querySelector('[data-waits]')")
        found = control.value("processors.roi.regions.a")
        assert found["x"] == [21, 61] and found["y"] == [110, 140]
        tab.run("localStorage.clear()")
        assert not tab.problems
