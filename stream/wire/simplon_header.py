"""The header message of SIMPLON stream v1: what it says of the detector, its flat field and its mask."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stream.errors import BadMessage
from stream.events import Array, Detector
from stream.wire import metadata
from stream.wire.announced import Announced
from stream.wire.limits import NUMBER_MAX, Limits

MAPPED = frozenset(
    (
        *("description", "detector_number", "sensor_material", "sensor_thickness", "x_pixel_size", "y_pixel_size"),
        *("beam_center_x", "beam_center_y", "detector_distance", "wavelength", "photon_energy"),
        *("count_time", "frame_time"),
    )
)
"""Keys of the configuration that have a place of their own in `Detector`; all others go to its metadata."""
TABLES: dict[str, tuple[str, ...]] = {"pixelmask": ("uint32",), "flatfield": ("float32",)}


def announced(
    first: dict[str, Any], series: int, parts: Sequence[bytes], channel: str, limits: Limits
) -> tuple[Announced, list[str]]:
    """What a header message says, and what of it could not be read. With header_detail none that is next to nothing."""
    problems: list[str] = []
    config: dict[str, Any] = {}
    rest = list(parts[1:])
    if first.get("header_detail") != "none" and rest:
        found = _object(rest.pop(0), limits)
        if found is None:
            problems.append("the detector configuration cannot be read")
        config = found or {}
    shape = _shape(config, limits)
    tables, appendix = _tables(rest, shape, limits, problems)
    bits = config.get("bit_depth_image")
    dtype = np.dtype(f"uint{bits}") if type(bits) is int and bits in (8, 16, 32) else None
    others = {str(metadata.text(key)): metadata.plain(item) for key, item in config.items() if key not in MAPPED}
    if appendix is not None:
        others["header_appendix"] = metadata.appendix(appendix)
    detector = _detector(config, tables, channel, others, problems)
    expected = _expected(config)
    return Announced(series, None, shape, dtype, (channel,), expected, detector, (tuple(parts),)), problems


def _expected(config: dict[str, Any]) -> int | None:
    images, triggers = metadata.count(config.get("nimages")), metadata.count(config.get("ntrigger", 1))
    if images is None or triggers is None or images * triggers >= NUMBER_MAX:
        return None
    return images * triggers


def _shape(config: dict[str, Any], limits: Limits) -> tuple[int, int] | None:
    rows, columns = (metadata.count(config.get(f"{axis}_pixels_in_detector")) for axis in "yx")
    return (rows, columns) if rows and columns and rows * columns <= limits.pixels else None


def _detector(
    config: dict[str, Any], tables: dict[str, Array], channel: str, others: dict[str, Any], problems: list[str]
) -> Detector:
    def value(key: str, read: Callable[[Any], Any]) -> Any:
        found = read(config.get(key))
        if found is None and config.get(key) not in (None, 0):
            problems.append(f"{key} cannot be read")
        return found

    x, y = metadata.centre(value("beam_center_x", metadata.number), value("beam_center_y", metadata.number))
    threshold = metadata.positive(config.get("threshold_energy"))
    cutoff = metadata.count(config.get("countrate_correction_count_cutoff"))
    return Detector(
        description=value("description", metadata.text),
        serial_number=value("detector_number", metadata.text),
        sensor_material=value("sensor_material", metadata.text),
        sensor_thickness_m=value("sensor_thickness", metadata.positive),
        pixel_size_x_m=value("x_pixel_size", metadata.positive),
        pixel_size_y_m=value("y_pixel_size", metadata.positive),
        beam_center_x_px=x,
        beam_center_y_px=y,
        distance_m=value("detector_distance", metadata.positive),
        wavelength_angstrom=value("wavelength", metadata.positive),
        energy_ev=value("photon_energy", metadata.positive),
        count_time_s=value("count_time", metadata.positive),
        frame_time_s=value("frame_time", metadata.positive),
        saturation_value=cutoff or None,
        threshold_energy_ev={channel: threshold} if threshold is not None else {},
        pixel_mask={channel: tables["pixelmask"]} if "pixelmask" in tables else {},
        pixel_mask_applied=metadata.flag(config.get("pixel_mask_applied")),
        flatfield={channel: tables["flatfield"]} if "flatfield" in tables else {},
        flatfield_applied=config.get("flatfield_correction_applied") is not False,
        metadata=others,
    )


def _tables(
    parts: list[bytes], shape: tuple[int, int] | None, limits: Limits, problems: list[str]
) -> tuple[dict[str, Array], str | None]:
    """The pairs (description, blob) behind the configuration, and the appendix, if there is one."""
    found: dict[str, Array] = {}
    appendix: str | None = None
    while parts:
        part = parts.pop(0)
        about = _object(part, limits)
        kind = about.get("htype") if about is not None else None
        if about is None or type(kind) is not str or not parts:
            appendix = part[: limits.json_bytes].decode("utf-8", "replace")
            if parts:
                problems.append(f"{len(parts)} parts behind the appendix are left out")
            break
        blob = parts.pop(0)
        name = kind.removeprefix("d").partition("-")[0]  # some simulators leave the d out
        if name not in TABLES:
            continue
        try:
            found[name] = _table(about, blob, TABLES[name], shape)
        except BadMessage as error:
            problems.append(f"{name} is left out: {error}")
    return found, appendix


def _table(about: dict[str, Any], blob: bytes, kinds: tuple[str, ...], shape: tuple[int, int] | None) -> Array:
    """One uncompressed table (rows, columns), a view into `blob`; the wire says [x, y]."""
    size, kind = about.get("shape"), about.get("type")
    if type(size) is not list or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise BadMessage(f"its shape is {str(size)[:40]}")
    if kind not in kinds:
        raise BadMessage(f"its type is {str(kind)[:40]}, not {kinds[0]}")
    columns, rows = size
    dtype = np.dtype(kind).newbyteorder("<")
    if rows * columns * dtype.itemsize != len(blob):
        raise BadMessage(
            f"it has {len(blob)} bytes, {rows} x {columns} of {kind} need {rows * columns * dtype.itemsize}"
        )
    if shape is not None and (rows, columns) != shape:
        raise BadMessage(f"its shape is {rows} x {columns}, that of the detector {shape[0]} x {shape[1]}")
    return np.frombuffer(blob, dtype).reshape(rows, columns).astype(dtype.newbyteorder("="), copy=False)


def _object(part: bytes, limits: Limits) -> dict[str, Any] | None:
    """A JSON object, None if the part is none."""
    if len(part) > limits.json_bytes:
        return None
    try:
        found = json.loads(part)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
