"""A stitched sample as HDF5 and as a picture."""

import io
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file import nexus, provenance
from sinks.stitching.corrections import Factors, Plan, as_json, corrected
from sinks.stitching.joining import Joined
from sinks.stitching.smoothing import smoothed
from stream.events import Array

SMOOTH = "_smooth"
SLOPE = "_derivative"


def as_hdf5(rows: Joined, factors: Factors, plan: Plan, sample: str) -> bytes:
    """/entry/data has `time` (s from the first frame), every column, intensities corrected, with smooth values and
    derivatives per second of the sums; /entry/raw has intensities as they were; /entry/corrections, /entry/events."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        entry = nexus.group(file, "entry", "NXentry")
        file.attrs["default"], entry.attrs["default"] = "entry", "data"
        nexus.text(entry, "title", sample)
        data, raw = nexus.group(entry, "data", "NXdata"), nexus.group(entry, "raw", "NXcollection")
        time = rows.time - rows.time[0]
        nexus.array(data, "time", time, "s", long_name="time after the first frame")
        nexus.array(data, "unix_time", rows.time, "s")
        nexus.array(
            data, "recorded_time", rows.recorded, "s", long_name="Unix time as the files have it, ties not spread"
        )
        nexus.array(data, "scan", rows.scan.astype("i4"))
        nexus.array(data, "frame", rows.frame.astype("i8"))
        nexus.array(data, "factor", factors.factor, long_name="what the intensities were multiplied by")
        nexus.array(data, "factor_errors", factors.error)
        data.attrs["scans"] = list(rows.labels)
        intensities = rows.intensities()
        for name, values in rows.columns.items():
            if name.removesuffix("_errors") in intensities:
                nexus.array(raw, name, values, rows.units.get(name, ""))
            else:
                nexus.array(data, name, values, rows.units.get(name, ""))
        for name in intensities:
            values, errors = corrected(name, rows, factors)
            nexus.array(data, name, values, rows.units[name])
            if errors is not None:
                nexus.array(data, f"{name}_errors", errors, rows.units[name])
            if name.endswith("_sum"):
                smooth, slope = by_scan(rows, values)
                nexus.array(data, f"{name}{SMOOTH}", smooth, rows.units[name])
                nexus.array(data, f"{name}{SLOPE}", slope, f"{rows.units[name]}/s")
        shown = shown_in(rows)
        data.attrs["axes"] = ["time"]
        if shown:
            data.attrs["signal"], data.attrs["auxiliary_signals"] = shown[0], shown[1:]
        _table(entry, rows, factors)
        events = nexus.group(entry, "events", "NXcollection")
        for name, seconds in plan.events.items():
            nexus.number(events, nexus.safe_name(name), float(seconds), "s")
        process = nexus.group(entry, "process", "NXprocess")
        nexus.text(process, "program", "inbeam")
        nexus.text(process, "version", provenance.versions()["inbeam"])
        nexus.text(process, "date", provenance.now())
        nexus.text(process, "corrections", json.dumps(as_json(factors)))
    return buffer.getvalue()


def as_picture(rows: Joined, factors: Factors, plan: Plan, sample: str) -> bytes:
    """PNG: the sums corrected, thin as they were, with the corrections and the events as lines; below, positions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    time = rows.time - rows.time[0]
    for name in shown_in(rows):
        values, _ = corrected(name, rows, factors)
        (line,) = above.plot(time, values, ".", markersize=2, label=name.removesuffix("_sum"))
        above.plot(time, rows.columns[name], linewidth=0.4, alpha=0.5, color=line.get_color())
        x = rows.columns.get(f"{name.removesuffix('_sum')}_com_x")
        if x is not None and np.isfinite(x).any():
            below.plot(time, x - np.nanmedian(x), ".", markersize=2, color=line.get_color())
    for each in factors.applied:
        above.axvline(time[each.after], color="0.6", linewidth=0.8, linestyle=":")
        above.annotate(f"x{each.ratio:.3g}", (time[each.after], 1), xycoords=("data", "axes fraction"), fontsize=7)
    for event, seconds in plan.events.items():
        for axes in (above, below):
            axes.axvline(seconds, color="k", linewidth=0.8)
        above.annotate(event, (seconds, 0.02), xycoords=("data", "axes fraction"), rotation=90, fontsize=7)
    above.set_ylabel("sum (thin: as it was)")
    below.set_ylabel("centre of mass, x, less its median")
    below.set_xlabel("time (s)")
    if shown_in(rows):
        above.legend(loc="best", markerscale=4)
    figure.suptitle(f"{os.path.basename(sample)}: {len(rows.labels)} scans, {len(factors.applied)} corrections")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def shown_in(rows: Joined) -> list[str]:
    """The columns that a picture begins with: sums of regions."""
    return [name for name in rows.intensities() if name.endswith("_sum")]


def by_scan(rows: Joined, values: Array) -> tuple[Array, Array]:
    """Smooth values and derivative, never across the gap between two scans."""
    smooth, slope = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for number in range(len(rows.labels)):
        of_scan = rows.scan == number
        smooth[of_scan], slope[of_scan] = smoothed(rows.time[of_scan] - rows.time[0], values[of_scan])
    return smooth, slope


def _table(entry: Any, rows: Joined, factors: Factors) -> None:
    group = nexus.group(entry, "corrections", "NXcollection")
    applied = factors.applied
    for name in ("before", "after"):
        group[name] = np.array([getattr(each, name) for each in applied], "i8")
    for name in ("ratio", "error", "cumulative", "cumulative_error"):
        group[name] = np.array([getattr(each, name) for each in applied], "f8")
    group["time"] = np.array([rows.time[each.after] - rows.time[0] for each in applied], "f8")


def own(path: Path) -> bool:
    """True for a file that `as_hdf5` made: it is not stitched again."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "entry/corrections/cumulative" in file
    except OSError:
        return False
