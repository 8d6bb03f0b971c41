"""A picture of a results file: the patterns against time, and the last one with its errors."""

from pathlib import Path

import h5py
import numpy as np


def draw(results: Path, picture: Path) -> Path:
    """Draw the default plot of an NXazint1d file into a PNG; returns its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with h5py.File(results) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        signal = data[data.attrs["signal"]]
        axis = data[data.attrs["axes"][-1]]
        patterns, radial = signal[()], axis[()]
        errors = data["I_errors"][-1] if "I_errors" in data else None
        label = f"{axis.attrs.get('long_name', '')} ({axis.attrs.get('units', '')})"
        times = file["entry/ledger/received_time"][()]
    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    seconds = times - times[times > 0].min()
    low, high = np.nanpercentile(patterns, (1, 99.7))
    image = above.pcolormesh(radial, seconds, patterns, vmin=low, vmax=high, shading="nearest", rasterized=True)
    above.set_ylabel("time (s)")
    figure.colorbar(image, ax=above, label="intensity")
    last = patterns[-1]
    below.plot(radial, last, linewidth=0.8)
    if errors is not None:
        below.fill_between(radial, last - errors, last + errors, alpha=0.4, linewidth=0)
    below.set_xlabel(label)
    below.set_ylabel(f"intensity, frame {len(patterns) - 1}")
    figure.suptitle(f"{results.name}: {len(patterns)} patterns")
    figure.savefig(picture, dpi=110)
    return picture
