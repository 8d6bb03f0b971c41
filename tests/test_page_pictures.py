"""What the page looks like: pictures of it, for people; INBEAM_PICTURES=docs keeps them there."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Tab, chromium, needs_chromium
from live_page import LivePage, live_page, looking, settled
from PIL import Image

pytestmark = [
    needs_chromium,
    pytest.mark.slow,
    pytest.mark.skipif("INBEAM_PICTURES" not in os.environ, reason="INBEAM_PICTURES=docs makes the pictures anew"),
]
MOST_BYTES = 150_000
REGIONS = {
    "peak": {"kind": "rectangle", "x": [150, 180], "y": [40, 75], "angle": 20, "background": "beside"},
    "beside": {"kind": "rectangle", "x": [200, 225], "y": [30, 60], "role": "background"},
    "LaB6": {"kind": "ring", "unit": "q_nm^-1", "radius": [29, 31.5]},
    "part": {"kind": "sector", "radius": [60, 75], "azimuth": [100, 150]},
    "cut": {"kind": "line", "start": [20, 190], "end": [110, 230], "width": 12},
}
MORE = [
    {"type": "integrate", "npt": 200, "unit": "q_nm^-1"},
    {
        "type": "map",
        "fast": {"points": 20},
        "slow": {"points": 12},
        "rois": {"LaB6": {"range": [15.0, 16.5]}, "CeO2": {"range": [19.8, 21.2]}, "air": {"range": [4, 9]}},
    },
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    folder = tmp_path_factory.mktemp("live")
    with live_page(folder, rate=20, more=MORE, pool=240, regions=REGIONS) as found:
        yield found


def picture(tab: Tab, path: Path, selector: str = "") -> None:
    """A screenshot with 256 colours; of an element, or of the window."""
    tab.screenshot(path)
    image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    if selector:
        left, top, width, height = tab.box(selector)
        tab.screenshot(path)
        image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
        image = image.crop((int(left), max(0, int(top)), int(left + width), int(top + height)))
    assert len(image.getcolors(1 << 24) or ()) > 50  # there is something on it
    image.quantize(256).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES


def test_the_page_its_regions_and_a_map_are_worth_a_picture(
    tmp_path_factory: pytest.TempPathFactory, live: LivePage
) -> None:
    folder = Path(os.environ["INBEAM_PICTURES"])
    with chromium(tmp_path_factory.mktemp("chromium")) as browser, looking(browser, live, 1280, 960) as tab:
        tab.until("document.querySelector('#curves .under').textContent", lambda text: text.startswith("frame"))
        tab.until("document.querySelector('#pictures .under').textContent", lambda text: text.startswith("20 ×"))
        tab.until("Number(document.documentElement.dataset.frame) > 80")
        tab.run("document.querySelector('#detector canvas.image').focus()")
        tab.key("Tab")
        tab.key("ArrowRight")
        settled(tab)
        tab.run("scrollTo(0, 0)")
        picture(tab, folder / "page.png")
        tab.until("Number(document.documentElement.dataset.frame) > 240")
        tab.run("[...document.querySelectorAll('#pictures button')].find((b) => b.textContent === 'RGB').click()")
        for primary, name in (("red", "LaB6"), ("green", "CeO2"), ("blue", "air")):
            tab.run(
                f"((s) => {{ s.value = 'map_images.{name}_sum'; s.dispatchEvent(new Event('change')) }})"
                f"(document.querySelector('#pictures select[title={primary}]'))"
            )
        tab.until("document.querySelector('#pictures .under').textContent", lambda text: "red: map_images.LaB6" in text)
        tab.open(live.address, 620, 900)
        tab.until("document.querySelector('#pictures .under').textContent", lambda text: "blue: map_images.air" in text)
        picture(tab, folder / "page_map.png", "#pictures")
        tab.run("document.querySelector('#detector canvas.image').focus()")
        tab.key("Tab")
        tab.run(
            "((s) => { s.value = 'gray'; s.dispatchEvent(new Event('change')) })"
            "(document.querySelector('#detector [data-map]'))"
        )
        picture(tab, folder / "page_regions.png", "#detector")
        tab.run("localStorage.clear()")
