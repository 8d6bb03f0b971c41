"""Patterns on the page in a real browser: axes, waterfall, kept ones, a background, and the regions of a map."""

import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pytest
from chromium import Browser, Tab, chromium, needs_chromium
from commands import wait_for
from driven import Driven
from live_page import LivePage, answered, live_page, settled
from page_client import AXIS, MAP, PRODUCT, frame, page, scan

from stream import Counters

pytestmark = [needs_chromium, pytest.mark.slow]
PLOT = "#curves .u-over"


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
    """With a new scan: its process takes a second to start, so there is one for all."""
    shared_sink.start(scan(), [PRODUCT, MAP])
    return shared_sink


@pytest.fixture
def tab(browser: Browser, sink: Driven) -> Iterator[Tab]:
    with browser.tab() as found:
        found.open(sink.sink.address)
        give(sink, found, 0)
        found.run("window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return 'data:,' }")
        yield found
        found.run("localStorage.clear()")
        assert not found.problems


def give(sink: Driven, tab: Tab, number: int) -> None:
    sink.write(frame(number))
    sink.tick(Counters(scan="7", expected=1000))
    tab.until("document.documentElement.dataset.frame", lambda text: text == str(number))


def press(tab: Tab, text: str) -> None:
    tab.run(f"[...document.querySelectorAll('#curves button')].find((b) => b.textContent === '{text}').click()")


def choose(tab: Tab, value: str) -> None:
    tab.run(
        "((s) => { s.value = '" + value + "'; s.dispatchEvent(new Event('change')) })([...document.querySelectorAll("
        f"'#curves select')].find((s) => [...s.options].some((o) => o.value === '{value}')))"
    )


def table(tab: Tab) -> tuple[list[str], np.ndarray]:
    """What the button CSV saves: names of the columns, rows."""
    press(tab, "CSV")
    names, *rows = tab.run("saved.at(-1).text()").strip().split("\n")
    return names.split(","), np.array([[float(each) for each in row.split(",")] for row in rows])


def test_kept_frames_lie_beside_the_latest_and_one_that_was_not_seen_is_not_made_up(tab: Tab, sink: Driven) -> None:
    for number in (1, 2, 3):
        give(sink, tab, number)
    keep = "((f) => { f.value = %d; f.dispatchEvent(new Event('change')) })(document.querySelector('[list=fallen]'))"
    tab.run(keep % 1)
    press(tab, "keep")
    give(sink, tab, 4)
    names, rows = table(tab)
    assert names == ["q (1/nm)", "frame 4", "frame 3", "frame 1"]
    np.testing.assert_allclose(rows[:, 0], AXIS.values)
    assert (rows[:, 1:] == [4, 3, 1]).all()
    tab.run(keep % 77)
    assert "frame 77 is not among the 5" in tab.text("#curves .under")
    assert [len(table(tab)[0])] == [4]


def test_a_background_pattern_is_subtracted_from_all_and_named(tab: Tab, sink: Driven) -> None:
    give(sink, tab, 3)
    press(tab, "background")
    give(sink, tab, 5)
    names, rows = table(tab)
    assert names[1] == "frame 5 - frame 3" and (rows[:, 1] == 2).all()
    assert tab.text("#curves .under") == "frame 5, less frame 3"
    press(tab, "background")
    assert (table(tab)[1][:, 1] == 5).all()


def test_the_axis_is_q_or_d_and_the_waterfall_lies_along_it(tab: Tab, sink: Driven) -> None:
    for number in range(1, 6):
        give(sink, tab, number)
    choose(tab, "d")
    names, rows = table(tab)
    assert names[0] == "d (Å)"
    np.testing.assert_allclose(rows[:, 0], 20 * np.pi / AXIS.values)
    choose(tab, "waterfall")
    left, top, width, height = tab.box("#curves canvas.fall")
    x = left + 46 + 0.25 * (width - 46)
    tab.mouse("mouseMoved", x, top + 0.5 * (height - 18))
    said = tab.until(
        "document.querySelector('#curves .under + .bands + .under, #curves > .under:last-of-type').textContent"
    )
    found = re.match(r"frame (\d+)   d \(Å\) ([\d.]+)   ([\d.]+)", said)
    assert found is not None, said
    shown = 20 * np.pi / AXIS.values
    wanted = shown.min() + 0.25 * (shown.max() - shown.min())
    assert int(found[1]) == float(found[3]) == 3  # its own counts
    assert abs(float(found[2]) - wanted) == pytest.approx(np.abs(shown - wanted).min(), abs=1)
    names, rows = table(tab)
    assert names[1:] == [f"frame {number}" for number in range(6)] and (rows[:, 1:] == range(6)).all()
    choose(tab, "latest")
    choose(tab, "as computed")


def test_what_is_zoomed_stays_zoomed_while_patterns_come(tab: Tab, sink: Driven) -> None:
    left, top, width, height = tab.box(PLOT)
    tab.drag((left + 0.25 * width, top + 0.5 * height), (left + 0.5 * width, top + 0.5 * height))
    ticks = "document.querySelector('#curves canvas').toDataURL()"
    give(sink, tab, 1)
    give(sink, tab, 2)
    zoomed = at_right(tab)
    assert 2.2 < zoomed < 2.9, zoomed
    tab.ask("Input.dispatchMouseEvent", type="mousePressed", x=left + 9, y=top + 9, button="left", clickCount=2)
    tab.ask("Input.dispatchMouseEvent", type="mouseReleased", x=left + 9, y=top + 9, button="left", clickCount=2)
    assert tab.run(ticks) and at_right(tab) > 4.5


def at_right(tab: Tab) -> float:
    """What the legend says of the axis at the plot's right end."""
    left, top, width, height = tab.box(PLOT)
    tab.mouse("mouseMoved", left + 5, top + height / 2)
    tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=left + width - 3, y=top + height / 2)
    return float(tab.until("document.querySelector('#curves .u-value').textContent", lambda text: text != "--"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    more = [
        {"type": "integrate", "npt": 100, "unit": "q_nm^-1"},
        {"type": "map", "fast": {"points": 20}, "rois": {"ring": {"range": [20, 30]}}, "line_s": 1, "spare_rois": 6},
    ]
    with live_page(tmp_path_factory.mktemp("live"), more=more) as found:
        yield found


def ranges(live: LivePage) -> dict[str, list[float]]:
    """The regions of the map as its file has them."""
    with h5py.File(live.path, "r", swmr=True) as file:
        images = file["entry/map_images"]
        names, limits = images["roi_names"][()], images["roi_ranges"][()]
        return {name.decode(): each.tolist() for name, each in zip(names, limits, strict=True) if name}


@pytest.mark.parametrize(
    ("axis", "begin", "end", "way"), [("as computed", 0.3, 0.4, 0.2), ("2θ", 0.3, 0.4, 0.2), ("d", 0.02, 0.1, 0.01)]
)
def test_a_region_of_a_map_is_drawn_dragged_and_pulled_over_the_pattern(
    browser: Browser, live: LivePage, axis: str, begin: float, end: float, way: float
) -> None:
    with browser.tab() as tab:
        tab.open(live.address)
        tab.until("document.querySelector('[data-band=ring]')?.textContent")
        tab.until("document.querySelector('#curves .under').textContent", lambda text: text.startswith("frame"))
        choose(tab, axis)
        before = set(bands(tab))
        tab.until("!document.querySelector('.bands button').disabled")
        press(tab, "new map region")
        tab.drag(across(tab, begin), across(tab, end))
        name = sorted(set(bands(tab)) - before)[0]
        drawn = known(tab, live, name)
        middle = (begin + end) / 2
        if axis == "2θ":  # with a finger
            tab.ask("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=1)
            for kind, part in (("touchStart", 0), ("touchMove", 0.5), ("touchMove", 1)):
                tab.touch(across(tab, middle + part * way), kind=kind)
            tab.touch(kind="touchEnd")
            tab.ask("Emulation.setTouchEmulationEnabled", enabled=False)
        else:
            tab.drag(across(tab, middle), across(tab, middle + way))  # all of it
        moved = known(tab, live, name)
        edge = share(live, axis, moved[1])
        tab.drag(across(tab, edge), across(tab, edge + 0.02))
        pulled = known(tab, live, name)
        assert drawn != moved != pulled and set(drawn) & set(moved) == set()
        assert len(set(moved) & set(pulled)) == 1
        tab.run(f"document.querySelector('[data-band={name}] input').focus()")
        tab.key("ArrowUp")
        stepped = known(tab, live, name)
        assert 0 < stepped[0] - pulled[0] <= np.diff(axis_of(live)).max() * 2
        pulled = stepped
        fields = f"[...document.querySelectorAll('[data-band={name}] input')].map((each) => each.valueAsNumber)"
        assert tab.run(fields) == pulled
        wait_for(lambda: ranges(live).get(name) == pulled, "the map")
        changes = [(first, value) for first, path, value in answered(tab, live) if path.endswith(f".{name}")]
        said = tab.text(f"[data-band={name}] .since")
        assert said == f"from frame {changes[-1][0]} on" and changes[-1][1]["range"] == pulled
        check(live, name, pulled)
        tab.run(f"document.querySelector('[data-band={name}] button').click()")
        tab.until(f"!document.querySelector('[data-band={name}]')")
        tab.run("localStorage.clear()")
        assert not tab.problems


def across(tab: Tab, share: float) -> tuple[float, float]:
    left, top, width, height = tab.box(PLOT)
    return left + share * width, top + height / 2


def share(live: LivePage, axis: str, q: float) -> float:
    """Where a value of the axis lies on the plot, which shows all of it: 0 left, 1 right."""
    wavelength = live.scan.detector.wavelength_angstrom
    assert wavelength is not None
    shown = {
        "as computed": lambda v: v,
        "2θ": lambda v: np.degrees(2 * np.arcsin(v * wavelength / 40 / np.pi)),
        "d": lambda v: 20 * np.pi / v,
    }[axis]
    ends = sorted(shown(axis_of(live)[[0, -1]]))
    return float((shown(q) - ends[0]) / (ends[1] - ends[0]))


def axis_of(live: LivePage) -> np.ndarray:
    """The radial axis of the patterns in the file."""
    with h5py.File(live.path, "r", swmr=True) as file:
        found: np.ndarray = file["entry/integrate/radial_axis"][()]
        return found


def bands(tab: Tab) -> list[str]:
    found: list[str] = tab.run("[...document.querySelectorAll('[data-band]')].map((each) => each.dataset.band)")
    return found


def known(tab: Tab, live: LivePage, name: str) -> list[float]:
    """The range of the region in the file's last change of it."""
    settled(tab)
    values: list[Any] = [value for _, path, value in answered(tab, live) if path == f"processors.map.rois.{name}"]
    found: list[float] = values[-1]["range"]
    return found


def check(live: LivePage, name: str, limits: list[float]) -> None:
    """The image of the region is the sum of the patterns within its range, also of frames from before it was drawn."""
    with h5py.File(live.path, "r", swmr=True) as file:
        images = file["entry/map_images"]
        place = [each.decode() for each in images["roi_names"][()]].index(name)
        field = name if f"{name}_sum" in images else f"spare_{place}"
        line = images[f"{field}_sum"][0]
        patterns = file["entry/integrate/I"][:20]
    q = axis_of(live)
    inside = (q >= limits[0]) & (q <= limits[1])
    np.testing.assert_allclose(line, patterns[:, inside].sum(axis=1, dtype="f8"), rtol=1e-6)
