"""Small messages as DECTRIS detectors send them, for tests: stream2 with cbor2, SIMPLON stream v1 with json."""

import json
from hashlib import md5
from typing import Any

import cbor2
import numpy as np

from stream.codec.native import bslz4_compress

UID = "01HRCJF83SA63WH8M5X1VBKFJM"
SHAPE = (6, 50)
TYPED = {"uint8": 64, "uint16": 69, "uint32": 70, "float32": 85}


def pixels(index: int, shape: tuple[int, int] = SHAPE, dtype: str = "uint16") -> np.ndarray:
    """An image that tells its number, and that compresses."""
    image = (np.arange(shape[0] * shape[1]).reshape(shape) // 7).astype(dtype)
    image[0, 0] = index % 250
    return image


def lz4_literals(data: bytes) -> bytes:
    """An LZ4 block of literals alone: the simplest that the format allows."""
    length = len(data)
    head = bytearray([min(length, 15) << 4])
    if length >= 15:
        head += b"\xff" * ((length - 15) // 255) + bytes([(length - 15) % 255])
    return bytes(head) + data


def lz4_hdf5(data: bytes, block: int = 128) -> bytes:
    """HDF5 filter 32004: every second block stored, the others as LZ4."""
    out = len(data).to_bytes(8, "big") + block.to_bytes(4, "big")
    for number, at in enumerate(range(0, len(data), block)):
        piece = data[at : at + block]
        packed = piece if number % 2 else lz4_literals(piece)
        out += len(packed).to_bytes(4, "big") + packed
    return out


def packed(image: np.ndarray, encoding: str) -> Any:
    """The byte string of an image, or the tag that stands for it."""
    if encoding == "bslz4":
        return cbor2.CBORTag(56500, ["bslz4", image.itemsize, bslz4_compress(image)])
    if encoding == "lz4":
        return cbor2.CBORTag(56500, ["lz4", 0, lz4_hdf5(image.tobytes())])
    return image.tobytes()


def array(image: np.ndarray, encoding: str = "none") -> cbor2.CBORTag:
    """A multi-dimensional typed array."""
    return cbor2.CBORTag(40, [list(image.shape), cbor2.CBORTag(TYPED[image.dtype.name], packed(image, encoding))])


def stream2_start(**changes: Any) -> bytes:
    """A start message; a change to None takes the key away."""
    shape = changes.pop("shape", SHAPE)
    message = {
        "type": "start",
        "series_id": 7,
        "series_unique_id": UID,
        "arm_date": cbor2.CBORTag(0, "2024-03-07T14:43:31.193+01:00"),
        "beam_center_x": 25.5,
        "beam_center_y": 3.25,
        "channels": ["threshold_1"],
        "count_time": 0.01,
        "detector_description": "Dectris EIGER2 Si 1M",
        "detector_serial_number": "E-32-0101",
        "detector_translation": [0.0019125, 0.00024375, -0.25],
        "flatfield": {"threshold_1": array(np.full(shape, 1.5, np.float32))},
        "flatfield_enabled": True,
        "frame_time": 0.0125,
        "goniometer": {"omega": {"increment": 0.1, "start": 5.0}},
        "image_dtype": "uint16",
        "image_size_x": shape[1],
        "image_size_y": shape[0],
        "incident_energy": 12400.0,
        "incident_wavelength": 0.99987,
        "number_of_images": 5,
        "pixel_mask": {"threshold_1": array(np.eye(*shape, dtype=np.uint32))},
        "pixel_size_x": 7.5e-05,
        "pixel_size_y": 7.5e-05,
        "saturation_value": 65000,
        "sensor_material": "Si",
        "sensor_thickness": 0.00045,
        "threshold_energy": {"threshold_1": 6200.0},
        "user_data": {"sample": "LaB6"},
        **changes,
    }
    message = {key: value for key, value in message.items() if value is not None}
    return cbor2.dumps(cbor2.CBORTag(55799, message))


def stream2_image(index: int, encoding: str = "bslz4", **changes: Any) -> bytes:
    """An image message; a change to None takes the key away."""
    message = {
        "type": "image",
        "series_id": 7,
        "series_unique_id": UID,
        "image_id": index,
        "real_time": [500_000, 50_000_000],
        "series_date": cbor2.CBORTag(0, "2024-03-07T14:43:35.200+01:00"),
        "start_time": [625_000 * index, 50_000_000],
        "stop_time": [625_000 * index + 500_000, 50_000_000],
        "data": {"threshold_1": array(pixels(index), encoding)},
        **changes,
    }
    message = {key: value for key, value in message.items() if value is not None}
    return cbor2.dumps(cbor2.CBORTag(55799, message))


def stream2_end(**changes: Any) -> bytes:
    """An end message."""
    return cbor2.dumps(cbor2.CBORTag(55799, {"type": "end", "series_id": 7, "series_unique_id": UID, **changes}))


CONFIG = {
    "beam_center_x": 25.5,
    "beam_center_y": 3.25,
    "bit_depth_image": 16,
    "count_time": 0.01,
    "countrate_correction_count_cutoff": 65000,
    "description": "Dectris EIGER2 Si 1M",
    "detector_distance": 0.25,
    "detector_number": "E-32-0101",
    "detector_translation": [0.0, 0.0, -0.25],
    "flatfield_correction_applied": True,
    "frame_time": 0.0125,
    "nimages": 5,
    "ntrigger": 1,
    "photon_energy": 12400.0,
    "sensor_material": "Si",
    "sensor_thickness": 0.00045,
    "threshold_energy": 6200.0,
    "trigger_mode": "ints",
    "wavelength": 0.99987,
    "x_pixel_size": 7.5e-05,
    "x_pixels_in_detector": SHAPE[1],
    "y_pixel_size": 7.5e-05,
    "y_pixels_in_detector": SHAPE[0],
}


def as_json(**content: Any) -> bytes:
    """A JSON part, as the detector writes it: keys sorted, no blanks."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def v1_header(detail: str = "all", series: int = 7, appendix: bytes | None = None, **changes: Any) -> list[bytes]:
    """The parts of a global header."""
    parts = [as_json(htype="dheader-1.0", series=series, header_detail=detail)]
    if detail != "none":
        parts.append(as_json(**{key: value for key, value in (CONFIG | changes).items() if value is not None}))
    if detail == "all":
        width_height = [SHAPE[1], SHAPE[0]]
        parts += [
            as_json(htype="dflatfield-1.0", shape=width_height, type="float32"),
            np.full(SHAPE, 1.5, "<f4").tobytes(),
            as_json(htype="dpixelmask-1.0", shape=width_height, type="uint32"),
            np.eye(*SHAPE, dtype="<u4").tobytes(),
            as_json(htype="dcountrate_table-1.0", shape=[2, 4], type="float32"),
            bytes(32),
        ]
    return parts if appendix is None else [*parts, appendix]


def v1_packed(image: np.ndarray, encoding: str) -> bytes:
    """The blob of an image."""
    if encoding.startswith("bs"):
        return bslz4_compress(image)
    if "lz4" in encoding:
        return lz4_literals(image.tobytes())
    return image.astype(image.dtype.newbyteorder(">")).tobytes() if encoding == ">" else image.tobytes()


def v1_image(
    index: int,
    encoding: str = "bs16-lz4<",
    series: int = 7,
    image: np.ndarray | None = None,
    appendix: bytes | None = None,
    hashed: str | None = None,
    **changes: Any,
) -> list[bytes]:
    """The parts of an image message; `changes` go to the description (part 2)."""
    image = pixels(index) if image is None else image
    blob = v1_packed(image, encoding)
    about = {
        "htype": "dimage_d-1.0",
        "shape": [image.shape[1], image.shape[0]],
        "type": image.dtype.name,
        "encoding": encoding,
        "size": len(blob),
        **changes,
    }
    description = as_json(**{key: value for key, value in about.items() if value is not None})
    digest = md5(description).hexdigest() if hashed is None else hashed
    start = 4_843_213_806_960 + 12_500_000 * index
    parts = [
        as_json(htype="dimage-1.0", series=series, frame=index, hash=digest),
        description,
        blob,
        as_json(htype="dconfig-1.0", start_time=start, stop_time=start + 10_000_000, real_time=10_000_000),
    ]
    return parts if appendix is None else [*parts, appendix]


def v1_end(series: int = 7) -> list[bytes]:
    """The one part of an end message."""
    return [as_json(htype="dseries_end-1.0", series=series)]
