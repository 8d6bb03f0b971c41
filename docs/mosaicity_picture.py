"""The picture of docs/mosaicity.md: a recorded layer of aluminium, strained by 5 %, as `mosaicity` shows it.

    python docs/mosaicity_picture.py darling_mosa_scan.h5.gz [-o docs/mosaicity.png]

The recording is that of darling's tests (MIT licence): 62 x 43 tilts, 50 x 70 pixels; configs/mosaicity.yaml, with a
threshold.
"""

import argparse
import gzip
import os
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stream.commands.demo import free_port
from stream.commands.main import main as inbeam

CONFIG = Path(__file__).parents[1] / "configs/mosaicity.yaml"

OPTIONS = ("background_lowest=0", "background=101", "threshold=12", "min_sum=2000")
"""Noise about the background, in 2666 frames, would drown the widths: only what is clearly above it counts."""


def draw(results: Path, target: Path) -> None:
    """Intensity, orientation as colour, centres, widths, skew."""
    figure = Figure(figsize=(11, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(2, 4)
    with h5py.File(results) as file:
        entry = file["entry"]
        images = entry["mosaicity"]
        middle, radius = (entry[f"mosaicity_orientation/colour_{name}"][()] for name in ("middle", "radius"))
        plots[0, 0].imshow(entry["mosaicity_orientation/orientation"][()], interpolation="nearest")
        white = f"white: chi {middle[0]:.2f}°, diffrz {middle[1]:.2f}°"
        plots[0, 0].set_title(f"orientation\n{white}\nfull: {radius[0]:.2f}°, {radius[1]:.2f}° off", fontsize=8)
        for plot, name in zip(
            plots.flat[1:],
            ("com_chi", "width_chi", "skew_chi", "sum", "com_diffrz", "width_diffrz", "skew_diffrz"),
            strict=True,
        ):
            dataset = images[name]
            low, high = np.nanpercentile(dataset[()], (1, 99))
            drawn = plot.imshow(dataset[()], interpolation="nearest", vmin=low, vmax=high)
            plot.set_title(name, fontsize=9)
            figure.colorbar(drawn, ax=plot, shrink=0.6, label=dataset.attrs.get("units", ""))
    for plot in plots.flat:
        plot.set(xticks=[], yticks=[])
    figure.savefig(target, dpi=75)


def main() -> None:
    """Process and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("mosaicity.png"))
    options = parser.parse_args()
    recording, target = options.recording.resolve(), options.output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with gzip.open(recording) as packed, open("mosaicity.h5", "wb") as file:
            shutil.copyfileobj(packed, file)
        values = [f"processors.0.{option}" for option in OPTIONS]
        changes = [
            word for each in [*values, f"sinks.1.endpoint=tcp://127.0.0.1:{free_port()}"] for word in ("--set", each)
        ]
        if inbeam(["process", "--quiet", *changes, str(CONFIG), "mosaicity.h5"]):
            raise SystemExit("it failed")
        draw(Path("data/mosaicity_1.1_mosaicity.h5"), target)
        os.chdir(target.parent)


if __name__ == "__main__":
    main()
