"""The picture of the README's table: milliseconds per frame, as the last run of throughput.py measured them.

python bench/picture.py [-o docs/measured.png]
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
from throughput import FIGURES

mpl.use("agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = {"inbeam": "#1f6fb2", "tuned": "#b9b9b9", "floor:": "#d8a03c"}


def draw(figures: dict[str, float], target: Path) -> None:
    """One bar for each figure, the longest above."""
    ordered = sorted(figures.items(), key=lambda figure: figure[1])
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.5 * len(ordered)), layout="constrained")
    names, milliseconds = [name for name, _ in ordered], [1e3 * seconds for _, seconds in ordered]
    bars = axes.barh(names, milliseconds, color=[COLOURS[name.split()[0]] for name in names])
    axes.bar_label(bars, [f"{each:.1f}" for each in milliseconds], padding=4)
    axes.set_xlabel("ms per EIGER2 4M frame, file to result, two cores; shorter is better")
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "docs" / "measured.png")
    options = parser.parse_args()
    draw(json.loads(FIGURES.read_text()), options.output)


if __name__ == "__main__":
    main()
