"""The columns of a file as a pandas DataFrame, CSV or Parquet. Only CSV needs nothing else."""

import csv
import io
from typing import Any

import numpy as np

from sinks.export.series import Series
from stream.errors import InbeamError
from stream.events import Array

MISSING = "needs pandas and pyarrow: pip install 'inbeam[table]' (CSV needs neither)"


def frame_of(found: Series) -> Any:
    """pandas.DataFrame, its index the frame numbers; `attrs` has scan, units, time_from, notes. Raises InbeamError."""
    try:
        import pandas
    except ImportError as error:
        raise InbeamError(f"a table in Python {MISSING}") from error
    columns = dict(found.columns)
    index = pandas.Index(columns.pop("frame"), name="frame")
    made = pandas.DataFrame(columns, index=index)
    made.attrs = {
        "scan": found.scan,
        "units": dict(found.units),
        "time_from": found.time_from,
        "notes": list(found.notes),
    }
    return made


def as_csv(found: Series) -> bytes:
    """A line of names, a line per frame; numbers in full, NaN as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(zip(*(_words(values) for values in found.columns.values()), strict=True))
    return text.getvalue().encode("utf-8")


def as_parquet(found: Series) -> bytes:
    """With what the DataFrame's `attrs` have. Raises InbeamError."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InbeamError(f"Parquet {MISSING}") from error
    buffer = io.BytesIO()
    frame_of(found).to_parquet(buffer, engine="pyarrow")
    return buffer.getvalue()


def _words(values: Array) -> list[Any]:
    if values.dtype.kind != "f":
        return list(values.tolist())
    return ["" if np.isnan(value) else repr(value) for value in values.tolist()]
