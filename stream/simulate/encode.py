"""Events encoded as a detector sends them: what the two protocols, in `stream2` and `simplon`, have in common."""

import math
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

import numpy as np

from stream.codec.payload import decode, with_header
from stream.events import Detector, Encoding, Frame, Payload, ScanStart
from stream.simulate.eiger import Simulated, flatfield, pixel_mask
from stream.simulate.messages import Message

Protocol_: TypeAlias = Literal["stream2", "simplon"]
HeaderDetail: TypeAlias = Literal["all", "basic", "none"]

ENDLESS = 2_000_000_000
"""The number of images that a DECTRIS detector is given when it shall run until it is stopped."""
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Encoder(Protocol):
    """Makes the messages of one scan. What is constant within the scan is encoded once."""

    def start(self) -> Message:
        """The message that begins the scan."""
        ...

    def image(self, frame: Frame) -> Message:
        """One exposure. `frame.detector_time` NaN: frame number times frame time."""
        ...

    def end(self) -> Message:
        """The message that ends the scan."""
        ...


def ulid() -> str:
    """A new identity of a series as stream2 has them: 26 characters, 48 bits of milliseconds and 80 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def scan_of(
    detector: Simulated, *, expected: int | None, name: str = "1", uid: str | None = None, frame_time_s: float = 0.01
) -> ScanStart:
    """The start of a scan on a simulated detector, with mask and flat field (already applied, as detectors do)."""
    x, y = detector.beam_center_px
    mask, flat = pixel_mask(detector), flatfield(detector)
    return ScanStart(
        uid=uid or ulid(),
        name=name,
        shape=detector.shape,
        dtype=detector.dtype,
        channels=detector.channels,
        expected=expected,
        detector=Detector(
            description=detector.description,
            serial_number="E-00-0000",
            sensor_material="Si",
            sensor_thickness_m=450e-6,
            pixel_size_x_m=detector.pixel_size_m,
            pixel_size_y_m=detector.pixel_size_m,
            beam_center_x_px=x,
            beam_center_y_px=y,
            distance_m=detector.distance_m,
            wavelength_angstrom=detector.wavelength_angstrom,
            energy_ev=detector.energy_ev,
            count_time_s=frame_time_s * 0.9999,
            frame_time_s=frame_time_s,
            saturation_value=int(np.iinfo(detector.dtype).max) - 1,
            threshold_energy_ev={
                channel: detector.energy_ev * 0.5 * (1 + 0.3 * order) for order, channel in enumerate(detector.channels)
            },
            pixel_mask=dict.fromkeys(detector.channels, mask),
            pixel_mask_applied=True,
            flatfield=dict.fromkeys(detector.channels, flat),
            flatfield_applied=True,
        ),
        received=time.time(),
        source=f"simulated:{detector.name}",
    )


def exposure(frame: Frame, detector: Detector) -> tuple[float, float, float]:
    """Start, stop and real time of a frame, seconds on the detector's clock; what it does not say is worked out."""
    period = detector.frame_time_s or 0.01
    count = detector.count_time_s or period
    start = frame.index * period if math.isnan(frame.detector_time) else frame.detector_time
    stop = start + count if math.isnan(frame.stop_time) else frame.stop_time
    return start, stop, stop - start if math.isnan(frame.exposure_s) else frame.exposure_s


def finite(readings: Mapping[str, float]) -> dict[str, float]:
    """The readings that can be sent."""
    return {name: value for name, value in readings.items() if math.isfinite(value)}


def fitting(payload: Payload, allowed: Mapping[Encoding, str]) -> Payload:
    """The payload in an encoding that the protocol knows: as it is, with a header put before it, or decoded.

    Raises CorruptPayload if it must be decoded and cannot.
    """
    if payload.encoding in allowed:
        return payload
    headed = with_header(payload)
    if headed is not None and headed.encoding in allowed:
        return headed
    image = decode(payload)
    return Payload(image.tobytes(), Encoding.RAW, payload.shape, image.dtype)


def date_text(seconds: float) -> str:
    """ISO 8601 with milliseconds and offset, as in the detectors' headers."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
