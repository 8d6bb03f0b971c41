"""What an image's header says of this exposure beside its pixels: motors, counters, temperatures, exposure, time.

Sources: ESRF Data Format as SPEC, BLISS and Lima write it (`motor_mne` and `motor_pos`, `counter_mne` and
`counter_pos`), PILATUS headers (`# Omega 12.3000 deg.`), areaDetector's NDFileTIFF (`name:value`), and whatever number
other formats have in their headers.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stream.formats.hdf5.units import PER_UNIT
from stream.formats.images.header import NUMBER, lines, time_of

MOST = 1000
"""Readings of one header."""
MEASURE = re.compile(rf"\s*({NUMBER})[\s_]*((?:[A-Za-z°µμ%Å][A-Za-z°µμ%Å/^*-]{{0,15}}\d?)?)\.?\s*")
"""A number, and a unit or none: `12.3 deg.`, `172_um`; no hexadecimal number, no name that begins with a digit."""
IN_BRACKETS = re.compile(r".*\(([^()\d]{1,16})\)\s*")
LISTS = (("motor_mne", "motor_pos"), ("counter_mne", "counter_pos"))
NOT_A_READING = re.compile(
    r"_.*|x-binary-.*|content-.*|edf_.*|dim_\d|size|image|headerid|versionnumber|saxsdataversion|run|rasterorientation"
    r"|bsize_\d|psize_\d|offset_\d|center_\d|d?dummy|detector|n_excluded_pixels|count_cutoff|threshold_setting|tau"
    r"|retrigger_mode|header_bytes|size\d|data_type|bin|time|epoch|time_of_day|epicsts.*|ndtimestamp"
    r"|.*_m(?:ne|os)|.*_pos",
    re.IGNORECASE,
)
"""What describes the detector, the layout of the file or the moment, all of which have places of their own."""
EXPOSURES = ("Exposure_time", "ExposureTime", "count_time", "acq_expo_time", "AcquireTime", "Exposure time(s)", "TIME")
EPICS_EPOCH = 631152000
"""Unix time at which EPICS begins to count: 1 January 1990."""
EPOCHS = ("time_of_day", "epoch", "Epoch")
SINCE_1973 = 1e8
"""Unix times below this are no dates but times since the start of something."""


@dataclass(frozen=True, slots=True)
class Readings:
    """values: name -> number; units: name -> unit, "" where unknown. Times in seconds, NaN where the header is silent.

    absolute: the start of exposure in Unix time, known only where the header counts from an epoch or names its zone.
    """

    values: Mapping[str, float]
    units: Mapping[str, str]
    exposure_s: float
    absolute: float


def readings_of(header: Mapping[str, Any]) -> Readings:
    """The readings in one header; of two with one name the first."""
    values: dict[str, float] = {}
    units: dict[str, str] = {}
    exposure = math.nan
    for name, value, unit in _numbers(header):
        if name in EXPOSURES and math.isnan(exposure) and value > 0:
            exposure = value * PER_UNIT["s"].get(unit, 1.0)
        if name not in values and len(values) < MOST and not NOT_A_READING.fullmatch(name):
            values[name], units[name] = value, unit
    return Readings(values, units, exposure, _absolute(header))


def _numbers(header: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
    for names, numbers in LISTS:
        told = str(header.get(names, "")).split(), str(header.get(numbers, "")).split()
        if len(told[0]) == len(told[1]):
            for name, number in zip(*told, strict=True):
                if found := MEASURE.fullmatch(number):
                    yield name, float(found.group(1)), ""
    for name, word in lines(header).items():
        if found := MEASURE.fullmatch(word):
            inside = IN_BRACKETS.fullmatch(name)
            yield name, float(found.group(1)), found.group(2) or (inside.group(1).strip() if inside else "")
    for name, value in header.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield str(name), float(value), ""


def _absolute(header: Mapping[str, Any]) -> float:
    stamp = header.get("NDTimeStamp", 0.0)
    if isinstance(stamp, float) and SINCE_1973 < stamp < 1e11:
        return stamp + EPICS_EPOCH
    for key in EPOCHS:
        found = MEASURE.fullmatch(str(header.get(key, "")))
        if found and SINCE_1973 < float(found.group(1)) < 1e11:
            return float(found.group(1))
    return time_of(header, zoned=True)
