"""Where restored frames go in a Lima file, and DECTRIS' master file beside a data file."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file.swmr import new_file
from stream.claim import replacing
from stream.events import Array


def lima(file: Any, frames: int) -> Any:
    """The groups that fabio's LimaImage looks for; returns the one for the stack."""
    file.attrs.update({"NX_class": "NXroot", "creator": "LIMA layout, by inbeam", "default": "entry_0000"})
    entry = file.create_group("entry_0000")
    entry.attrs.update({"NX_class": "NXentry", "default": "instrument/detector/plot"})
    entry["title"] = "Frames restored from sparse ones"
    detector = file.create_group("entry_0000/instrument/detector")
    detector.attrs["NX_class"] = "NXdetector"
    file["entry_0000/instrument"].attrs["NX_class"] = "NXinstrument"
    plot = detector.create_group("plot")
    plot.attrs.update({"NX_class": "NXdata", "signal": "data"})
    plot["data"] = h5py.SoftLink("/entry_0000/instrument/detector/data")
    measurement = entry.create_group("measurement")
    measurement.attrs["NX_class"] = "NXcollection"
    measurement["data"] = h5py.SoftLink("/entry_0000/instrument/detector/data")
    acquisition = detector.create_group("acquisition")
    acquisition["nb_frames"] = np.int32(frames)
    return detector


def master_name(target: Path) -> Path:
    """The master file that goes with a data file."""
    return target.with_name(f"{target.stem.removesuffix('_000001')}_master.h5")


def master(target: Path, frames: int, masked: Array, told: dict[str, Any]) -> None:
    """DECTRIS' master file beside the data file, with what the geometry and the mask say."""
    path = master_name(target)
    detector_config = told.get("detector_config", {})
    with replacing(path) as claim, new_file(claim) as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry"})
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "data_000001"})
        data["data_000001"] = h5py.ExternalLink(target.name, "/entry/data/data")
        instrument = entry.create_group("instrument")
        instrument.attrs["NX_class"] = "NXinstrument"
        detector = instrument.create_group("detector")
        detector.attrs["NX_class"] = "NXdetector"
        specific = detector.create_group("detectorSpecific")
        specific["pixel_mask"] = masked.astype(np.uint32)
        specific["nimages"] = np.uint32(frames)
        specific["x_pixels_in_detector"], specific["y_pixels_in_detector"] = (np.uint32(n) for n in masked.shape[::-1])
        detector["pixel_mask_applied"] = np.int32(1)
        for key, name in (("pixel2", "x_pixel_size"), ("pixel1", "y_pixel_size")):
            if key in detector_config:
                detector[name] = np.float32(detector_config[key])
                detector[name].attrs["units"] = "m"
        if "dist" in told:
            detector["detector_distance"] = np.float32(told["dist"])
            detector["detector_distance"].attrs["units"] = "m"
        if told.get("wavelength"):
            instrument["beam/incident_wavelength"] = np.float32(1e10 * told["wavelength"])
            instrument["beam/incident_wavelength"].attrs["units"] = "angstrom"
