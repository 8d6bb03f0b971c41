"""DECTRIS SIMPLON stream v1 messages (JSON and binary parts), part by part as an EIGER sends them.

Shapes on the wire are [x, y] = [columns, rows]; `hash` is the md5 of the part that follows it; keys come sorted.
"""

import hashlib
import json
from typing import Any

import numpy as np

from stream.errors import InbeamError
from stream.events import Buffer, Encoding, Frame, Payload, ScanStart
from stream.simulate.encode import ENDLESS, HeaderDetail, date_text, exposure, finite, fitting
from stream.simulate.messages import Message

ENCODINGS = {Encoding.RAW: "{order}", Encoding.BSLZ4: "bs{bits}-lz4{order}", Encoding.LZ4_BLOCK: "lz4{order}"}
TABLE_COLUMNS = 1000


def dump(value: Any) -> bytes:
    """JSON as the detector writes it: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class SimplonEncoder:
    """Messages of one scan in stream v1. Raises InbeamError for what v1 cannot carry."""

    def __init__(
        self, scan: ScanStart, *, series: int = 1, header_detail: HeaderDetail = "all", appendix: str = ""
    ) -> None:
        if len(scan.channels) != 1:
            raise InbeamError(f"stream v1 carries one channel, scan {scan.name} has {len(scan.channels)}: use stream2")
        if scan.dtype.kind != "u" or scan.dtype.itemsize > 4:
            raise InbeamError(
                f"stream v1 carries uint8, uint16 and uint32, scan {scan.name} has {scan.dtype}: use stream2"
            )
        self.scan = scan
        self.series = series
        self.detail = header_detail
        self.appendix = appendix
        self._parts_2: dict[tuple[Encoding, str, int], tuple[bytes, str]] = {}

    def start(self) -> Message:
        """The global header: 1 part with detail "none", 2 with "basic", 8 with "all", and the appendix if any."""
        parts = [dump({"htype": "dheader-1.0", "series": self.series, "header_detail": self.detail})]
        if self.detail != "none":
            parts.append(dump(self.config()))
        if self.detail == "all":
            detector, shape = self.scan.detector, self.scan.shape
            flat = next(iter(detector.flatfield.values()), np.ones(shape, np.float32))
            mask = next(iter(detector.pixel_mask.values()), np.zeros(shape, np.uint32))
            table = np.stack([np.linspace(0, 1e6, TABLE_COLUMNS)] * 2)
            for htype, array, dtype in (
                ("dflatfield-1.0", flat, "float32"),
                ("dpixelmask-1.0", mask, "uint32"),
                ("dcountrate_table-1.0", table, "float32"),
            ):
                wire_shape = list(array.shape) if array is table else list(array.shape[::-1])
                parts += [dump({"htype": htype, "shape": wire_shape, "type": dtype}), array.astype(dtype).tobytes()]
        if self.appendix:
            parts.append(self.appendix.encode())
        return Message("start", tuple(parts))

    def config(self) -> dict[str, Any]:
        """The detector configuration (part 2), with the keys of a recorded EIGER1; unknown values are left out."""
        detector, (rows, columns) = self.scan.detector, self.scan.shape
        bits = self.scan.dtype.itemsize * 8
        mask = next(iter(detector.pixel_mask.values()), None)
        angles = ("chi", "kappa", "omega", "phi", "two_theta")
        items: dict[str, Any] = {
            **{f"{angle}_{what}": 0.0 for angle in angles for what in ("start", "increment")},
            "auto_summation": True,
            "beam_center_x": detector.beam_center_x_px,
            "beam_center_y": detector.beam_center_y_px,
            "bit_depth_image": bits,
            "bit_depth_readout": min(bits, 16),
            "compression": "bslz4",
            "count_time": detector.count_time_s,
            "countrate_correction_applied": True,
            "countrate_correction_count_cutoff": detector.saturation_value,
            "data_collection_date": date_text(self.scan.received),
            "description": detector.description,
            "detector_distance": detector.distance_m,
            "detector_number": detector.serial_number,
            "detector_readout_time": 1e-7,
            "detector_translation": None if detector.distance_m is None else [0.0, 0.0, -detector.distance_m],
            "eiger_fw_version": "inbeam",
            "element": "",
            "flatfield_correction_applied": detector.flatfield_applied,
            "frame_count_time": detector.count_time_s,
            "frame_period": detector.frame_time_s,
            "frame_time": detector.frame_time_s,
            "nimages": ENDLESS if self.scan.expected is None else self.scan.expected,
            "ntrigger": 1,
            "number_of_excluded_pixels": None if mask is None else int(np.count_nonzero(mask)),
            "photon_energy": detector.energy_ev,
            "pixel_mask_applied": detector.pixel_mask_applied,
            "roi_mode": "",
            "sensor_material": detector.sensor_material,
            "sensor_thickness": detector.sensor_thickness_m,
            "software_version": "1.8.0",
            "threshold_energy": next(iter(detector.threshold_energy_ev.values()), None),
            "trigger_mode": "ints",
            "virtual_pixel_correction_applied": True,
            "wavelength": detector.wavelength_angstrom,
            "x_pixel_size": detector.pixel_size_x_m,
            "x_pixels_in_detector": columns,
            "y_pixel_size": detector.pixel_size_y_m,
            "y_pixels_in_detector": rows,
        }
        return {key: value for key, value in items.items() if value is not None}

    def image(self, frame: Frame) -> Message:
        """Four parts: number and hash, shape and encoding, the blob untouched, the times in ns; readings, if any."""
        (payload,) = frame.payloads.values()
        packed = fitting(payload, ENCODINGS)
        described, digest = self._describe(packed)
        start, stop, real = (round(seconds * 1e9) for seconds in exposure(frame, self.scan.detector))
        parts: tuple[Buffer, ...] = (
            b'{"frame":%d,"hash":"%s","htype":"dimage-1.0","series":%d}' % (frame.index, digest.encode(), self.series),
            described,
            packed.data,
            b'{"htype":"dconfig-1.0","real_time":%d,"start_time":%d,"stop_time":%d}' % (real, start, stop),
        )
        if readings := finite(frame.readings):
            parts = (*parts, dump(readings))
        return Message("image", parts, frame.index)

    def end(self) -> Message:
        """One part."""
        return Message("end", (dump({"htype": "dseries_end-1.0", "series": self.series}),))

    def _describe(self, payload: Payload) -> tuple[bytes, str]:
        """Part 2 and its md5; a pool of frames has few different ones."""
        key = payload.encoding, payload.dtype.str, payload.nbytes
        if key not in self._parts_2:
            order = ">" if payload.dtype.str[0] == ">" else "<"
            encoding = ENCODINGS[payload.encoding].format(bits=payload.dtype.itemsize * 8, order=order)
            described = dump(
                {
                    "encoding": encoding,
                    "htype": "dimage_d-1.0",
                    "shape": list(payload.shape[::-1]),
                    "size": payload.nbytes,
                    "type": payload.dtype.name,
                }
            )
            if len(self._parts_2) > 4096:
                self._parts_2.clear()
            self._parts_2[key] = described, hashlib.md5(described, usedforsecurity=False).hexdigest()
        return self._parts_2[key]
