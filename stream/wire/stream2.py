"""DECTRIS stream2: one CBOR map per message. From bytes to events, without sockets.

https://github.com/dectris/documentation/tree/main/stream_v2. `Frame.detector_time` is `start_time` in seconds: it
counts from the start of the series (`series_date` of each image message, to the millisecond): intervals stay exact.
`Frame.absolute_time` is the sum of both, `exposure_s` is `real_time`; numbers in the `user_data` of an image: readings.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from stream.errors import BadMessage
from stream.events import Array, Buffer, Detector, Event, Payload
from stream.wire import cbor, metadata, typed
from stream.wire.announced import Announced
from stream.wire.cbor import Tag
from stream.wire.decoder import SeriesDecoder
from stream.wire.exposure import Exposure, unix_time
from stream.wire.limits import NUMBER_MAX, Limits
from stream.wire.series import SAFE_CHANNEL

Map: TypeAlias = dict[Any, Any]

SELF_DESCRIBED = 55799
DATE = 0
IMAGE_TYPES = {name: np.dtype(name) for name in ("uint8", "uint16", "uint32")}
MAPPED = frozenset(
    (
        *("type", "detector_description", "detector_serial_number", "sensor_material", "sensor_thickness"),
        *("pixel_size_x", "pixel_size_y", "beam_center_x", "beam_center_y", "incident_wavelength", "incident_energy"),
        *("count_time", "frame_time", "saturation_value", "pixel_mask", "flatfield"),
    )
)
"""Keys that have a place of their own in `Detector`; all others go to its metadata."""


class Decoder(SeriesDecoder):
    """Messages of stream2 in, events out."""

    def _read(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        if len(parts) != 1:
            raise BadMessage(
                f"a message of {len(parts)} parts: stream2 has one (is this a SIMPLON stream v1 detector?)"
            )
        message = cbor.loads(parts[0], self._limits)
        if type(message) is Tag and message.number == SELF_DESCRIBED:
            message = message.value
        if type(message) is not dict:
            raise BadMessage("a CBOR message that is no map")
        series = metadata.count(message.get("series_id"))
        unique = message.get("series_unique_id")
        kind = message.get("type")
        if series is None or not (unique is None or (type(unique) is str and 0 < len(unique) <= 256)):
            raise BadMessage("a message whose series_id or series_unique_id is missing or of the wrong type")
        if kind == "image":
            return self._image(message, series, unique, parts[0], received)
        if kind == "start":
            return self._start(bytes(parts[0]), series, unique, received)
        if kind == "end":
            return self._end(series, unique, received)
        raise BadMessage(f"a message of type {str(kind)[:40]!r}: start, image and end are known")

    def _start(self, data: bytes, series: int, unique: str | None, received: float) -> list[Event]:
        message = cbor.loads(data, self._limits)  # again, from our own copy: masks must not pin the socket's buffer
        message = message.value if type(message) is Tag else message
        start, problems = announced(message, series, unique, data, self._limits)
        events = self._announce(start, received)
        return [*events, *(self._series.note(f"start of series {series}: {problem}") for problem in problems)]

    def _image(self, message: Map, series: int, unique: str | None, data: Buffer, received: float) -> list[Event]:
        index = metadata.count(message.get("image_id"))
        if index is None:
            raise BadMessage("an image message whose image_id is missing or no number")
        begins = self._series.claim(series, unique, index)
        events: list[Event] = []
        try:
            payloads = self._payloads(message.get("data"))
        except BadMessage as error:
            if begins is not None:
                raise
            return [self._series.corrupt(index, str(error), received)]
        if begins is not None:
            events = self._series.start_with(begins, payloads, (bytes(data),), received)
        start = rational(message.get("start_time"))
        if math.isnan(start):
            events += self._series.once("image messages without a usable start_time")
        exposure = Exposure(
            start,
            rational(message.get("stop_time")),
            rational(message.get("real_time")),
            date(message.get("series_date")) + start,
            self._readings(message.get("user_data"), "user_data"),
        )
        frame = self._series.accept(index, payloads, received, exposure)
        return [*events, frame] if events else [frame]

    def _payloads(self, data: Any) -> dict[str, Payload]:
        if type(data) is not dict or not 0 < len(data) <= self._limits.channels:
            raise BadMessage("the image message has no map of channels as `data`")
        found: dict[str, Payload] = {}
        for channel, value in data.items():
            if type(channel) is not str or not SAFE_CHANNEL.fullmatch(channel):
                raise BadMessage(f"a channel named {str(channel)[:40]!r}")
            try:
                found[channel] = typed.image(value, self._limits)
            except BadMessage as error:
                raise BadMessage(f"{channel}: {error}") from None
        return found


def date(value: Any) -> float:
    """Unix time, s, of a date as CBOR has it, NaN if it is none."""
    text = value.value if type(value) is Tag and value.number == DATE else value
    return unix_time(text) if type(text) is str and len(text) < 100 else math.nan


def rational(value: Any) -> float:
    """[numerator, denominator] as a float, NaN if it is none."""
    if type(value) is list and len(value) == 2:
        numerator, denominator = value
        if type(numerator) is int and type(denominator) is int and denominator > 0:
            return numerator / denominator
    return math.nan


def announced(
    message: Map, series: int, unique: str | None, data: bytes, limits: Limits
) -> tuple[Announced, list[str]]:
    """What a start message says, and what of it could not be read."""
    problems: list[str] = []
    rows, columns = metadata.count(message.get("image_size_y")), metadata.count(message.get("image_size_x"))
    shape = (rows, columns) if rows and columns else None
    if shape is not None and shape[0] * shape[1] > limits.pixels:
        problems.append(f"{rows} x {columns} pixels are more than the limit, awaiting the first image")
        shape = None
    channels = _channels(message.get("channels"), limits, problems)
    expected = metadata.count(message.get("number_of_images"))
    if expected is not None and expected >= NUMBER_MAX:
        expected = None
    image_type = message.get("image_dtype")
    dtype = IMAGE_TYPES.get(image_type) if type(image_type) is str else None
    if image_type is not None and dtype is None:
        problems.append(f"image_dtype {str(image_type)[:40]!r} is unknown, awaiting the first image")
    begins = Announced(
        series, unique, shape, dtype, channels, expected, detector(message, shape, limits, problems), ((data,),)
    )
    return begins, problems


def detector(message: Map, shape: tuple[int, int] | None, limits: Limits, problems: list[str]) -> Detector:
    """The detector and beam of a start message; what cannot be read is None, and added to `problems`."""

    def value(key: str, read: Callable[[Any], Any]) -> Any:
        found = read(message.get(key))
        if found is None and message.get(key) not in (None, 0):
            problems.append(f"{key} cannot be read")
        return found

    room = [limits.table_bytes]
    translation = message.get("detector_translation")
    along_beam = metadata.number(translation[2]) if type(translation) is list and len(translation) == 3 else None
    x, y = metadata.centre(value("beam_center_x", metadata.number), value("beam_center_y", metadata.number))
    thresholds = message.get("threshold_energy")
    energies = {
        key: energy
        for key, item in (thresholds if type(thresholds) is dict else {}).items()
        if type(key) is str and (energy := metadata.number(item)) is not None
    }
    return Detector(
        description=value("detector_description", metadata.text),
        serial_number=value("detector_serial_number", metadata.text),
        sensor_material=value("sensor_material", metadata.text),
        sensor_thickness_m=value("sensor_thickness", metadata.positive),
        pixel_size_x_m=value("pixel_size_x", metadata.positive),
        pixel_size_y_m=value("pixel_size_y", metadata.positive),
        beam_center_x_px=x,
        beam_center_y_px=y,
        distance_m=None if along_beam is None else metadata.positive(abs(along_beam)),  # detectors say -0.237
        wavelength_angstrom=value("incident_wavelength", metadata.positive),
        energy_ev=value("incident_energy", metadata.positive),
        count_time_s=value("count_time", metadata.positive),
        frame_time_s=value("frame_time", metadata.positive),
        saturation_value=value("saturation_value", metadata.count),
        threshold_energy_ev=energies,
        pixel_mask=_images(message, "pixel_mask", np.uint32, shape, limits, problems, room),
        pixel_mask_applied=metadata.flag(message.get("pixel_mask_enabled")),
        flatfield=_images(message, "flatfield", np.float32, shape, limits, problems, room),
        flatfield_applied=message.get("flatfield_enabled") is not False,
        metadata={
            key: metadata.appendix(item) if key == "user_data" else typed.describe(item) or metadata.plain(item)
            for name, item in message.items()
            if (key := metadata.text(str(name))) is not None and key not in MAPPED
        },
    )


def _channels(value: Any, limits: Limits, problems: list[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    good = type(value) is list and 0 < len(value) <= limits.channels and len(set(map(str, value))) == len(value)
    if good and all(type(name) is str and SAFE_CHANNEL.fullmatch(name) for name in value):
        return tuple(value)
    problems.append("channels cannot be read, awaiting the first image")
    return None


def _images(
    message: Map,
    key: str,
    kind: type[Any],
    shape: tuple[int, int] | None,
    limits: Limits,
    problems: list[str],
    room: list[int],
) -> dict[str, Array]:
    """The 2-D arrays of a map from channel to array; those that cannot be read are left out, with the reason.

    room: bytes that the tables of this header may still take; nothing is decoded before it is known to be wanted.
    """
    value = message.get(key)
    found: dict[str, Array] = {}
    if value is not None and type(value) is not dict:
        problems.append(f"{key} is no map")
        return found
    for channel, item in list((value or {}).items())[: limits.channels]:
        try:
            packed = typed.image(item, limits)
            left_out = _unwanted(packed, kind, shape)
            room[0] -= 0 if left_out else packed.shape[0] * packed.shape[1] * max(packed.dtype.itemsize, 4)
            if not left_out and room[0] < 0:
                left_out = f"with it the tables of this header have more than {limits.table_bytes} bytes"
            array = None if left_out else typed.array(packed)
        except BadMessage as error:
            array, left_out = None, str(error)
        if array is None:
            problems.append(f"{key} of {str(channel)[:40]} is left out: {left_out}")
        else:
            with np.errstate(all="ignore"):
                found[str(channel)] = array.astype(kind, copy=False)
    return found


def _unwanted(packed: Payload, kind: type[Any], shape: tuple[int, int] | None) -> str:
    if packed.dtype.kind not in ("iu" if kind is np.uint32 else "iuf"):
        return f"it is {packed.dtype.name}"
    if shape is not None and packed.shape != shape:
        return f"its shape is {packed.shape}, not {shape}"
    return ""
