"""`inbeam diff-map` against pyFAI's `diff_map` as it comes, whole command against whole command, on EIGER2 4M frames.

    python bench/diff_map.py [--frames 1000] [--theirs 40]

pyFAI needs half a second per frame, so it gets fewer frames: two runs of different lengths say what it takes for as
many as ours had. The maps of the frames that both had are compared.
"""

import argparse
import sys
from pathlib import Path

import fabio
import h5py
import hdf5plugin  # noqa: F401
import numpy as np
from common import OUT, frame_file, inbeam, measure, table

from stream.simulate.eiger import eiger2_4m

COLUMNS, BINS, ROUNDS, FEW = 20, 1000, 3, 10


def recorded(frames: int, name: str) -> Path:
    """Frames, geometry (`.poni`) and mask (`.edf`)."""
    path = frame_file(eiger2_4m(), frames, name=name)
    with h5py.File(path) as file:
        mask = file["entry/instrument/detector/pixel_mask"][()] != 0
    fabio.edfimage.EdfImage(data=mask.astype(np.uint8)).write(str(path.with_suffix(".edf")))
    return path


def words(path: Path, frames: int, output: Path) -> list[str]:
    """The same for both."""
    made = ["--no-gui", "-o", output, "-p", path.with_suffix(".poni"), "-m", path.with_suffix(".edf")]
    return [str(word) for word in (*made, "-t", COLUMNS, "-r", -(-frames // COLUMNS), "-c", BINS, path)]


def theirs(path: Path, frames: int, output: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the whole command."""
    cost = measure([sys.executable, "-m", "pyFAI.app.diff_map", *words(path, frames, output)], quiet=True)
    return cost.wall_s, cost.cpu_s


def ours(path: Path, frames: int, output: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the whole command."""
    cost = measure(inbeam("diff-map", *words(path, frames, output)), quiet=True)
    return cost.wall_s, cost.cpu_s


def difference(one: Path, other: Path, frames: int) -> float:
    """The largest, relative to the intensity, of the frames that both have."""
    with h5py.File(one) as mine, h5py.File(other) as pyfai:
        a = mine["entry/map/I"][()].reshape(-1, BINS)[:frames]
        b = pyfai["entry_0000/pyFAI/result/intensity"][()].reshape(-1, BINS)[:frames]
    filled = np.isfinite(a)
    return float(np.max(np.abs(a - b)[filled] / np.maximum(np.abs(b[filled]), 1e-3)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--theirs", type=int, default=40)
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    many, some, few = (recorded(count, f"diff_map_{count}.h5") for count in (options.frames, options.theirs, FEW))
    made = OUT / "diff_map_ours.h5"
    reference = OUT / "diff_map_pyfai.h5"
    ours(many, options.frames, made)  # fills the caches, as any second run of a user finds them
    ours(some, options.theirs, made)
    runs: dict[str, list[tuple[float, float]]] = {"many": [], "some": [], "theirs": [], "few": []}
    for number in range(ROUNDS):
        runs["some"].append(ours(some, options.theirs, made))
        runs["many"].append(ours(many, options.frames, made))
        if number < ROUNDS - 1:
            runs["few"].append(theirs(few, FEW, reference))
            runs["theirs"].append(theirs(some, options.theirs, reference))
    apart = difference(made, reference, options.theirs)
    best = {name: np.min(each, axis=0) for name, each in runs.items()}
    slope, slope_cpu = (best["theirs"] - best["few"]) / (options.theirs - FEW)
    step, step_cpu = (best["many"] - best["some"]) / (options.frames - options.theirs)
    start = best["few"][0] - FEW * slope
    (long, _), (same, _), (mine, cpu) = best["theirs"], best["some"], best["many"]
    rows = [
        (f"pyFAI's diff_map, {options.theirs} frames, whole command", f"{long:.1f} s", ""),
        (
            f"`inbeam diff-map`, the same {options.theirs} frames, whole command",
            f"{same:.2f} s, {long / same:.0f} x",
            "",
        ),
        ("pyFAI's start, and each frame", f"{start:.1f} s, {1e3 * slope:.0f} ms", ""),
        (f"`inbeam diff-map`, {options.frames} frames, whole command", f"{mine:.2f} s, CPU {cpu:.2f} s", ""),
        (
            f"**whole commands over {options.frames} frames** (pyFAI's from its two lengths)",
            f"**{(start + options.frames * slope) / mine:.0f} x**",
            ">= 50 x",
        ),
        ("per frame, start in neither", f"{1e3 * step:.1f} ms, {slope / step:.0f} x", ""),
        (
            "the same, CPU of all cores: pyFAI's, ours",
            f"{1e3 * slope_cpu:.0f} ms, {1e3 * step_cpu:.1f} ms, {slope_cpu / step_cpu:.0f} x",
            "",
        ),
        ("largest difference of the maps, relative", f"{apart:.1e}", "<= 1e-5"),
    ]
    table(f"diffraction map, EIGER2 4M, {BINS} bins, full splitting", rows)


if __name__ == "__main__":
    main()
