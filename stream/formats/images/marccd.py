"""What a MarCCD file says of the exposure: 3072 bytes between the directory of the TIFF and its pixels.

Source: "The marCCD header", Rayonix. Its integers are thousandths, nanometres and femtometres; they are given here in
the words of a PILATUS header, so that they are read as those are.
"""

import struct

OFFSET, LENGTH = 1024, 3072
NAME = b"MMX"
"""Stands behind the first four bytes."""
GONIOSTAT = 640
"""Where the goniostat's 28 integers begin, below them those of detector and source."""
ANGLES = ("twotheta", "omega", "chi", "kappa", "phi", "delta", "gamma")


def is_marccd(head: bytes) -> bool:
    """True if these bytes of a TIFF are such a header."""
    return len(head) == LENGTH and head[4:20].rstrip(b"\0") == NAME


def words(head: bytes, order: str) -> dict[str, str]:
    """Header words by name; what is 0 was not known. order: of the bytes, `<` or `>`."""
    numbers = struct.unpack_from(f"{order}28i", head, GONIOSTAT)
    distance, beam_x, beam_y, _, exposure = numbers[:5]
    _, pixel_x, pixel_y = struct.unpack_from(f"{order}3i", head, 768)
    (wavelength,) = struct.unpack_from(f"{order}i", head, 908)
    (saturation,) = struct.unpack_from(f"{order}I", head, 104)
    found = {
        "Detector_distance": f"{distance * 1e-6} m" if distance else "",
        "Beam_xy": f"({beam_x / 1000}, {beam_y / 1000}) pixels" if beam_x and beam_y else "",
        "Exposure_time": f"{exposure / 1000} s" if exposure else "",
        "Pixel_size": f"{pixel_x * 1e-9} m x {pixel_y * 1e-9} m" if pixel_x and pixel_y else "",
        "Wavelength": f"{wavelength * 1e-5} A" if wavelength else "",
        "Count_cutoff": f"{saturation} counts" if saturation else "",
    }
    for place, angle in enumerate(ANGLES):
        found[f"Start_{angle}"] = f"{numbers[7 + place] / 1000} deg"
        found[f"End_{angle}"] = f"{numbers[15 + place] / 1000} deg"
    stamp = head[1344:1376].partition(b"\0")[0].decode("latin-1").strip()
    if len(stamp) == 15 and stamp.replace(".", "").isdecimal():  # MMDDhhmmYYYY.ss
        month, day, hour, minute, year, second = stamp[:2], stamp[2:4], stamp[4:6], stamp[6:8], stamp[8:12], stamp[13:]
        found["Date"] = f"{year}-{month}-{day} {hour}:{minute}:{second}"
    return {key: value for key, value in found.items() if value}
