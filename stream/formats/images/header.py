"""What the header of an EDF, CBF or TIFF image says of detector, beam and time.

Sources: PILATUS minimal header (DECTRIS, "PILATUS CBF Header Specification" 1.4), the SAXS keys of the ESRF Data Format
(P. Boesecke, J. Appl. Cryst. 40 (2007) s423), and the keys that ESRF, LBNL and Diamond files in the wild carry.
"""

import contextlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stream.events import Detector
from stream.formats.hdf5.units import PER_UNIT

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
LONGEST_LINE = 1000
"""Characters of a header line that are looked at: no real one is longer, and a long row of digits costs its square."""
WORD = re.compile(r"([A-Za-z_][^\s=:]*)\s*[=:\s]\s*(.*\S)")
"""`Key value`, `Key = value`, `Key: value`, `key=value`."""
TIME_FORMATS = ("%a %b %d %H:%M:%S %Y", "%Y:%m:%d %H:%M:%S", "%Y-%b-%dT%H:%M:%S.%f", "%d/%m/%Y %H:%M:%S")
STAMP = re.compile(r"\d{4}[-/]\w{2,3}[-/]\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?")


def describe(header: Mapping[str, Any]) -> Detector:
    """The detector as an image's header tells it; None where it is silent."""
    words = lines(header)
    size_x = _edf(header, ("PSize_1", "pixel_size_x"), "m")
    size_y = _edf(header, ("PSize_2", "pixel_size_y"), "m")
    pixels = re.findall(rf"({NUMBER})\s*(\w*)", words.get("Pixel_size", ""))
    if len(pixels) >= 2:
        size_x, size_y = (float(value) * PER_UNIT["m"].get(unit, 1.0) for value, unit in (pixels[0], pixels[-1]))
    beam = [float(value) for value in re.findall(NUMBER, words.get("Beam_xy", ""))[:2]]
    if len(beam) < 2 or not any(beam):
        center = (_edf(header, ("Center_1",)), _edf(header, ("Center_2",)))
    else:
        center = (beam[0], beam[1])
    wavelength = _edf(header, ("WaveLength", "wavelength"))
    if wavelength is not None and wavelength < 1e-6:  # metres, as the SAXS keys of EDF are
        wavelength *= 1e10
    sensor = re.match(rf"(\w+) sensor, thickness ({NUMBER}) m", words.get("sensor", ""))
    cutoff = _value(words.get("Count_cutoff", ""))
    return Detector(
        description=_detector_name(words),
        serial_number=(re.search(r"S/N\s*([\w-]+)", words.get("Detector", "")) or [None, None])[1],
        sensor_material=sensor.group(1) if sensor else None,
        sensor_thickness_m=float(sensor.group(2)) if sensor else None,
        pixel_size_x_m=size_x,
        pixel_size_y_m=size_y,
        beam_center_x_px=center[0],
        beam_center_y_px=center[1],
        distance_m=_word(words, "Detector_distance", "m") or _edf(header, ("SampleDistance",), "m"),
        wavelength_angstrom=_word(words, "Wavelength", "angstrom") or wavelength,
        count_time_s=_word(words, "Exposure_time", "s")
        or _edf(header, ("ExposureTime", "count_time", "acq_expo_time")),
        frame_time_s=_word(words, "Exposure_period", "s"),
        saturation_value=int(cutoff) if cutoff else None,
        metadata={str(key): _plain(value) for key, value in header.items()},
    )


def time_of(header: Mapping[str, Any], *, zoned: bool = False) -> float:
    """Start of exposure in seconds, NaN where the header has none.

    A time without a zone is taken as UTC, to be compared with others of its kind; zoned: only one that has a zone.
    """
    for key in () if zoned else ("time_of_frame", "time_of_day", "epoch", "Epoch", "NDTimeStamp"):
        value = _value(str(header.get(key, "")))
        if value:
            return value
    contents = str(header.get("_array_data.header_contents", ""))
    texts = [match.group(0) for match in [STAMP.search(contents)] if match]
    texts += [str(header[key]) for key in ("Date", "date", "DateTime", "acq_time", "time") if header.get(key)]
    for text in texts:
        moment = _moment(text.strip())
        if moment is not None and (moment.tzinfo is not None or not zoned):
            with contextlib.suppress(OverflowError, ValueError):  # a year that no clock of this machine reaches
                return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    return float("nan")


def lines(header: Mapping[str, Any]) -> dict[str, str]:
    """The `# Key value` lines of a PILATUS header (CBF contents, EDF title, TIFF description): first word -> rest."""
    words = {str(key): value[:LONGEST_LINE] for key, value in header.items() if isinstance(value, str)}
    if "Silicon" in words:
        words["sensor"] = f"Silicon {words['Silicon']}"
    for text in (header.get("_array_data.header_contents"), header.get("title"), header.get("imageDescription")):
        if str(text).startswith("ImageJ="):
            continue  # it counts the images of a stack
        for line in str(text or "").splitlines():
            line = line[:LONGEST_LINE].strip().lstrip("#").strip()
            if re.match(r"\w+ sensor, thickness", line):
                words["sensor"] = line
            if found := WORD.match(line):
                words[found.group(1)] = found.group(2).strip()
    return words


def _detector_name(words: Mapping[str, str]) -> str | None:
    """`PILATUS3 6M` of "PILATUS3 6M, S/N 60-0119"; EDF files of ESRF hold a bare number there, which says nothing."""
    name = words.get("Detector", "").split(",")[0].strip()
    return name if name and not name.isdigit() else None


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        pass
    for form in TIME_FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


def _word(words: Mapping[str, str], key: str, unit: str) -> float | None:
    found = re.match(rf"({NUMBER})\s*(\w*)", words.get(key, ""))
    if not found:
        return None
    value = float(found.group(1)) * PER_UNIT[unit].get(found.group(2), 1.0)
    return value if value > 0 else None


def _edf(header: Mapping[str, Any], keys: tuple[str, ...], unit: str = "") -> float | None:
    """A number under one of the keys, SPD's `172_um` included; zeros count as not given."""
    for key in keys:
        found = re.match(rf"\s*({NUMBER})[\s_]*(\w*)", str(header.get(key, "")))
        if found:
            value = float(found.group(1)) * PER_UNIT.get(unit, {}).get(found.group(2), 1.0)
            if value > 0:
                return value
    return None


def _value(text: str) -> float | None:
    found = re.match(rf"\s*({NUMBER})", text)
    value = float(found.group(1)) if found else math.inf
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else str(value)
