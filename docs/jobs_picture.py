"""The picture of docs/jobs.md: the page's table of jobs, which reconstruct two recorded scans.

python docs/jobs_picture.py tomopy_tooth.h5 savu_24737_tiff docs/jobs.png
"""

import base64
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

from chromium import chromium
from page_client import page

MADE = "inbeam tomo-reconstruct --median-filter-size 0 --out-img-format none"


def submit(folder: Path, name: str, command: str) -> None:
    words = ["inbeam", "jobs", "submit", "--name", name, *command.split()]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def states(folder: Path) -> str:
    return subprocess.run(["inbeam", "jobs", "list"], cwd=folder, check=True, capture_output=True, text=True).stdout


def until(folder: Path, state: str, count: int) -> None:
    """Wait for so many jobs in this state."""
    deadline = time.monotonic() + 120
    while (told := states(folder)).count(f" {state} ") < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"no {count} jobs are {state}:\n{told}")
        time.sleep(0.5)


def main(tooth: Path, savu: Path, target: Path) -> None:
    """Submit, wait, and take the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tooth.h5").symlink_to(tooth)
        (folder / "24737").symlink_to(savu)
        submit(folder, "tooth", f"{MADE} -i tooth.h5 -o tooth")
        submit(folder, "24737", f"{MADE} -i 24737/tiffs -o 24737_slices --angles 24737/angles.txt[10:101]")
        submit(folder, "no-angles", f"{MADE} -i 24737/tiffs -o other")
        until(folder, "done", 2)
        until(folder, "failed", 1)
        submit(folder, "follow", "sleep 600")
        submit(folder, "stopped", "sleep 600")
        until(folder, "running", 2)
        subprocess.run(["inbeam", "jobs", "cancel", "5"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        until(folder, "cancelled", 1)
        try:
            with page(jobs=folder / "jobs") as sink, chromium(folder) as browser, browser.tab() as tab:
                tab.open(sink.sink.address, width=1200)
                tab.until("document.querySelectorAll('#jobs tr').length", lambda rows: rows == 6)
                left, top, width, height = tab.box("#jobs")
                across, down = tab.run("[window.scrollX, window.scrollY]")
                clip = {"x": left + across, "y": top + down, "width": width, "height": height, "scale": 1}
                found = tab.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
                target.write_bytes(base64.b64decode(found["data"]))
        finally:
            subprocess.run(["inbeam", "jobs", "cancel", "4"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            until(folder, "cancelled", 2)


if __name__ == "__main__":
    main(*(Path(each).resolve() for each in sys.argv[1:4]))
