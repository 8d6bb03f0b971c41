"""A run with a page, fed by a simulated detector, and what its file says of the regions that were moved on the page."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from chromium import Browser, Tab
from commands import inbeam, wait_for

from processors.regions.field import Rays
from processors.regions.options import Config
from processors.regions.pixels import pixels_of
from stream.commands.demo import free_port
from stream.events import FrameStatus, ScanStart
from stream.simulate import eiger
from stream.simulate.encode import scan_of

DETECTOR = eiger.small()
POOL = 2
IMAGES = [each["threshold_1"] for each in eiger.frames(DETECTOR, POOL)]
GOOD = IMAGES[0] != np.iinfo(DETECTOR.dtype).max
CANVAS = "#detector canvas.image"
REGIONS = {"spot": {"kind": "rectangle", "x": [100, 140], "y": [60, 100]}}


@dataclass(frozen=True)
class LivePage:
    """address: of the page. path: of the file that grows. scan: as the detector announces it."""

    address: str
    path: Path
    scan: ScanStart

    def changes(self) -> list[tuple[int, str, Any]]:
        """(frame, path, value) of every change so far, in their order."""
        with h5py.File(self.path, "r", swmr=True) as file:
            table = file["entry/changes"]
            count = len(table["revision"])
            rows = zip(*(table[name][:count] for name in ("frame", "path", "value")), strict=True)
            return [(int(frame), path.decode(), json.loads(value)) for frame, path, value in rows]

    def rows(self, last: int, field: str = "sum") -> np.ndarray:
        """(frames, places) of `roi`, when the ledger, which is written behind all other data, has frame `last`."""

        def there() -> bool:
            with h5py.File(self.path, "r", swmr=True) as file:
                status = file["entry/ledger/status"]
                return len(status) > last and FrameStatus(int(status[last])).has_data

        wait_for(there, f"the row of frame {last}")
        with h5py.File(self.path, "r", swmr=True) as file:
            found: np.ndarray = file[f"entry/roi/{field}"][: last + 1]
            return found

    def regions(self, frame: int, changes: list[tuple[int, str, Any]]) -> dict[str, Any]:
        """Those that hold for a frame, by its changes."""
        found: dict[str, Any] = dict(REGIONS)
        for first, path, value in changes:
            if first <= frame:
                inner = path.removeprefix("processors.roi.regions").strip(".")
                found = {**found, inner: value} if inner else value
        return found

    def check(self, last: int) -> None:
        """Every sum in the file is that of the regions that the table of changes names for its frame."""
        sums, changes = self.rows(last), self.changes()
        rays = Rays("roi", None, None, self.scan)
        firsts = [0, *(frame for frame, _, _ in changes if frame <= last), last + 1]
        for first, behind in pairwise(firsts):
            if first >= behind:
                continue
            regions = Config.model_validate({"regions": self.regions(first, changes)}).regions
            for place, (name, region) in enumerate(regions.items()):
                if region is None:
                    continue
                chosen = pixels_of(region, ~GOOD, rays).index
                wanted = [int(image.flat[chosen].sum()) for image in IMAGES]
                for frame in range(first, behind):
                    assert sums[frame, place] == wanted[frame % POOL], (name, frame, region)


@contextmanager
def live_page(
    folder: Path, *, rate: float = 20.0, frames: int = 6000, more: Any = (), pool: int = POOL, regions: Any = REGIONS
) -> Iterator[LivePage]:
    """Everything is ended with it. more: further processors, in front of `roi`. pool: of different frames."""
    port, endpoint = free_port(), f"127.0.0.1:{free_port()}"
    document = {
        "stream": {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{port}"},
        "processors": [{"type": "correct"}, *more, {"type": "roi", "most": 12, "regions": regions}],
        "sinks": [
            {"type": "hdf5", "path": str(folder / "live.h5")},
            {"type": "page", "endpoint": endpoint, "rate_hz": 20},
        ],
        "run": {"scans": 1},
    }
    (folder / "inbeam.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    simulate = inbeam("simulate", "--detector", "small", "--pool", str(pool), "--frames", str(frames))
    detector = [*simulate, "--rate", str(rate), "--bind", f"tcp://127.0.0.1:{port}"]
    with (folder / "run.log").open("wb") as log:
        started = [
            subprocess.Popen(inbeam("run", "--quiet", str(folder / "inbeam.yaml")), stderr=log),
            subprocess.Popen(detector, stdout=log, stderr=log),
        ]
    try:
        wait_for(lambda: (folder / "live.h5").exists(), "the file")
        yield LivePage(f"http://{endpoint}/", folder / "live.h5", scan_of(DETECTOR, expected=frames, name="1"))
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def looking(browser: Browser, live: LivePage, *size: int, **how: Any) -> Iterator[Tab]:
    """A tab that shows an image and the regions, and that had nothing to complain of in the end."""
    with browser.tab() as tab:
        tab.open(live.address, *size, **how)
        tab.until("document.querySelector('#detector .under').textContent", lambda text: text.startswith("frame"))
        tab.until("document.querySelectorAll('[data-region]').length")
        # what comes behind the first image moves the layout: the units of rings, the counters
        tab.until("[...document.querySelectorAll('.regions option')].some((each) => each.value === '2th_deg')")
        tab.until("document.querySelector('#numbers').children.length")
        tab.run(
            "window.said = []; new MutationObserver(() => said.push(document.querySelector('#options .answer')"
            ".textContent)).observe(document.querySelector('#options .answer'), {childList: true})"
        )
        yield tab
        assert not tab.problems


def at(tab: Tab, column: float, row: float) -> tuple[float, float]:
    """Where a place of the detector is on the screen: all of it is shown, in the middle."""
    left, top, width, height = tab.box(CANVAS)
    scale = min(width / DETECTOR.shape[1], height / DETECTOR.shape[0])
    return (
        left + width / 2 + (column - DETECTOR.shape[1] / 2) * scale,
        top + height / 2 + (row - DETECTOR.shape[0] / 2) * scale,
    )


def settled(tab: Tab) -> None:
    """Wait until every wish has been answered."""
    tab.until("!document.querySelector('[data-waits]')")


def answered(tab: Tab, live: LivePage) -> list[tuple[int, str, Any]]:
    """The changes in the file, once those are there that the page has been answered: its sink may have more to do."""
    settled(tab)
    said = re.findall(r"revision (\d+)", tab.text("#options .answer"))
    wait_for(lambda: len(live.changes()) >= max(map(int, said), default=0), "the changes in the file")
    return live.changes()


def since(tab: Tab, name: str) -> int:
    """The frame number from which on a region is as it is, as the page says it."""
    settled(tab)
    said = tab.until(f"document.querySelector('[data-region={name}] .since')?.textContent")
    return int(said.split()[2])


def said(tab: Tab) -> list[int]:
    """The frame numbers of all answers that the page has shown."""
    found = tab.run("said.map((text) => text.match(/from frame (\\d+) on/)?.[1]).filter(Boolean)")
    return [int(number) for number in found]


def numbers(tab: Tab, **wanted: float) -> bool:
    """The fields of the chosen region get these values (x_0 is the field x.0): they are drawn behind the answer."""
    fields = "[...document.querySelectorAll('[data-number]')].map((each) => [each.dataset.number, each.valueAsNumber])"
    expected = {name.replace("_", "."): value for name, value in wanted.items()}
    wait_for(lambda: expected.items() <= dict(tab.run(fields)).items(), f"{expected}, now {tab.run(fields)}", 10)
    return True
