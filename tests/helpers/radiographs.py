"""Radiographs of the turning sample of `projected` in files: NXtomo, Data Exchange, folders of images."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from projected import ANGLES, DARK, counts, gains, lines

SAMPLE = counts(lines())
FLATS = np.repeat(np.round(gains() + DARK)[None], 2, axis=0).astype("u2")
DARKS = np.full_like(FLATS, int(DARK))


def nxtomo(path: Path, **changes: Any) -> Path:
    """Darks, flats, projections, and a frame of no use in between."""
    spoiled = np.full_like(SAMPLE[:1], 7)
    frames = np.concatenate([DARKS, FLATS, SAMPLE[:20], spoiled, SAMPLE[20:]])
    keys = changes.get("keys", np.array([2, 2, 1, 1, *[0] * 20, 3, *[0] * (len(SAMPLE) - 20)]))
    angles = np.concatenate([np.zeros(4), ANGLES[:20], [0.0], ANGLES[20:]])
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry["instrument/detector/data"] = changes.get("frames", frames)
        entry["instrument/detector/image_key"] = keys
        entry["sample/rotation_angle"] = changes.get("angles", angles)
        entry["sample/rotation_angle"].attrs["units"] = changes.get("unit", "degree")
        if "field_of_view" in changes:
            entry["instrument/detector/field_of_view"] = changes["field_of_view"]
        if "monitor" in changes:
            entry["control/data"] = changes["monitor"]
    return path


def data_exchange(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in (("data", SAMPLE), ("data_white", FLATS), ("data_dark", DARKS), ("theta", ANGLES)):
            file[f"exchange/{name}"] = values
    return path


def folder(path: Path, images: np.ndarray, kind: str = "tif") -> Path:
    path.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(path / f"raw_{number}.{kind}")
    return path


def imat(path: Path, kind: str = "tif") -> Path:
    """Sample beside flats and darks; names without leading zeros, which sort wrongly as text."""
    folder(path / "Flat_Before", FLATS, kind)
    folder(path / "dark", DARKS, kind)
    return folder(path / "sample", SAMPLE, kind)


def diamond(path: Path) -> Path:
    """As GDA writes it at DIAD: the detector is called as the camera, another one's data are not there, angles lie in
    the NXdata without a unit."""
    frames = np.concatenate([FLATS, SAMPLE, DARKS])
    keys = np.array([1, 1, *[0] * len(SAMPLE), 2, 2])
    (path.parent / "raw").mkdir()
    with h5py.File(path.parent / "raw" / "imaging.h5", "w") as file:
        file.create_dataset("entry/detector/detector", data=frames, chunks=(4, *frames.shape[1:]), compression="gzip")
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        for name in ("EtherCAT", "imaging"):
            detector = entry.create_group(f"instrument/{name}")
            detector.attrs["NX_class"] = "NXdetector"
            detector["image_key"] = keys if name == "imaging" else np.zeros_like(keys)
            detector["data"] = h5py.ExternalLink(f"raw/{name}.h5", "/entry/detector/detector")
        entry["instrument"].attrs["NX_class"] = "NXinstrument"
        data = entry.create_group("imaging")
        data.attrs.update({"NX_class": "NXdata", "signal": "data"})
        data["data"] = h5py.ExternalLink("raw/imaging.h5", "/entry/detector/detector")
        data["gts_theta_value"] = np.concatenate([[0, 0], ANGLES, [180, 180]])
    return path
