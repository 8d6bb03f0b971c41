"""What analysis in Python needs of inbeam: tables of results, and sets of regions.

import inbeam

    inbeam.table("scan_roi.h5")              a pandas.DataFrame, one row per frame
    inbeam.columns("scan_roi.h5")            the same as NumPy arrays, without pandas
    inbeam.load_roi("sample.json")           a set of regions, checked
    inbeam.dump_roi(regions, "sample.json")
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.events import Array

__all__ = ["columns", "dump_roi", "load_roi", "table"]


def table(path: str | Path) -> Any:
    """pandas.DataFrame of a results file, its index the frame numbers, holes included; see `columns`.

    `attrs`: scan, units (by column), time_from (which time `time` is), notes (what is odd about the file). Raises
    InbeamError, also where pandas is not installed.
    """
    from sinks.export.series import series
    from sinks.export.tables import frame_of

    return frame_of(series(Path(path)))


def columns(path: str | Path) -> "dict[str, Array]":
    """frame, status, time (Unix, s, UTC), detector_time (the header's own clock, s), revision (of the options);
    reading_NAME; REGION_FIELD of every region of interest; PRODUCT_FIELD of other numbers. Each (frames,).

    Raises InbeamError that names the file and says what to do.
    """
    from sinks.export.series import series

    return dict(series(Path(path)).columns)


def load_roi(path: str | Path, offset: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    """The regions of a JSON file, name -> JSON-like, as `regions` of the processor `roi` takes them.

    Also a list of pyqtgraph's {pos, size, angle}, such as the SPring-8 code kept, converted from its pickles (which are
    never opened); offset: (x, y) of the first pixel of the cropped image that they were drawn on. Raises InbeamError.
    """
    from processors.regions.sharing import load

    return load(Path(path), offset)


def dump_roi(regions: Mapping[str, Any], path: str | Path) -> None:
    """Write regions (name -> JSON-like) to a JSON file, for load_roi and `regions_file`. Raises InbeamError if they
    are no regions, OSError."""
    from processors.regions.sharing import dump

    dump(regions, Path(path))
