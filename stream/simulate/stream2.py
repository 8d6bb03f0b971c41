"""DECTRIS stream2 messages (CBOR), key by key as an EIGER sends them. Recorded bytes show the order and the tags.

An image message is put together from fragments encoded once per scan; only number, times and payload change.
"""

import math
from typing import Any

import cbor2
import numpy as np

from stream.errors import InbeamError
from stream.events import Array, Buffer, Detector, Encoding, Frame, Payload, ScanStart
from stream.simulate.encode import ENDLESS, HeaderDetail, date_text, exposure, finite, fitting
from stream.simulate.messages import Message

ALGORITHMS = {Encoding.RAW: "", Encoding.BSLZ4: "bslz4", Encoding.LZ4_HDF5: "lz4"}
SELF_DESCRIBED = b"\xd9\xd9\xf7"
CLOCK_HZ = 50_000_000
"""Denominator of the times in a recorded stream2 series."""
OLD_CLOCK_S = 60.0
TYPED_ARRAYS = {
    **dict(zip(("|u1", ">u2", ">u4", ">u8", None, "<u2", "<u4", "<u8"), range(64, 72), strict=True)),
    **dict(zip(("|i1", ">i2", ">i4", ">i8", None, "<i2", "<i4", "<i8"), range(72, 80), strict=True)),
    **dict(zip((">f2", ">f4", ">f8", None, "<f2", "<f4", "<f8"), range(80, 87), strict=True)),
}
"""RFC 8746."""


def head(major: int, value: int) -> bytes:
    """First bytes of a CBOR item: major type and count, in the shortest form."""
    if value < 24:
        return bytes((major << 5 | value,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes((major << 5 | info,)) + value.to_bytes(size, "big")
    raise OverflowError(f"{value} does not fit into 64 bits")


def array_tag(dtype: np.dtype[Any]) -> int:
    """Tag of a typed array of this type. Raises InbeamError where RFC 8746 has none."""
    if dtype.str not in TYPED_ARRAYS:
        raise InbeamError(f"stream2 cannot carry pixels of type {dtype}: use an integer or float type")
    return TYPED_ARRAYS[dtype.str]


def array_item(array: Array) -> cbor2.CBORTag:
    """A two-dimensional array: tag 40 [[rows, columns], typed array]."""
    array = np.ascontiguousarray(array)
    return cbor2.CBORTag(40, [list(array.shape), cbor2.CBORTag(array_tag(array.dtype), array.tobytes())])


class Stream2Encoder:
    """Messages of one scan in stream2."""

    def __init__(self, scan: ScanStart, *, series: int = 1, header_detail: HeaderDetail = "all") -> None:
        self.scan = scan
        self.series = series
        self.detail = header_detail
        self._date = scan.received
        identity = b"".join((_pair("series_id", series), _pair("series_unique_id", scan.uid)))
        self._end = b"".join((SELF_DESCRIBED, head(5, 3), _pair("type", "end"), identity))
        self._before = b"".join((_pair("type", "image"), identity, cbor2.dumps("image_id")))
        clock = head(0, CLOCK_HZ)
        self._real = cbor2.dumps("real_time") + head(4, 2)
        self._clock = clock
        self._zero: float | None = None
        """By the detector's clock, s: when the series began."""
        self._start = b""
        self._stop = clock + cbor2.dumps("stop_time") + head(4, 2)
        self._data = cbor2.dumps("data")
        self._names = {channel: cbor2.dumps(channel) for channel in scan.channels}

    def start(self) -> Message:
        """The start message; flat field, pixel mask and count-rate table with header detail "all" only."""
        return Message("start", (cbor2.dumps(cbor2.CBORTag(55799, self.header())),))

    def header(self) -> dict[str, Any]:
        """The map of the start message. What the scan does not know is left out."""
        scan, detector = self.scan, self.scan.detector
        full = self.detail == "all"
        rows, columns = scan.shape
        items: dict[str, Any] = {
            "type": "start",
            "series_id": self.series,
            "series_unique_id": scan.uid,
            "arm_date": cbor2.CBORTag(0, date_text(self._date)),
            "beam_center_x": detector.beam_center_x_px,
            "beam_center_y": detector.beam_center_y_px,
            "channels": list(scan.channels),
            "count_time": detector.count_time_s,
            "countrate_correction_enabled": True,
            "countrate_correction_lookup_table": (
                cbor2.CBORTag(70, np.arange(65536, dtype="<u4").tobytes()) if full else None
            ),
            "detector_description": detector.description,
            "detector_serial_number": detector.serial_number,
            "detector_translation": translation(detector),
            "flatfield": {name: array_item(flat) for name, flat in detector.flatfield.items()} if full else None,
            "flatfield_enabled": detector.flatfield_applied,
            "frame_time": detector.frame_time_s,
            "goniometer": {
                axis: {"increment": 0.0, "start": 0.0} for axis in ("chi", "kappa", "omega", "phi", "two_theta")
            },
            "image_dtype": scan.dtype.name,
            "image_size_x": columns,
            "image_size_y": rows,
            "incident_energy": detector.energy_ev,
            "incident_wavelength": detector.wavelength_angstrom,
            "number_of_images": ENDLESS if scan.expected is None else scan.expected,
            "pixel_mask": {name: array_item(mask) for name, mask in detector.pixel_mask.items()} if full else None,
            "pixel_mask_enabled": detector.pixel_mask_applied,
            "pixel_size_x": detector.pixel_size_x_m,
            "pixel_size_y": detector.pixel_size_y_m,
            "saturation_value": detector.saturation_value,
            "sensor_material": detector.sensor_material,
            "sensor_thickness": detector.sensor_thickness_m,
            "threshold_energy": dict(detector.threshold_energy_ev),
            "user_data": "",
            "virtual_pixel_interpolation_enabled": True,
        }
        return {key: value for key, value in items.items() if value is not None}

    def image(self, frame: Frame) -> Message:
        """All channels of one exposure in one message; times count from the series' date, as the detector's do."""
        start, stop, real = exposure(frame, self.scan.detector)
        zero = self._begin(frame, start) if self._zero is None else self._zero
        times = [head(0, max(0, round(seconds * CLOCK_HZ))) for seconds in (real, start - zero, stop - zero)]
        readings = finite(frame.readings)
        pieces: list[Buffer] = [SELF_DESCRIBED, head(5, 10 if readings else 9), self._before, head(0, frame.index)]
        pieces += [self._real, times[0], self._start, times[1], self._stop, times[2], self._clock]
        if readings:
            pieces.append(_pair("user_data", readings))
        pieces += [self._data, head(5, len(frame.payloads))]
        for channel, payload in frame.payloads.items():
            packed = fitting(payload, ALGORITHMS)
            pieces += [self._names.get(channel) or cbor2.dumps(channel), _before_bytes(packed), packed.data]
        return Message("image", (b"".join(pieces),), frame.index)

    def _begin(self, frame: Frame, start: float) -> float:
        """The date of the series by its first image, where that tells its own; else that of the scan.

        A clock that began long before the series (SIMPLON v1 has such) counts from there on.
        """
        began_at = start - frame.index * (self.scan.detector.frame_time_s or 0.0)
        zero, date = began_at if began_at > OLD_CLOCK_S else 0.0, self._date
        if math.isfinite(frame.absolute_time):
            date = frame.absolute_time - (start - zero)
        self._zero = zero
        began = cbor2.dumps("series_date") + cbor2.dumps(cbor2.CBORTag(0, date_text(date)))
        self._start = self._clock + began + cbor2.dumps("start_time") + head(4, 2)
        return zero

    def end(self) -> Message:
        """The end message."""
        return Message("end", (self._end,))


def translation(detector: Detector) -> list[float] | None:
    """Where the sample lies as the detector sees it, m: the beam centre, and the distance with a minus sign.

    As in the header of a real EIGER2 16M: centre (2049.384, 2163.621) pixels, translation (0.1537, 0.1623, -0.2372) m.
    """
    if detector.distance_m is None:
        return None
    x = (detector.beam_center_x_px or 0.0) * (detector.pixel_size_x_m or 0.0)
    y = (detector.beam_center_y_px or 0.0) * (detector.pixel_size_y_m or 0.0)
    return [x, y, -detector.distance_m]


def _pair(key: str, value: Any) -> bytes:
    return cbor2.dumps(key) + cbor2.dumps(value)


def _before_bytes(payload: Payload) -> bytes:
    """A channel's item up to the encoded bytes: tag 40 [[rows, columns], tag (tag 56500 [name, size, ..."""
    rows, columns = payload.shape
    item = b"".join((head(6, 40), head(4, 2), head(4, 2), head(0, rows), head(0, columns)))
    item += head(6, array_tag(payload.dtype))
    name = ALGORITHMS[payload.encoding]
    if name:
        size = payload.dtype.itemsize if payload.encoding is Encoding.BSLZ4 else 0
        item += b"".join((head(6, 56500), head(4, 3), head(3, len(name)), name.encode(), head(0, size)))
    return item + head(2, payload.nbytes)
