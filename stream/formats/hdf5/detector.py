"""What an HDF5 file says of detector and beam: DECTRIS, NXmx, NXdetector, Lima and BLISS places, units honoured."""

import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from stream.events import EMPTY, Array, Detector
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import text
from stream.formats.hdf5.safe import first_value, may_read
from stream.formats.hdf5.values import detector_group, find, get, number, string

MOST_ITEMS, LONGEST = 1000, 64
"""Bounds of what is copied into `Detector.metadata`: entries, and elements of an array."""
PLACES = ("", "detectorSpecific", "acquisition", "detector_information", "acq_parameters", "beam", "collection")
CUTOFF = "countrate_correction_count_cutoff"
MODULE = re.compile(r"detectorModule_\d+$")


def describe(file: h5py.File, located: Located) -> Detector:
    """Everything that is known of the detector; None where the file is silent or holds a zero that means unset."""
    group = detector_group(file, located)
    entry = file[located.entry]
    if group is None:
        return Detector(wavelength_angstrom=_beam(entry, ("wavelength",)), energy_ev=_energy(entry))
    places = [group[place] for place in PLACES if place and isinstance(get(group, place), h5py.Group)]
    places = [group, *places]

    def length(*names: str) -> float | None:
        return number(places, names, "m")

    size_x, size_y = length("x_pixel_size"), length("y_pixel_size")
    pixel = get(group, "detector_information/pixel_size")
    if size_x is None and isinstance(pixel, h5py.Group):
        size_x, size_y = (_bare(number([pixel], (name,), "m")) for name in ("xsize", "ysize"))
    center = [number(places, (f"beam_center_{axis}",), "px", positive=False) for axis in "xy"]
    if center == [0.0, 0.0]:  # the factory setting of a detector that nobody calibrated
        center = [None, None]
    shape, channels = located.shape, located.names
    applied = find(places, ("flatfield_correction_applied", "flatfield_applied"))
    flagged = find(places, ("pixel_mask_applied",))
    saturation = number(places, ("saturation_value", CUTOFF), "") or _cutoff_of_modules(group)
    thresholds = {
        channel: value
        for channel in channels
        if (value := number([group, *_channel_groups(group, channel)], ("threshold_energy",), "eV")) is not None
    }
    return Detector(
        description=string(places, ("description", "model", "type")),
        serial_number=string(places, ("detector_number", "serial_number")),
        sensor_material=string(places, ("sensor_material",)),
        sensor_thickness_m=_bare(length("sensor_thickness")),
        pixel_size_x_m=size_x,
        pixel_size_y_m=size_y,
        beam_center_x_px=center[0],
        beam_center_y_px=center[1],
        distance_m=length("detector_distance", "distance"),
        wavelength_angstrom=_beam(entry, ("wavelength",)) or number(places, ("wavelength",), "angstrom"),
        energy_ev=_energy(entry) or number(places, ("photon_energy", "incident_energy", "beam_energy"), "eV"),
        count_time_s=number(places, ("count_time", "exposure_time", "acq_expo_time"), "s"),
        frame_time_s=number(places, ("frame_time", "frame_period"), "s"),
        saturation_value=int(saturation) if saturation is not None else None,
        threshold_energy_ev=thresholds or EMPTY,
        pixel_mask=_images(group, places, ("pixel_mask",), shape, channels, "u4"),
        pixel_mask_applied=bool(first_value(flagged)) if flagged is not None else None,
        flatfield=_images(group, places, ("flatfield",), shape, channels, "f4"),
        flatfield_applied=bool(first_value(applied)) if applied is not None else True,
        metadata=_metadata(group),
    )


def _channel_groups(group: h5py.Group, channel: str) -> list[h5py.Group]:
    names = (f"{channel}_channel", channel, f"detectorSpecific/{channel}")
    return [found for name in names if isinstance(found := get(group, name), h5py.Group)]


def _beams(entry: h5py.Group) -> list[h5py.Group]:
    places = ("instrument/beam", "sample/beam", "instrument/monochromator", "instrument/source")
    return [found for place in places if isinstance(found := get(entry, place), h5py.Group)]


def _beam(entry: h5py.Group, names: tuple[str, ...]) -> float | None:
    return number(_beams(entry), tuple(f"incident_{name}" for name in names) + names, "angstrom")


def _energy(entry: h5py.Group) -> float | None:
    return number(_beams(entry)[:3], ("incident_energy", "energy"), "eV")


def _bare(value: float | None) -> float | None:
    """Pixel sizes of Lima and sensor thicknesses of LAMBDA have no unit: what would be more than 1 cm is in micrometres
    (11.0, 300), anything else in metres (7.5e-05)."""
    return value * 1e-6 if value is not None and value > 0.01 else value


def _cutoff_of_modules(group: h5py.Group) -> float | None:
    """EIGER masters have the count rate cutoff of each module; above the lowest of them not every count is right."""
    specific = get(group, "detectorSpecific")
    names = [name for name in specific if MODULE.match(name)] if isinstance(specific, h5py.Group) else []
    found = [number([specific], (f"{name}/{CUTOFF}",), "") for name in names]
    return min((value for value in found if value is not None), default=None)


def _images(
    group: h5py.Group,
    places: list[h5py.Group],
    names: tuple[str, ...],
    shape: tuple[int, int],
    channels: tuple[str, ...],
    dtype: str,
) -> Mapping[str, Array]:
    """Channel -> image of the detector's own size; one image serves all channels, a stack holds one each."""
    found: dict[str, Array] = {}
    for place, channel in enumerate(channels):
        dataset = find([*_channel_groups(group, channel), *places], names)
        if dataset is None or dataset.dtype.kind not in "uifb":
            continue
        if dataset.shape == shape[1:] and shape[0] == 1:
            found[channel] = np.asarray(dataset[()], dtype)[None]
        if dataset.shape[-2:] != shape:
            continue
        if dataset.ndim == 2:
            image = np.asarray(dataset[()], dtype)
        elif dataset.ndim == 3 and (place < dataset.shape[0] or dataset.shape[0] == 1):
            image = np.asarray(dataset[place if dataset.shape[0] > 1 else 0], dtype)
        else:
            continue
        if np.isfinite(image).any():  # LAMBDA writes a flat field of NaN where it has none
            found[channel] = image
    return found or EMPTY


def _metadata(group: h5py.Group) -> Mapping[str, Any]:
    """Small values of the detector group and below, JSON-like, by their path."""
    found: dict[str, Any] = {}

    def take(name: str, thing: Any) -> bool | None:
        if isinstance(thing, h5py.Dataset) and thing.size is not None and thing.size <= LONGEST and may_read(thing):
            try:
                value = thing[()]
            except (OSError, TypeError):
                return None
            if thing.dtype.kind in "SO" and thing.ndim == 0:
                found[name] = text(value)
            elif thing.dtype.kind in "iufb":
                found[name] = value.tolist()
        return True if len(found) >= MOST_ITEMS else None

    group.visititems(take)
    return found
