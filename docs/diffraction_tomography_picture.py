"""The picture of docs/diffraction-tomography.md, of a recorded Ti64 slice.

python docs/diffraction_tomography_picture.py odftomo_Ti64_smallslice_binned_100.h5 docs/diffraction_tomography.png
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from processors.tomography.air import absorption
from processors.tomography.angles import coverage
from processors.tomography.backprojection import fbp, seen
from processors.tomography.centre import estimate


def main(recorded: Path, picture: Path) -> None:
    """Draw it."""
    with h5py.File(recorded) as file:
        rows = [file[f"projections/{number}"] for number in range(60)]
        diode = np.array([row["diode"][:, 0] for row in rows])
        diffracted = np.array([row["data"][:, 0].sum(axis=1) for row in rows])
        turned = np.array([row["rotation_matrix"][()] for row in rows])
    angles = -np.degrees(np.arctan2(turned[:, 0, 1], turned[:, 0, 0]))
    absorbed = absorption(diode, 3)
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(2, 4)
    inside = seen(48, 48, 23.5)
    for line, sinogram, name in zip(
        plots, (absorbed, diffracted), ("absorption", "diffraction, all bins"), strict=True
    ):
        found = estimate(sinogram, angles)
        line[0].imshow(sinogram, aspect="auto", extent=(-0.5, 47.5, angles[-1], angles[0]), cmap="gray")
        line[0].axvline(found.column, color="red", linewidth=1)
        line[0].set(
            title=f"{name}\naxis {found.column:.2f} ± {found.uncertainty:.2g}", xlabel="translation", ylabel="angle"
        )
        full = fbp(sinogram, angles, centre=23.5)
        for plot, count in zip(line[1:], (15, 30, 60), strict=True):
            covered = coverage(angles[:count])
            slice_ = fbp(sinogram[:count], angles[:count], centre=23.5)
            plot.imshow(np.where(inside, slice_, np.nan), vmin=0, vmax=np.percentile(full[inside], 99.5), cmap="gray")
            plot.set(title=f"{count} projections,\n{covered.covered_deg:.0f}° of 180° covered", xticks=(), yticks=())
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
