"""The picture of docs/tomography-live.md: two recorded scans, as the gatherer `tomography` shows them while they run.

python docs/tomography_live_picture.py tomopy_tooth.h5 savu_24737_tiff docs/tomography_live.png
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import fabio
import h5py
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from processors import tomogram
from stream import Encoding, Frame, Payload
from stream.events import Array, Detector
from stream.testing import examples
from stream.testing.gathered import Gathered

SHOWN = (0.25, 0.5, 1.0)
Part = tuple[Array, int, float]
"""Image, what it is (0 projection, 1 flat, 2 dark), angle."""


def tooth(path: Path) -> Iterator[Part]:
    """APS: 181 projections, ten flats, ten darks."""
    with h5py.File(path) as file:
        for name, key in (("data_dark", 2), ("data_white", 1)):
            yield from ((image, key, 0.0) for image in file[f"exchange/{name}"])
        yield from (
            (image, 0, angle) for image, angle in zip(file["exchange/data"], file["exchange/theta"], strict=True)
        )


def savu(folder: Path) -> Iterator[Part]:
    """Diamond 24737: 91 projections, one flat, one dark; of the angles the first and last ten are those of flats."""
    for name, key in (("dark", 2), ("flat", 1)):
        yield np.round(fabio.open(folder / f"{name}_00001.tiff").data).astype("u2"), key, 0.0
    angles = np.loadtxt(folder / "angles.txt")[10:101]
    for number, angle in enumerate(angles):
        yield fabio.open(folder / "tiffs" / f"raw_{number:05d}.tiff").data, 0, angle


def draw(plots: Array, parts: list[Part], row: int, name: str) -> None:
    """One row of plots: sinogram, three slices, the axis against the projections."""
    shape, dtype = parts[0][0].shape, parts[0][0].dtype
    start = examples.scan(expected=len(parts), shape=shape, dtype=dtype, detector=Detector(), readings=None)
    config = tomogram.Config(slices=(row,), picture_s=0, vertical=False)
    found = Gathered(tomogram.create(config), [], start)
    projections = sum(key == 0 for _, key, _ in parts)
    wanted = [round(part * projections) for part in SHOWN]
    shown, axis = [], []
    for index, (image, key, angle) in enumerate(parts):
        payload = Payload(image.tobytes(), Encoding.RAW, shape, dtype)
        readings = {"image_key": float(key), "rotation_angle": float(angle)}
        found.take(Frame(examples.UID, index, {examples.CHANNEL: payload}, 0.0, readings=readings))
        made = found.fields("tomography")
        if key == 0:
            axis.append((made["centre"].item(), made["centre_uncertainty"].item()))
        if key == 0 and len(axis) in wanted:
            if len(axis) == projections:
                found.finish(len(parts))
            words = made["summary"].item().decode().split("; ")
            shown.append((made["slice_1"].copy(), f"{words[0]}\n{made['covered'].item():.0f}° covered"))
    last = found.fields("tomography")
    lines = last["sinogram_1"][[key == 0 for _, key, _ in parts]]
    plots[0].imshow(lines, aspect="auto", cmap="gray")
    plots[0].axvline(last["centre"].item(), color="red", linewidth=1)
    plots[0].set(title=f"{name}\nsinogram, axis {last['centre'].item():.2f}", xlabel="column", ylabel="projection")
    high = np.nanpercentile(shown[-1][0], 99.8)
    for plot, (picture, words) in zip(plots[1:4], shown, strict=True):
        plot.imshow(picture, vmin=0, vmax=high, cmap="gray")
        plot.set(title=words, xticks=(), yticks=())
    columns, sure = np.array(axis).T
    number = np.arange(1, len(columns) + 1)
    known = np.isfinite(sure)
    plots[4].fill_between(number[known], (columns - sure)[known], (columns + sure)[known], color="0.85")
    plots[4].plot(number, np.where(known, columns, np.nan), color="red")
    plots[4].plot(number, np.where(known, np.nan, columns), color="0.6", linestyle=":")
    reach = float(np.clip(1.2 * np.abs(columns - columns[-1]).max(), 2, 10))
    plots[4].set(title="axis", xlabel="projections", ylabel="column", ylim=(columns[-1] - reach, columns[-1] + reach))


def main(recorded: Path, folder: Path, picture: Path) -> None:
    """Draw it."""
    tomogram.BUSY = 0  # a picture after each projection, however quick they are read
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(2, 5)
    draw(plots[0], list(tooth(recorded)), 0, "tooth (APS)")
    draw(plots[1], list(savu(folder)), 67, "24737 (Diamond)")
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
