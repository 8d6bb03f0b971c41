"""What an HDF5 file says of detector and beam: DECTRIS, NXmx, NXdetector, Lima and BLISS places, units honoured."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from stream.events import EMPTY, Array, Detector
from stream.formats.hdf5.locate import Located
from stream.formats.hdf5.nexus import nx_class, text
from stream.formats.hdf5.safe import first_value, may_read
from stream.formats.hdf5.units import factor
from stream.wire.limits import NUMBER_MAX

MOST_ITEMS, LONGEST = 1000, 64
"""Bounds of what is copied into `Detector.metadata`: entries, and elements of an array."""
PLACES = ("", "detectorSpecific", "acquisition", "detector_information", "acq_parameters", "beam", "collection")
CUTOFF = "countrate_correction_count_cutoff"
MODULE = re.compile(r"detectorModule_\d+$")


def detector_group(file: h5py.File, located: Located) -> h5py.Group | None:
    """The NXdetector that belongs to the frames, None where the file has none."""
    groups = list(_detectors(file, located.entry))
    name = located.path.rsplit("/", 1)[-1]
    sources = {part.dataset for parts in located.channels.values() for part in parts}
    frames = _get(file, located.path)
    for group in groups:
        if frames is not None and _get(group, "data") == frames:
            return group
    for group in groups:
        if located.path.startswith(f"{group.name}/") or any(source.startswith(f"{group.name}/") for source in sources):
            return group
    for group in groups:
        if group.name.rsplit("/", 1)[-1] in (name, "detector"):
            return group
    for group in groups:
        if group.name.rsplit("/", 1)[-1] in located.path.split("/"):
            return group
    return groups[0] if len(groups) == 1 else None


def describe(file: h5py.File, located: Located) -> Detector:
    """Everything that is known of the detector; None where the file is silent or holds a zero that means unset."""
    group = detector_group(file, located)
    entry = file[located.entry]
    if group is None:
        return Detector(wavelength_angstrom=_beam(entry, ("wavelength",)), energy_ev=_energy(entry))
    places = [group[place] for place in PLACES if place and isinstance(_get(group, place), h5py.Group)]
    places = [group, *places]

    def length(*names: str) -> float | None:
        return _number(places, names, "m")

    size_x, size_y = length("x_pixel_size"), length("y_pixel_size")
    pixel = _get(group, "detector_information/pixel_size")
    if size_x is None and isinstance(pixel, h5py.Group):
        size_x, size_y = (_bare(_number([pixel], (name,), "m")) for name in ("xsize", "ysize"))
    center = [_number(places, (f"beam_center_{axis}",), "px", positive=False) for axis in "xy"]
    if center == [0.0, 0.0]:  # the factory setting of a detector that nobody calibrated
        center = [None, None]
    shape, channels = located.shape, located.names
    applied = _find(places, ("flatfield_correction_applied", "flatfield_applied"))
    flagged = _find(places, ("pixel_mask_applied",))
    saturation = _number(places, ("saturation_value", CUTOFF), "") or _cutoff_of_modules(group)
    thresholds = {
        channel: value
        for channel in channels
        if (value := _number([group, *_channel_groups(group, channel)], ("threshold_energy",), "eV")) is not None
    }
    return Detector(
        description=_string(places, ("description", "model", "type")),
        serial_number=_string(places, ("detector_number", "serial_number")),
        sensor_material=_string(places, ("sensor_material",)),
        sensor_thickness_m=_bare(length("sensor_thickness")),
        pixel_size_x_m=size_x,
        pixel_size_y_m=size_y,
        beam_center_x_px=center[0],
        beam_center_y_px=center[1],
        distance_m=length("detector_distance", "distance"),
        wavelength_angstrom=_beam(entry, ("wavelength",)) or _number(places, ("wavelength",), "angstrom"),
        energy_ev=_energy(entry) or _number(places, ("photon_energy", "incident_energy", "beam_energy"), "eV"),
        count_time_s=_number(places, ("count_time", "exposure_time", "acq_expo_time"), "s"),
        frame_time_s=_number(places, ("frame_time", "frame_period"), "s"),
        saturation_value=int(saturation) if saturation is not None else None,
        threshold_energy_ev=thresholds or EMPTY,
        pixel_mask=_images(group, places, ("pixel_mask",), shape, channels, "u4"),
        pixel_mask_applied=bool(first_value(flagged)) if flagged is not None else None,
        flatfield=_images(group, places, ("flatfield",), shape, channels, "f4"),
        flatfield_applied=bool(first_value(applied)) if applied is not None else True,
        metadata=_metadata(group),
    )


def announced(file: h5py.File, located: Located) -> int:
    """How many frames the scan was to have.

    A master says it in `nimages` times `ntrigger`. A Lima file has room for a fixed number of frames per file, of
    which the last file of a scan, or a short scan, uses only some: then `nb_frames` counts. A detector that was to run
    until stopped announces nothing.
    """
    lima = told_frames(file, located)
    if lima:
        return min(located.declared, lima)
    told = located.told or _series(detector_group(file, located))
    return max(located.declared, told) if told < NUMBER_MAX else located.declared


def told_while_growing(file: h5py.File, located: Located) -> int:
    """How many frames the scan is to have, as the file tells while they come; 0 where it does not.

    BLISS writes what the detector was asked for: more than there is, where the scan was stopped.
    """
    group = detector_group(file, located)
    told = located.told or _series(group) or told_frames(file, located) or 0
    if not told and group is not None and not entry_has_ended(file, located):
        told = int(_number([group], ("acq_parameters/acq_nb_frames",), "") or 0)
    return told if told < NUMBER_MAX else 0  # until stopped


def entry_has_ended(file: h5py.File, located: Located) -> bool:
    """True if the entry has an `end_time`: NeXus writers and BLISS add it when the scan is over."""
    end = _get(file[located.entry], "end_time")
    return (
        isinstance(end, h5py.Dataset)
        and end.dtype.kind in "SO"
        and may_read(end)
        and bool(text(first_value(end)).strip())
    )


def _series(group: h5py.Group | None) -> int:
    """Frames of the whole series as a DECTRIS master says it, 0 where it does not."""
    if group is None:
        return 0
    images = _number([group], ("detectorSpecific/nimages",), "")
    triggers = _number([group], ("detectorSpecific/ntrigger",), "") or 1
    return int(images * triggers) if images else 0


def told_frames(file: h5py.File, located: Located) -> int | None:
    """Frames of the whole scan as a Lima file of it says; None for files that were not written by Lima."""
    group = detector_group(file, located)
    if group is None or _get(group, "data") != _get(file, located.path):
        return None
    told = _number([group], ("acquisition/nb_frames",), "")
    return int(told) if told else None


def _detectors(file: h5py.File, entry: str) -> Iterator[h5py.Group]:
    for name in file[entry]:
        group = _get(file[entry], name)
        if isinstance(group, h5py.Group) and (nx_class(group) == "NXinstrument" or name == "instrument"):
            for part in group:
                below = _get(group, part)
                if isinstance(below, h5py.Group) and (nx_class(below) == "NXdetector" or part == "detector"):
                    yield below


def _channel_groups(group: h5py.Group, channel: str) -> list[h5py.Group]:
    names = (f"{channel}_channel", channel, f"detectorSpecific/{channel}")
    return [found for name in names if isinstance(found := _get(group, name), h5py.Group)]


def _get(group: h5py.Group, path: str) -> Any:
    try:
        return group[path]
    except (KeyError, OSError, ValueError):
        return None


def _find(places: list[h5py.Group], names: tuple[str, ...]) -> h5py.Dataset | None:
    for place in places:
        for name in names:
            found = _get(place, name)
            if isinstance(found, h5py.Dataset) and found.size and may_read(found):
                return found
    return None


def _number(places: list[h5py.Group], names: tuple[str, ...], unit: str, *, positive: bool = True) -> float | None:
    """The first number under one of the names, in `unit`. Zeros and NaN count as not given where `positive`, and so do
    values in a unit that is not known."""
    for place in places:
        for name in names:
            found = _find([place], (name,))
            if found is None:
                continue
            scale = factor(text(found.attrs.get("units", "")), unit) if unit else 1.0
            try:
                value = float(first_value(found)) * (scale if scale is not None else math.nan)
            except (ValueError, TypeError, OSError):
                continue
            if np.isfinite(value) and (value > 0 or not positive):
                return value
    return None


def _string(places: list[h5py.Group], names: tuple[str, ...]) -> str | None:
    found = _find(places, names)
    return text(first_value(found)).strip() or None if found is not None else None


def _beams(entry: h5py.Group) -> list[h5py.Group]:
    places = ("instrument/beam", "sample/beam", "instrument/monochromator", "instrument/source")
    return [found for place in places if isinstance(found := _get(entry, place), h5py.Group)]


def _beam(entry: h5py.Group, names: tuple[str, ...]) -> float | None:
    return _number(_beams(entry), tuple(f"incident_{name}" for name in names) + names, "angstrom")


def _energy(entry: h5py.Group) -> float | None:
    return _number(_beams(entry)[:3], ("incident_energy", "energy"), "eV")


def _bare(value: float | None) -> float | None:
    """Pixel sizes of Lima and sensor thicknesses of LAMBDA have no unit: what would be more than 1 cm is in micrometres
    (11.0, 300), anything else in metres (7.5e-05)."""
    return value * 1e-6 if value is not None and value > 0.01 else value


def _cutoff_of_modules(group: h5py.Group) -> float | None:
    """EIGER masters have the count rate cutoff of each module; above the lowest of them not every count is right."""
    specific = _get(group, "detectorSpecific")
    names = [name for name in specific if MODULE.match(name)] if isinstance(specific, h5py.Group) else []
    found = [_number([specific], (f"{name}/{CUTOFF}",), "") for name in names]
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
    for number, channel in enumerate(channels):
        dataset = _find([*_channel_groups(group, channel), *places], names)
        if dataset is None or dataset.dtype.kind not in "uifb":
            continue
        if dataset.shape == shape[1:] and shape[0] == 1:
            found[channel] = np.asarray(dataset[()], dtype)[None]
        if dataset.shape[-2:] != shape:
            continue
        if dataset.ndim == 2:
            image = np.asarray(dataset[()], dtype)
        elif dataset.ndim == 3 and (number < dataset.shape[0] or dataset.shape[0] == 1):
            image = np.asarray(dataset[number if dataset.shape[0] > 1 else 0], dtype)
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
