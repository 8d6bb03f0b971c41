"""The picture of docs/tomography.md: a tooth, as `inbeam tomo-reconstruct` makes it in four ways.

python docs/tomography_picture.py tomopy_tooth.h5 docs/tomography.png
"""

import sys
import tempfile
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stream.commands.main import main as inbeam
from stream.commands.tomography.writing import VOLUME

WAYS = {
    "gridrec": (),
    "gridrec, hann, rings by sorting": ("--window", "hann", "--remove-stripes", "sorting"),
    "sirt, 60 rounds": ("-a", "sirt", "-n", "60"),
    "cgls, 12 rounds": ("-a", "cgls", "-n", "12"),
}
PART = slice(150, 490)


def main(source: Path, target: Path) -> None:
    """Reconstruct, and draw a part of the slice."""
    figure = Figure(figsize=(12, 3.3), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, more) in enumerate(WAYS.items(), 1):
            out = Path(folder) / str(number)
            words = ["--slices", "0:1", "--median-filter-size", "0", "--out-img-format", "none"]
            inbeam(["tomo-reconstruct", "-i", str(source), "-o", str(out), *words, *more])
            with h5py.File(out / VOLUME) as file:
                picture = np.asarray(file["entry/data/data"][0])
            axes = figure.add_subplot(1, len(WAYS), number)
            axes.imshow(picture[PART, PART], cmap="gray", vmin=-0.002, vmax=0.011)
            axes.set_title(name, fontsize=9)
            axes.set_axis_off()
    FigureCanvasAgg(figure).print_png(str(target))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
