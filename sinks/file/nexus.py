"""NeXus groups and fields that all scan files share: entry, instrument, detector, beam, source.

Places and units are those of the application definition NXmx (nexusformat/definitions, cf669931) as far as the
stream's header knows them. Strings have a fixed length: SWMR readers cannot follow variable ones.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np

from sinks.file.storage import BITSHUFFLE
from sinks.file.swmr import SwmrFile
from stream.events import Array, Detector, ScanEnd, ScanStart

END_TIME_BYTES = 40
HC_EV_ANGSTROM = 12398.419843320026
"""h c in eV Å, from the exact SI values."""


def group(parent: Any, path: str, nx_class: str) -> Any:
    """A new or existing group of this NeXus class."""
    made = parent.require_group(path)
    made.attrs["NX_class"] = nx_class
    return made


def text(parent: Any, name: str, value: str) -> Any:
    """A scalar string of fixed length."""
    packed = value.replace("\0", "").encode("utf-8", "replace")
    return parent.create_dataset(name, data=packed, dtype=h5py.string_dtype("utf-8", max(1, len(packed))))


def number(parent: Any, name: str, value: float | int | None, unit: str = "") -> None:
    """A scalar with its unit; nothing where the value is not known."""
    if value is None:
        return
    dataset = parent.create_dataset(name, data=value)
    if unit:
        dataset.attrs["units"] = unit


CHUNK_BYTES = 1 << 20
"""Of an array for the whole scan: HDF5 copies a chunk several times while it is packed, and keeps what that took."""


def array(parent: Any, name: str, values: Array, unit: str = "", *, long_name: str = "") -> Any:
    """An array that holds for the whole scan; compressed if it is an image."""
    values = np.asarray(values)
    packed = values.ndim > 1 and values.nbytes > 65_536
    rows = max(1, min(len(values), CHUNK_BYTES * len(values) // values.nbytes)) if packed else 0
    options = {"chunks": (rows, *values.shape[1:]), **BITSHUFFLE} if packed else {}
    dataset = parent.create_dataset(name, data=values, **options)
    if unit:
        dataset.attrs["units"] = unit
    if long_name:
        dataset.attrs["long_name"] = long_name
    return dataset


def safe_name(name: str) -> str:
    """A name as NeXus takes it: letters, digits, underscore, dot."""
    plain = re.sub(r"[^A-Za-z0-9_.]", "_", name).strip(".") or "_"
    return plain[:63]


def iso_time(moment: float) -> str:
    """A Unix time (s) as ISO 8601 with microseconds, UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def end_time(end: ScanEnd) -> bytes:
    """When a scan ended: as its recording says, else now."""
    return (end.ended or iso_time(time.time())).encode()[:END_TIME_BYTES]


def entry(file: SwmrFile, scan: ScanStart, default: str) -> Any:
    """/entry with what identifies the scan; `default` is the group to plot. Returns the group."""
    root = file.layout
    root.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "inbeam"})
    root.attrs["file_time"] = iso_time(time.time())
    made = group(root, "entry", "NXentry")
    made.attrs["default"] = default
    text(made, "title", scan.name)
    text(made, "entry_identifier", scan.uid)
    text(made, "start_time", scan.started or iso_time(scan.received))
    file.cell("/entry/end_time", b"", f"S{END_TIME_BYTES}")
    text(group(made, "sample", "NXsample"), "name", scan.name)
    return made


def instrument(parent: Any, detector: Detector, channels: tuple[str, ...], *, per_pixel: bool = True) -> Any:
    """NXinstrument with source, beam, monochromator and detector. Returns the detector's group.

    per_pixel: with pixel masks and flat fields, which may weigh more than a scan's results.
    """
    if not per_pixel:
        detector = replace(detector, pixel_mask={}, flatfield={})
    made = group(parent, "instrument", "NXinstrument")
    text(made, "name", str(detector.metadata.get("instrument_name") or detector.description or "unknown"))
    source = group(made, "source", "NXsource")
    text(source, "name", str(detector.metadata.get("source_name") or "unknown"))
    text(source, "type", "Synchrotron X-ray Source")
    text(source, "probe", "x-ray")
    wavelength, energy = detector.wavelength_angstrom, detector.energy_ev
    if wavelength is None and energy:
        wavelength = HC_EV_ANGSTROM / energy
    if energy is None and wavelength:
        energy = HC_EV_ANGSTROM / wavelength
    beam = group(made, "beam", "NXbeam")
    number(beam, "incident_wavelength", wavelength, "angstrom")
    number(beam, "incident_energy", energy, "eV")
    monochromator = group(made, "monochromator", "NXmonochromator")
    number(monochromator, "wavelength", wavelength, "angstrom")
    number(monochromator, "energy", None if energy is None else energy / 1000, "keV")
    return _detector(group(made, "detector", "NXdetector"), detector, channels)


def _detector(made: Any, detector: Detector, channels: tuple[str, ...]) -> Any:
    for name in ("description", "serial_number", "sensor_material"):
        if (value := getattr(detector, name)) is not None:
            text(made, name, value)
    for name, value, unit in (
        ("sensor_thickness", detector.sensor_thickness_m, "m"),
        ("x_pixel_size", detector.pixel_size_x_m, "m"),
        ("y_pixel_size", detector.pixel_size_y_m, "m"),
        ("beam_center_x", detector.beam_center_x_px, "pixel"),
        ("beam_center_y", detector.beam_center_y_px, "pixel"),
        ("distance", detector.distance_m, "m"),
        ("count_time", detector.count_time_s, "s"),
        ("frame_time", detector.frame_time_s, "s"),
        ("saturation_value", detector.saturation_value, ""),
    ):
        number(made, name, value, unit)
    made.create_dataset("flatfield_applied", data=detector.flatfield_applied)
    if detector.pixel_mask_applied is not None:
        made.create_dataset("pixel_mask_applied", data=detector.pixel_mask_applied)
    if channels and channels[0] in detector.threshold_energy_ev:
        number(made, "threshold_energy", detector.threshold_energy_ev[channels[0]], "eV")
    _per_pixel(made, detector, channels[0] if channels else "")
    if len(channels) > 1:
        for channel in channels:
            name = f"{safe_name(channel)}_channel"
            while name in made:
                name = f"_{name}"
            inner = group(made, name, "NXdetector_channel")
            if channel in detector.threshold_energy_ev:
                number(inner, "threshold_energy", detector.threshold_energy_ev[channel], "eV")
            _per_pixel(inner, detector, channel)
    if detector.metadata:
        text(made, "header", json.dumps(_short(detector.metadata), default=str)).attrs["format"] = "JSON"
    return made


def _per_pixel(made: Any, detector: Detector, channel: str) -> None:
    if channel in detector.pixel_mask:
        array(made, "pixel_mask", detector.pixel_mask[channel])
    if channel in detector.flatfield:
        array(made, "flatfield", detector.flatfield[channel])


def _short(value: Any) -> Any:
    """Header values as JSON; an array too long for a text is named by its shape."""
    if isinstance(value, Mapping):
        return {str(key): _short(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 4096 else f"{value.dtype} array {value.shape}"
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value
