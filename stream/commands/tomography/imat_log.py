"""The log that IMAT writes beside a folder of images: TomoIMAT00010675_log.txt beside Tomo, one line an image with its
angle and with what the beam monitor had counted before and after it."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream.events import Array

LINE = re.compile(
    r"(?:Projection|Radiography):\s*(?P<number>\d+)(?:\s+angle:\s*(?P<angle>[-+.\d]+))?"
    r"\s+Monitor \d+ before:\s*(?P<before>\d+)\s+Monitor \d+ after:\s*(?P<after>\d+)"
)


@dataclass(frozen=True, slots=True)
class Log:
    """angles: degrees, None where it says none; monitor: counts of each image, NaN where the counter was set back."""

    name: str
    angles: Array | None
    monitor: Array


def log_of(folder: Path, images: int) -> tuple[Log | None, str]:
    """That of a folder, and what there is to say of it. None where there is not exactly one, or it is of another number
    of images: then nobody knows which line is whose."""
    try:
        found = [
            each
            for each in folder.parent.iterdir()
            if each.name.startswith(folder.name) and each.name.lower().endswith("log.txt") and each.is_file()
        ]
        if len(found) != 1:
            return None, ""
        text = found[0].read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, ""
    name = found[0].name
    lines = [match for each in text.splitlines() if (match := LINE.search(each))]
    if not lines:
        return None, ""
    if [int(each["number"]) for each in lines] != list(range(images)):
        return None, f"the log {name} has {len(lines)} lines, and {folder.name} {images} images: it is not used"
    angles = None
    if all(each["angle"] is not None for each in lines):
        angles = np.array([float(each["angle"]) for each in lines])
    counted = np.array([float(each["after"]) - float(each["before"]) for each in lines])
    monitor = np.where(counted > 0, counted, np.nan)
    return Log(
        name, angles, monitor
    ), f"{'angles and ' if angles is not None else ''}monitor of {folder.name} from {name}"
