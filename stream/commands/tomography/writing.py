"""What a reconstruction leaves: slices as NXtomoproc and as images, a README, the exact configuration."""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from sinks.file import nexus
from sinks.file.storage import BITSHUFFLE
from sinks.file.whole import whole_file
from stream.errors import ConfigError
from stream.events import Array

Format = Literal["tiff", "tif", "fits", "fit", "png", "none"]
VOLUME, README, CONFIGURATION = "volume.nxs", "0.README_reconstruction.txt", "0.configuration.yaml"


@contextmanager
def volume_file(path: Path, shape: tuple[int, int, int], about: Mapping[str, Any]) -> Iterator[Any]:
    """NXtomoproc: entry/data/data (slices, rows, columns), float32. Beside `path` first: one that was broken off never
    looks like one."""
    with whole_file(path) as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "inbeam"})
        entry = nexus.group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        nexus.text(entry, "title", str(about["name"]))
        nexus.text(entry, "definition", "NXtomoproc")
        nexus.text(nexus.group(entry, "instrument", "NXinstrument"), "name", "unknown")
        nexus.text(nexus.group(entry, "sample", "NXsample"), "name", str(about["name"]))
        process = nexus.group(entry, "reconstruction", "NXprocess")
        for name, text in (
            ("program", "inbeam"),
            ("version", version("inbeam")),
            ("date", nexus.iso_time(time.time())),
        ):
            nexus.text(process, name, text)
        parameters = nexus.group(process, "parameters", "NXparameters")
        nexus.text(parameters, "raw_file", str(about["source"]))
        nexus.text(parameters, "configuration", yaml.safe_dump(dict(about), sort_keys=False))
        group = nexus.group(entry, "data", "NXdata")
        data = group.create_dataset("data", shape, "f4", chunks=(1, shape[1], shape[2]), fillvalue=np.nan, **BITSHUFFLE)
        data.attrs.update({"transform": "inbeam", "offset": 0.0, "scaling": 1.0, "long_name": "absorption per pixel"})
        data.attrs["interpretation"] = "image"
        for number, (name, length) in enumerate(zip("zyx", shape, strict=True)):
            nexus.array(group, name, np.arange(length), "pixel")
            group.attrs[f"{name}_indices"] = number
        group.attrs["signal"], group.attrs["axes"] = "data", ["z", "y", "x"]
        yield data


def image(path: Path, picture: Array, limits: tuple[float, float]) -> None:
    """float32 as TIFF or FITS; PNG as uint16 from limits[0] to limits[1], NaN as 0."""
    kind = path.suffix.lower()
    if kind in (".fits", ".fit"):
        _astropy().writeto(path, np.asarray(picture, np.float32), overwrite=True)
        return
    from PIL import Image

    if kind == ".png":
        low, high = limits
        part = (np.nan_to_num(picture, nan=low) - low) / (high - low if high > low else 1.0)
        Image.fromarray((np.clip(part, 0, 1) * 65535).astype(np.uint16)).save(path)
        return
    Image.fromarray(np.asarray(picture, np.float32)).save(path, format="TIFF")


def check_format(kind: Format) -> None:
    """Raises ConfigError where it needs what is not installed."""
    if kind in ("fits", "fit"):
        _astropy()


def configuration(folder: Path, about: Mapping[str, Any]) -> None:
    """Everything that decided on the result."""
    (folder / CONFIGURATION).write_text(yaml.safe_dump(dict(about), sort_keys=False), encoding="utf-8")


def readme(folder: Path, lines: Mapping[str, Any], remarks: list[str]) -> None:
    """For a person, some years later."""
    text = io.StringIO()
    text.write("Tomographic reconstruction, made with inbeam (inbeam tomo-reconstruct).\n\n")
    width = max(map(len, lines))
    for name, value in lines.items():
        text.write(f"{name:<{width}}  {value}\n")
    if remarks:
        text.write("\nMind:\n")
        text.writelines(f"  * {remark}\n" for remark in remarks)
    text.write(f"\nThe exact configuration is in {CONFIGURATION}; {VOLUME} has it too.\n")
    (folder / README).write_text(text.getvalue(), encoding="utf-8")


def _astropy() -> Any:
    try:
        from astropy.io import fits
    except ImportError as error:
        raise ConfigError([("--out-img-format", "fits needs astropy: pip install astropy")]) from error
    return fits
