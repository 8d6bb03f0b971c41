"""Regions on the page in a real browser, by mouse, keys and touch: the file has what the page said, from that frame."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser, Tab, chromium, needs_chromium
from live_page import LivePage, answered, at, live_page, looking, numbers, said, settled, since
from page_client import frame, page

from processors import roi
from stream.context import Context
from stream.pipeline.control import RunControl
from stream.pipeline.revisions import OptionSet
from stream.simulate import eiger

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    with live_page(tmp_path_factory.mktemp("live")) as found:
        yield found


@pytest.fixture
def tab(browser: Browser, live: LivePage) -> Iterator[Tab]:
    with looking(browser, live) as found:
        yield found


def now(tab: Tab, live: LivePage, name: str) -> dict[str, object]:
    """A region as the file has it, with all that was answered."""
    changes = answered(tab, live)
    found = live.regions(changes[-1][0] if changes else 0, changes)[name]
    assert isinstance(found, dict)
    return found


def draw(tab: Tab, kind: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    names = tab.run("[...document.querySelectorAll('[data-region]')].map((each) => each.dataset.region)")
    tab.run(f"document.querySelector('[data-kind={kind}]').click()")
    assert tab.run(f"document.querySelector('[data-kind={kind}]').getAttribute('aria-pressed')") == "true"
    tab.drag(at(tab, *start), at(tab, *end))
    settled(tab)
    assert tab.run("document.querySelector('.chosen').dataset.region") not in names, tab.run("said")


def test_a_region_is_in_the_file_at_every_step_of_its_drag_from_the_frames_that_the_page_named(
    tab: Tab, live: LivePage
) -> None:
    tab.mouse("mousePressed", *at(tab, 120, 80))
    for step in range(1, 9):
        tab.mouse("mouseMoved", *at(tab, 120 + 5 * step, 80 + 2 * step))
        tab.until(f"said.length > {(step - 1) // 3}")
    tab.mouse("mouseReleased", *at(tab, 160, 96))
    frame = since(tab, "spot")
    frames = [first for first, _, _ in answered(tab, live)]
    assert frames == said(tab) and frames[-1] == frame and len(frames) >= 3
    assert now(tab, live, "spot")["x"] == [140, 180] and now(tab, live, "spot")["y"] == [76, 116]
    live.check(frame + 5)


def test_arrows_move_shift_arrows_resize_and_numbers_step(tab: Tab, live: LivePage) -> None:
    draw(tab, "rectangle", (20, 30), (50, 70))
    assert numbers(tab, x_0=20, x_1=50, y_0=30, y_1=70)
    for key, modifiers in (("ArrowRight", 0), ("ArrowDown", 2), ("ArrowRight", 8), ("ArrowUp", 8)):
        tab.key(key, modifiers)
    settled(tab)
    assert numbers(tab, x_0=21, x_1=52, y_0=40, y_1=79)
    tab.run("document.querySelector('[data-number=\"x.1\"]').focus()")
    tab.key("ArrowUp")
    tab.key("ArrowUp")
    tab.until("document.querySelector('[data-number=\"x.1\"]').valueAsNumber === 54")
    frame = since(tab, "region1")
    assert now(tab, live, "region1")["x"] == [21, 54] and now(tab, live, "region1")["y"] == [40, 79]
    tab.run("document.querySelector('#detector canvas.image').focus()")
    tab.key("Delete")
    tab.until("!document.querySelector('[data-region=region1]')")
    live.check(frame + 3)
    assert answered(tab, live)[-1][1:] == ("processors.roi.regions.region1", None)


def test_tab_goes_from_region_to_region_and_then_on(tab: Tab) -> None:
    draw(tab, "rectangle", (20, 30), (50, 70))
    tab.key("Escape")
    chosen = "document.querySelector('.chosen')?.dataset.region ?? ''"
    names = tab.run("[...document.querySelectorAll('[data-region]')].map((each) => each.dataset.region)")
    for name in names:
        tab.key("Tab")
        assert tab.run(chosen) == name
    tab.key("Tab", 8)
    assert tab.run(chosen) == names[-2]
    for _ in range(2):
        tab.key("Tab")
    assert tab.run("document.activeElement.tagName") != "CANVAS" and tab.run(chosen) == ""


def test_a_rectangle_is_resized_at_a_side_and_turned_at_its_handle(tab: Tab, live: LivePage) -> None:
    draw(tab, "rectangle", (60, 120), (120, 160))
    name = tab.run("document.querySelector('.chosen').dataset.region")
    tab.drag(at(tab, 120, 140), at(tab, 130, 155))  # the right side goes with x alone
    settled(tab)
    assert now(tab, live, name)["x"] == [60, 130] and now(tab, live, name)["y"] == [120, 160]
    scale = tab.box("#detector canvas.image")[3] / 256
    tab.drag(at(tab, 95, 120 - 22 / scale), at(tab, 195, 140))  # the handle above it goes to its right: a quarter turn
    frame = since(tab, name)
    assert now(tab, live, name)["angle"] == pytest.approx(90, abs=1)
    live.check(frame + 3)


def test_a_profile_gets_its_width_and_an_ellipse_its_axes_by_their_handles(tab: Tab, live: LivePage) -> None:
    draw(tab, "line", (150, 180), (190, 180))
    line = tab.run("document.querySelector('.chosen').dataset.region")
    tab.drag(at(tab, 170, 182.5), at(tab, 170, 190))
    settled(tab)
    assert now(tab, live, line)["width"] == pytest.approx(20, abs=1)
    draw(tab, "ellipse", (200, 20), (240, 40))
    ellipse = tab.run("document.querySelector('.chosen').dataset.region")
    tab.drag(at(tab, 220, 40), at(tab, 220, 50))
    frame = since(tab, ellipse)
    assert now(tab, live, ellipse)["radii"] == pytest.approx([20, 20], abs=1)
    live.check(frame + 3)


def test_a_polygon_is_clicked_closed_and_a_corner_of_it_dragged(tab: Tab, live: LivePage) -> None:
    tab.run("document.querySelector('[data-kind=polygon]').click()")
    for corner in ((10, 200), (50, 200), (40, 240)):
        x, y = at(tab, *corner)
        tab.mouse("mousePressed", x, y)
        tab.mouse("mouseReleased", x, y)
    tab.key("Enter")
    settled(tab)
    name = tab.run("document.querySelector('.chosen').dataset.region")
    tab.drag(at(tab, 50, 200), at(tab, 70, 210))
    frame = since(tab, name)
    assert now(tab, live, name)["points"] == [[10, 200], [70, 210], [40, 240]]
    live.check(frame + 3)


def test_a_ring_and_a_sector_in_pixels_are_drawn_and_pulled(tab: Tab, live: LivePage) -> None:
    tab.until("document.querySelectorAll('.regions select')[1].value === 'px'")
    draw(tab, "ring", (200, 200), (230, 200))
    ring = tab.run("document.querySelector('.chosen').dataset.region")
    assert now(tab, live, ring)["radius"] == pytest.approx([21, 30], abs=1)
    tab.drag(at(tab, 200, 170), at(tab, 200, 160))  # anywhere at its edge
    settled(tab)
    assert now(tab, live, ring)["radius"] == pytest.approx([21, 40], abs=1)
    x, y = eiger.small().beam_center_px
    draw(tab, "sector", (x + 20, y - 5), (x + 60, y + 25))
    sector = tab.run("document.querySelector('.chosen').dataset.region")
    found = now(tab, live, sector)
    assert found["center"] == [x, y] and found["radius"] == pytest.approx([20.6, 65], abs=1)
    assert found["azimuth"] == pytest.approx([-14, 22.6], abs=1)
    frame = since(tab, sector)
    live.check(frame + 3)


def test_rings_in_q_and_two_theta_are_drawn_where_pyfai_has_them(tab: Tab, live: LivePage) -> None:
    tab.until("[...document.querySelectorAll('.regions option')].some((each) => each.value === '2th_deg')")
    x, y = eiger.small().beam_center_px
    distance_px = eiger.small().distance_m / eiger.small().pixel_size_m
    for unit in ("2th_deg", "q_nm^-1"):
        tab.run(f"document.querySelectorAll('.regions select')[1].value = '{unit}'")
        draw(tab, "ring", (x + 40, y), (x + 60, y))
        name = tab.run("document.querySelector('.chosen').dataset.region")
        angles = np.degrees(np.arctan(np.array([40, 60]) / distance_px))
        lambda_nm = eiger.small().wavelength_angstrom / 10
        wanted = angles if unit == "2th_deg" else 4 * np.pi / lambda_nm * np.sin(np.radians(angles) / 2)
        assert now(tab, live, name)["unit"] == unit and now(tab, live, name)["radius"] == pytest.approx(
            wanted, rel=0.02
        )
        tab.drag(at(tab, x, y + 60), at(tab, x, y + 70))
        outer = np.degrees(np.arctan(70 / distance_px))
        outer = outer if unit == "2th_deg" else 4 * np.pi / lambda_nm * np.sin(np.radians(outer) / 2)
        frame = since(tab, name)
        assert now(tab, live, name)["radius"][1] == pytest.approx(outer, rel=0.02)  # type: ignore[index]
        live.check(frame + 3)
        tab.key("Delete")
        settled(tab)


def test_two_people_see_each_others_drags_and_the_one_who_came_late_is_refused(
    browser: Browser, tab: Tab, live: LivePage
) -> None:
    with looking(browser, live) as other:
        tab.run("document.querySelector('[data-region=spot] input').focus()")
        x = tab.run("document.querySelector('[data-number=\"x.0\"]').valueAsNumber")
        y = tab.run("document.querySelector('[data-number=\"y.0\"]').valueAsNumber")
        other.run("document.querySelector('[data-region=spot] input').focus()")
        tab.run("document.activeElement.blur()")
        tab.mouse("mousePressed", *at(tab, x + 20, y + 20))
        tab.mouse("mouseMoved", *at(tab, x + 10, y + 20))
        other.until(f"document.querySelector('[data-number=\"x.0\"]').valueAsNumber === {x - 10}")
        other.run(
            "(field => { field.focus(); field.value = 5; field.dispatchEvent(new Event('input')) })"
            "(document.querySelector('[data-number=\"x.0\"]'))"
        )
        settled(other)
        tab.mouse("mouseMoved", *at(tab, x, y + 20))
        tab.mouse("mouseReleased", *at(tab, x, y + 20))
        settled(tab)
        assert now(tab, live, "spot")["x"][0] in (5, x - 20)  # type: ignore[index]
        last = answered(tab, live)[-1][0]
        for each in (tab, other):
            each.until("document.querySelector('[data-region=spot] .since').textContent", lambda t: f" {last} " in t)


def test_a_hidden_region_stays_hidden_after_a_reload_and_is_not_hit(tab: Tab, live: LivePage) -> None:
    tab.run("document.querySelector('[data-region=spot] [aria-pressed]').click()")
    for _ in range(2):
        assert tab.text("[data-region=spot] [aria-pressed]") == "show"
        tab.open(live.address)
        tab.until("document.querySelector('[data-region=spot]')?.textContent ?? ''")
        tab.until("document.querySelector('#detector .under').textContent", lambda text: text.startswith("frame"))
    found = now(tab, live, "spot")
    (left, right), (top, bottom) = found["x"], found["y"]  # type: ignore[misc]
    tab.drag(at(tab, (left + right) / 2, (top + bottom) / 2), at(tab, 10, 10))
    tab.key("ArrowRight")
    assert now(tab, live, "spot") == found and tab.run("document.querySelector('.chosen')") is None
    tab.run("localStorage.clear()")


def test_who_may_only_look_sees_regions_but_moves_none(browser: Browser, tmp_path: Path) -> None:
    regions = {"a": {"kind": "rectangle", "x": [100, 160], "y": [100, 160]}}
    document = {"processors": [{"type": "roi", "regions": regions}]}
    control = RunControl(OptionSet((roi.Config.model_validate(document["processors"][0]),)))
    context = Context(name="sinks.0", document=document, control=control)
    with page(context, tokens=str(tmp_path / "tokens")) as sink, browser.tab() as tab:
        sink.write(frame(0))
        word = next(w for w in (tmp_path / "tokens").read_text().splitlines() if w.startswith("viewer")).split()[-1]
        tab.open(f"{sink.sink.address}#token={word}")
        tab.until("document.querySelector('[data-region=a] button')?.textContent")
        tab.until("document.querySelector('#detector .under').textContent", lambda text: text.startswith("frame"))
        assert tab.text("#role") == "viewer" and tab.run("document.querySelector('[data-kind=ring]').disabled")
        tab.drag(at(tab, 130, 130), at(tab, 200, 200))
        tab.key("Delete")
        assert control.value("processors.roi.regions.a")["x"] == [100, 160]
        assert tab.run("document.querySelectorAll('[data-region]').length") == 1 and not tab.problems


def test_a_finger_drags_a_region_and_a_second_one_zooms_instead(tab: Tab, live: LivePage) -> None:
    tab.ask("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    draw(tab, "rectangle", (160, 100), (200, 140))
    name = tab.run("document.querySelector('.chosen').dataset.region")
    start = at(tab, 180, 120)
    tab.touch(start, kind="touchStart")
    for step in (1, 2, 3):
        tab.touch(at(tab, 180 + 5 * step, 120))
    tab.touch(kind="touchEnd")
    settled(tab)
    assert now(tab, live, name)["x"] == [175, 215]
    tab.touch(at(tab, 195, 120), kind="touchStart")
    tab.touch(at(tab, 190, 120))
    tab.touch(at(tab, 190, 120), at(tab, 150, 120), kind="touchStart")
    for step in (1, 2, 3):
        tab.touch(at(tab, 190 + 15 * step, 120), at(tab, 150 - 15 * step, 120))
    tab.touch(kind="touchEnd")
    frame = since(tab, name)
    assert now(tab, live, name)["x"] == [175, 215]  # what the first finger did is undone
    live.check(frame + 2)
    tab.ask("Emulation.setTouchEmulationEnabled", enabled=False)
    left, top, width, height = tab.box("#detector canvas.image")
    scale = min(width, height) / 256
    tab.mouse("mouseMoved", left + width / 2 - 125 * scale, top + height / 2)  # column 3 before the fingers parted
    pixel = tab.until("document.querySelector('#detector .hover').dataset.pixel", lambda text: text.startswith("row"))
    assert int(pixel.split("column")[1]) > 40
