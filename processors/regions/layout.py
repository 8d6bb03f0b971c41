"""What `roi` gives: one row per frame of every field, one column per place; regions lie in places, by their order.

A file that grows cannot get new fields, so there are `most` places from the start. Which region a place has follows for
every frame from its revision: /entry/changes has the sets, /entry/ledger/revision which of them held.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from processors.regions import kernels
from processors.regions.measuring import Measured, Regions
from processors.regions.options import Config, configured
from processors.shared.correction import Correction
from stream.events import Array, ScanStart
from stream.products import Axis, Field, Product
from stream.versions import version

F8, I4 = np.dtype("f8"), np.dtype("i4")
OWN = "pixel number (the centre of the first pixel is 0), or the place along the region's own axis"
VALUES: Mapping[str, tuple[np.dtype[Any], str, str]] = {
    "pixels": (I4, "", "pixels that were used"),
    "masked": (I4, "", "pixels of the region that are masked, or flagged in this frame"),
    "counts": (F8, "counts", "sum of the used pixels, as corrected, with the background in it"),
    "counts_errors": (F8, "counts", "standard error of counts"),
    "sum": (F8, "counts", "sum above the background, over the monitor"),
    "sum_errors": (F8, "counts", "standard error of sum"),
    "mean": (F8, "counts", "sum per used pixel"),
    "mean_errors": (F8, "counts", "standard error of mean"),
    "max": (F8, "counts", "largest pixel above the background, over the monitor"),
    "background": (F8, "counts", "mean of the background under a pixel, over the monitor"),
    "com_y": (F8, "", f"centre of mass above the background, y: {OWN}"),
    "com_x": (F8, "", f"centre of mass above the background, x: {OWN}"),
    "com_y_errors": (F8, "", "standard error of com_y"),
    "com_x_errors": (F8, "", "standard error of com_x"),
    "fwhm_y": (F8, "", "full width at half maximum of the profile along y"),
    "fwhm_x": (F8, "", "full width at half maximum of the profile along x"),
}
ORIGINAL = ("fwhm_y_raw", "fwhm_x_raw")


def product(config: Config, channel: str, correction: Correction, scan: ScanStart, poni: str = "") -> Product:
    """All fields of a scan. poni: the geometry that rings around the beam are measured with."""
    fields = [
        Field(name, (config.most,), kind, unit, words)
        for name, (kind, unit, words) in VALUES.items()
        if config.error_model == "poisson" or not name.endswith("_errors")
    ]
    if config.compat == "sp2014":
        fields += [Field(name, (config.most,), F8, "", "width at max/1.8, not interpolated") for name in ORIGINAL]
    if config.normalize_by is not None:
        words = "what sum, mean, max and background are divided by; NaN: no usable reading"
        fields.append(Field("divisor", (), F8, "", words))
    if config.profiles is not None:
        for axis in ("y", "x"):
            words = f"profile along {axis}: mean per used pixel above the background, over the monitor"
            shape = (config.most, config.profiles)
            fields.append(Field(f"profile_{axis}", shape, F8, "counts", words, interpretation="spectrum"))
    parameters = {
        "configuration": configured(config),
        "channel": channel,
        "corrections_from": dict(correction.origin),
        "pyFAI_version": version("pyFAI"),
        "shape": list(scan.shape),
    }
    return Product(
        config.name,
        tuple(fields),
        signal="sum",
        places="regions",
        axes=(Axis("place", np.arange(config.most), "", "place of the region"),),
        parameters=parameters,
        poni=poni,
    )


def rows_of(config: Config, regions: Regions, measured: Measured, factor: float) -> Mapping[str, Array]:
    """The row of one frame. factor: what the values are divided by."""
    found, most, places = measured.found, config.most, regions.places

    def placed(values: Array, kind: np.dtype[Any] = F8) -> Array:
        row = np.full(most, np.nan) if kind == F8 else np.zeros(most, kind)
        row[places] = values
        return row

    pixels = found[:, kernels.PIXELS]
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.sqrt(found[:, kernels.NET_VARIANCE]) / factor
        values = {
            "counts": found[:, kernels.COUNTS],
            "counts_errors": np.sqrt(found[:, kernels.VARIANCE]),
            "sum": found[:, kernels.NET] / factor,
            "sum_errors": errors,
            "mean": found[:, kernels.NET] / factor / pixels,
            "mean_errors": errors / pixels,
            "max": found[:, kernels.MAX] / factor,
            "background": found[:, kernels.LEVEL] / factor,
            "com_y": found[:, kernels.COM_Y],
            "com_x": found[:, kernels.COM_X],
            "com_y_errors": np.sqrt(found[:, kernels.COM_Y_VARIANCE]),
            "com_x_errors": np.sqrt(found[:, kernels.COM_X_VARIANCE]),
            "fwhm_y": found[:, kernels.WIDTH_Y],
            "fwhm_x": found[:, kernels.WIDTH_X],
        }
    poisson = config.error_model == "poisson"
    rows = {name: placed(each) for name, each in values.items() if poisson or not name.endswith("_errors")}
    rows |= {"pixels": placed(pixels, I4), "masked": placed(measured.masked, I4)}
    if config.compat == "sp2014":
        rows |= {name: placed(measured.raw_widths[:, axis]) for axis, name in enumerate(ORIGINAL)}
    if config.normalize_by is not None:
        rows["divisor"] = np.array(factor)
    if config.profiles is not None:
        for axis, profiles, lengths in (
            ("y", measured.profiles_y, measured.lengths_y),
            ("x", measured.profiles_x, measured.lengths_x),
        ):
            kept = np.full((most, config.profiles), np.nan)
            for place, end, length in zip(places, np.cumsum(lengths), lengths, strict=True):
                if length <= config.profiles:  # a longer one is told of: a part of it would pass for the whole
                    kept[place, :length] = profiles[end - length : end] / factor
            rows[f"profile_{axis}"] = kept
    return rows
