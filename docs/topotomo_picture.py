"""The picture of docs/topotomo.md: a phantom of layered grains, its volume by three methods, and how wrong each is.

    python docs/topotomo_picture.py [-o docs/topotomo.png]

The phantom and the white paper's forward model, which is not ours, are those of the tests.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

from turned_grains import AL_THETA_DEG, layered, moments

from processors import topotomo
from processors.moments.positions import positions_of
from processors.topotomography.gathered import Images, Recipe
from processors.topotomography.projecting import Plan
from stream import ScanStart
from stream.events import Array, Detector

VOXELS, SIZE_UM, SIDE, TILTS, STEP = 40, 20.0, 60, 31, 0.032
OMEGAS = 3.0 * np.arange(60)
METHODS = {
    "recon3d": {"method": "recon3d"},
    "moments": {"method": "moments"},
    "sirt, 20 iterations without subsets": {"method": "sirt", "iterations": 20, "subsets": 1},
    "sirt (10 of 10 subsets)": {"method": "sirt"},
    "sirt, 20 of 10 subsets": {"method": "sirt", "iterations": 20},
}
SHOWN = {"recon3d": "recon3d", "sirt (10 of 10 subsets)": "sirt"}


def reconstructed() -> tuple[Array, dict[str, dict[str, Array]]]:
    """Truth, degrees (2, x, y, z), and the volume by each method."""
    grain, scale = layered(VOXELS, SIZE_UM, (TILTS, TILTS)), SIDE / SIZE_UM / 1.15
    motors = [{"motor": name, "first": 0, "step": STEP, "points": TILTS} for name in ("mu", "gamma")]
    config = topotomo.Config(
        motors=motors,
        omega={"motor": "omega", "first": 0, "step": 3, "points": 60, "unit": "deg"},
        geometry={"theta_deg": AL_THETA_DEG, "magnification": scale},
        volume={"steps": (VOXELS,) * 3, "size_um": (SIZE_UM,) * 3},
    )
    scan = ScanStart("one", "one", (SIDE, SIDE), np.dtype("u2"), ("data",), None, Detector(), 0.0)
    images = Images.empty(("mu", "gamma"), positions_of(config, scan, {}), (SIDE, SIDE))
    for omega, (total, *weighted) in enumerate(moments(grain, OMEGAS, AL_THETA_DEG, scale, (SIDE, SIDE))):
        with np.errstate(invalid="ignore"):
            centres = {f"com_{name}": STEP * each / total for name, each in zip(images.names, weighted, strict=True)}
        images.take(omega, {"sum": total, "frames": np.int32(TILTS**2), **centres})
    plan = Plan.of(config.geometry.made(), config.volume.made(), OMEGAS, (SIDE, SIDE), (SIDE / 2, SIDE / 2))
    found = {}
    for name, options in METHODS.items():
        recipe = Recipe(config.model_copy(update=options), plan, TILTS**2)
        found[name] = dict(recipe.final(images, recipe.used(images, complete=True)))
    return STEP * grain.truth, found


def draw(target: Path) -> None:
    """The middle slice across x: truth, two methods and their errors; and a table on the terminal."""
    truth, found = reconstructed()
    inside, middle = np.isfinite(truth[0]), VOXELS // 2
    for name, volume in found.items():
        told = [
            f"{quantity} {np.abs(volume[quantity] - truth[place])[inside].mean():.4f}"
            for place, quantity in enumerate(("mu", "gamma"))
        ]
        print(f"{name}: mean error, degrees: {', '.join(told)}")
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(2, 5)
    extent = (-SIZE_UM / 2, SIZE_UM / 2) * 2
    for line, (place, name) in zip(plots, enumerate(("mu", "gamma")), strict=True):
        wanted = truth[place, middle]
        shown = [(wanted, "truth", False)]
        for method, short in SHOWN.items():
            there = found[method][name][middle]
            error = np.abs(found[method][name] - truth[place])[inside].mean()
            shown += [(there, f"{short}: {error:.3f}° off", False), (there - wanted, "less the truth", True)]
        for plot, (values, title, difference) in zip(line, shown, strict=True):
            scale = {"vmin": -0.3, "vmax": 0.3, "cmap": "RdBu"} if difference else {"vmin": 0, "vmax": 0.96}
            drawn = plot.imshow(values, origin="lower", extent=extent, interpolation="nearest", **scale)
            plot.set_title(f"{name}: {title}" if title == "truth" else title, fontsize=9)
            plot.set(xlabel="z (um)", ylabel="y (um)")
            figure.colorbar(drawn, ax=plot, shrink=0.75, label="deg")
    figure.savefig(target, dpi=75)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("topotomo.png"))
    draw(parser.parse_args().output)


if __name__ == "__main__":
    main()
