"""The statistics of a map's run as a picture: how long the frames took, and the map itself."""

from pathlib import Path

import h5py
import numpy as np

BINS = 500
"""As pyFAI's histogram has."""


def draw(results: Path, picture: Path) -> Path:
    """Time from frame to frame as a histogram and over the scan, and the map of the total intensity. Returns the path
    of the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with h5py.File(results) as file:
        ledger = file["/entry/ledger"]
        received, status = ledger["received_time"][()], ledger["status"][()]
        on_disk = ledger["on_disk_time"][()]
        total = file["/entry/map_images/total"][()]
    there = np.flatnonzero(np.isin(status, (1, 2, 3)))
    times = np.sort(received[there])
    steps = 1e3 * np.diff(times)
    waited = on_disk[there] - received[there]
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    if len(steps):
        left.hist(steps, BINS, color="green", alpha=0.75)
        middle.plot(times[1:] - times[0], steps, ".", markersize=2)
        left.set_title(f"mean {steps.mean():.2f} ms, median {np.median(steps):.2f} ms")
    left.set_xlabel("time from frame to frame (ms)")
    left.set_ylabel("frames")
    middle.set_xlabel("time (s)")
    middle.set_ylabel("time from frame to frame (ms)")
    middle.set_title(
        f"from reading to the file: {np.nanmedian(waited) if len(waited) else float('nan'):.2f} s (median)"
    )
    right.set_title("total intensity")
    shown = right.imshow(total, origin="lower", aspect="auto", interpolation="nearest")
    right.set_xlabel("fast")
    right.set_ylabel("slow")
    figure.colorbar(shown, ax=right)
    figure.suptitle(f"{results.name}: {len(there)} frames")
    figure.savefig(picture, dpi=110)
    return picture
