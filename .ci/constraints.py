"""Print the lower bounds of pyproject.toml as constraints for pip, linters aside: what we promise to work with."""

import itertools
import re
import tomllib
from pathlib import Path

LEFT_OUT = ("peers", "dev", "bench")


def main() -> None:
    """One line per requirement."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (bounds for extra, bounds in project["optional-dependencies"].items() if extra not in LEFT_OUT)
    for requirement in itertools.chain(project["dependencies"], *extras):
        bound = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement)
        if bound is not None:
            print(f"{bound[1]}=={bound[2]}")


if __name__ == "__main__":
    main()
