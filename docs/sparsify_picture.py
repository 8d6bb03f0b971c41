"""The picture of docs/sparsify.md: a frame, the background found in it, what was picked, and the profile of one bin.

    python docs/sparsify_picture.py [SPARSE.h5 FRAMES.h5::/dataset --frame 1] [-o docs/sparsify.png]

Without files: a simulated EIGER2 4M with 300 spots, sparsified here.
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import matplotlib as mpl
import numpy as np

mpl.use("agg")
import matplotlib.pyplot as plt

from sinks.sparse_frames.densify import SparseFile
from stream.commands.main import main as inbeam
from stream.simulate import eiger


def simulated(folder: Path) -> tuple[Path, str]:
    """A sparse file and where its frames are."""
    detector = eiger.eiger2_4m()
    frames = folder / "frames.h5"
    frames.with_suffix(".poni").write_text(eiger.poni(detector))
    with h5py.File(frames, "w") as file:
        images = [next(iter(frame.values())) for frame in eiger.frames(detector, 2, spots=300)]
        file.create_dataset("entry/data/data", data=np.stack(images), chunks=(1, *detector.shape))
    words = ["-p", str(frames.with_suffix(".poni")), "--flags", "--cutoff-peak", "4", "-o", "_sparse.h5", str(frames)]
    if inbeam(["sparsify-bragg", *words]):
        raise SystemExit("sparsify-bragg failed")
    return folder / "frames_sparse.h5", f"{frames}::/entry/data/data"


def draw(sparse: Path, frames: str, number: int, target: Path, zoom: tuple[int, int, int]) -> None:
    """Four panels: frame, background, picked pixels and peaks, radial profile."""
    path, _, dataset = frames.partition("::")
    with h5py.File(path) as file:
        image = file[dataset][number].astype(float)
    source = SparseFile(sparse)
    masked = source.masked | (image >= 2.0**31)
    with h5py.File(sparse) as file:
        group, peaks = file["entry/sparse_frames"], file["entry/peaks"]
        start, stop = (int(value) for value in group["frame_ptr"][number : number + 2])
        index, counts = group["index"][start:stop], group["intensity"][start:stop]
        radius, mean, deviation = group["radius"][:], group["background_avg"][number], group["background_std"][number]
        count = int(peaks["nPeaks"][number])
        x, y = peaks["peakXPosRaw"][number, :count], peaks["peakYPosRaw"][number, :count]
        place = group["mask"][()]
    image[masked] = np.nan
    background = np.where(masked, np.nan, np.interp(np.nan_to_num(place), radius, mean))
    picked = np.full(image.size, np.nan)
    picked[index] = counts
    picked = picked.reshape(image.shape)
    row, column, size = zoom
    box = (slice(row, row + size), slice(column, column + size))
    extent = (column - 0.5, column + size - 0.5, row + size - 0.5, row - 0.5)
    top = float(np.nanpercentile(image[box], 99.5))
    figure, panels = plt.subplots(2, 2, figsize=(8, 7.4), layout="constrained")
    told = f"{len(index)} of {np.count_nonzero(~masked)} pixels, {count} peaks in the frame"
    for panel, shown, title in (
        (panels[0, 0], image, "frame (detail)"),
        (panels[0, 1], background, "background"),
        (panels[1, 0], picked, told),
    ):
        drawn = panel.imshow(shown[box], vmin=0, vmax=top, extent=extent, cmap="magma_r", interpolation="nearest")
        panel.set_title(title, fontsize=10)
    inside = (x > extent[0]) & (x < extent[1]) & (y < extent[2]) & (y > extent[3])
    panels[1, 0].scatter(x[inside], y[inside], s=90, facecolors="none", edgecolors="tab:blue", linewidths=0.8)
    figure.colorbar(drawn, ax=panels[0, 1], label="counts", shrink=0.8)
    profile = panels[1, 1]
    pixel = place[masked == 0].ravel()[::40]
    profile.plot(1e3 * pixel, image[masked == 0].ravel()[::40], ",", color="0.6", label="pixels (1 of 40)")
    threshold = mean + np.maximum(1.0, 3 * np.hypot(deviation, 1.0))
    profile.plot(1e3 * radius, threshold, color="tab:red", lw=0.9, label="picked above")
    profile.plot(1e3 * radius, mean, color="k", lw=0.9, label="background")
    profile.set(xlabel="radius (mm)", ylabel="counts", ylim=(0, 3 * float(np.nanmax(mean)) + 5))
    profile.legend(fontsize=8, loc="upper right")
    figure.savefig(target, dpi=80)
    source.close()


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sparse", nargs="?", type=Path)
    parser.add_argument("frames", nargs="?")
    parser.add_argument("--frame", type=int, default=1)
    parser.add_argument("--zoom", type=int, nargs=3, default=(600, 560, 240), metavar=("ROW", "COLUMN", "SIZE"))
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix("").with_name("sparsify.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.sparse is None:
            options.sparse, options.frames = simulated(Path(folder))
        draw(options.sparse, options.frames, options.frame, options.output, tuple(options.zoom))


if __name__ == "__main__":
    main()
