"""Ten regions on EIGER2 4M frames: what `roi` costs beyond decoding, per frame.

    python bench/roi.py

Goal: ten regions of 100 x 100 pixels <= 1 ms. The frames are decoded already: what is measured is `Roi.process`.
"""

import time

import numpy as np
from common import table

from processors import correct, roi
from stream import Detector, Encoding, Frame, Payload, ScanStart, Work
from stream.simulate.eiger import eiger2_4m, frames, pixel_mask

REPEATS, FRAMES = 40, 5
CENTRE = [1034.0, 1081.0]


def sets() -> dict[str, dict[str, object]]:
    """What is measured, by what it is called in the table."""

    def boxes(angle: float = 0, **more: object) -> dict[str, object]:
        corners = [(150 + 190 * number, 300 + 150 * number) for number in range(10)]
        return {
            f"r{number}": {"kind": "rectangle", "x": [x, x + 100], "y": [y, y + 100], "angle": angle, **more}
            for number, (x, y) in enumerate(corners)
        }

    behind = boxes(background=["r9"], fit="linear")
    behind["r9"] = boxes()["r9"]
    ring = {"kind": "ring", "center": CENTRE, "radius": [400, 500]}
    return {
        "10 rectangles of 100 x 100": boxes(),
        "the same, turned by 20 degrees": boxes(20),
        "the same, above the plane through one of them": behind,
        "a ring of 283 000 pixels": {"ring": ring},
    }


def cost_ms(regions: dict[str, object], image: np.ndarray, mask: np.ndarray) -> float:
    """Milliseconds per frame, the least of several."""
    shape = (image.shape[0], image.shape[1])
    scan = ScanStart("one", "one", shape, image.dtype, ("data",), None, Detector(pixel_mask={"data": mask}), 0.0)
    work = Work()
    correct.create(correct.Config()).start(scan, work)
    made = roi.create(roi.Config.model_validate({"regions": regions}))
    made.start(scan, work)
    work.take(Frame("one", 0, {"data": Payload(image.tobytes(), Encoding.RAW, shape, image.dtype)}, 0.0))
    work.image()
    best = np.inf
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(FRAMES):
            made.process(work)
        best = min(best, (time.perf_counter() - began) / FRAMES)
    return 1e3 * float(best)


def main() -> None:
    """Print the table."""
    detector = eiger2_4m()
    image = next(iter(next(iter(frames(detector, 1))).values()))
    mask = pixel_mask(detector)
    rows = [
        (what, f"{cost_ms(regions, image, mask):.2f} ms", "<= 1 ms" if what.startswith("10") else "")
        for what, regions in sets().items()
    ]
    table(f"regions of interest on {detector.shape[1]} x {detector.shape[0]} pixels, beyond decoding", rows)


if __name__ == "__main__":
    main()
