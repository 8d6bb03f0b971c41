"""A cake as an image: intensities (azimuthal, radial) as they are, bins without a pixel NaN, the axes in the header.

`edf`: a second image has the errors. `tif`: one image, the errors in a file of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from fabio.edfimage import EdfImage
from fabio.tifimage import TifImage

from stream.events import Array

FORMATS = ("edf", "tif")


def axes_header(radial: Array, unit: str, azimuthal: Array) -> Mapping[str, str]:
    """The bins' centres, as first, last and number: they are evenly spaced."""
    header: dict[str, str] = {}
    for name, values in ((unit, radial), ("chi_deg", azimuthal)):
        header |= {f"{name}_min": repr(float(values[0])), f"{name}_max": repr(float(values[-1]))}
        header[f"{name}_bins"] = str(len(values))
    return header


def edf(intensity: Array, errors: Array | None, header: Mapping[str, str]) -> bytes:
    """One EDF file, intensities (m, n) first, errors (m, n) second."""
    image = EdfImage(data=intensity, header=dict(header))
    if errors is not None:
        image.append_frame(data=errors, header={"Title": "errors"})
    return _written(image, "edf")


def tif(intensity: Array, header: Mapping[str, str]) -> bytes:
    """One TIFF file of (m, n) floats."""
    return _written(TifImage(data=intensity, header=dict(header)), "tif")


def _written(image: EdfImage | TifImage, suffix: str) -> bytes:
    """fabio writes by name only, and through links: into a folder that nobody else has."""
    with TemporaryDirectory(prefix="inbeam-") as folder:
        path = Path(folder) / f"image.{suffix}"
        image.write(str(path))
        return path.read_bytes()
