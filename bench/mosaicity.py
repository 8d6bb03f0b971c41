"""Moments of every pixel: what `mosaicity` costs per frame beyond decoding, in CPU time of its one thread.

    python bench/mosaicity.py

Goals: 30 us for a frame of 150 x 150 pixels and 25 ms for one of 2048 x 2048, two motors (ten sums per pixel). The
frames are decoded already: what is measured is `Mosaicity.take`. The images are made at the end, and told apart.
"""

import time

import numpy as np
from common import table

from processors import mosaicity
from stream import Context, Encoding, Frame, Payload, ScanEnd, ScanStart, Work
from stream.events import Detector

REPEATS = 9
STEPS = {150: (15, 16), 2048: (4, 6)}
"""Side of the frames, pixels -> positions of the two motors."""
GOALS = {150: "<= 30 us", 2048: "<= 25 ms"}


def cost(side: int) -> tuple[float, float]:
    """Seconds per frame, and for the images of all frames; the least of several."""
    slow, fast = STEPS[side]
    motors = (
        {"motor": "mu", "first": 0, "step": 0.032, "points": slow},
        {"motor": "chi", "first": 0, "step": 0.032, "points": fast},
    )
    gatherer = mosaicity.create(mosaicity.Config(motors=motors, keep_gb=0), Context(trouble=lambda text: None))
    image = np.random.default_rng(1).poisson(80, (side, side)).astype(np.uint16)
    scan = ScanStart("one", "one", (side, side), image.dtype, ("data",), None, Detector(), 0.0)
    payload = Payload(image.tobytes(), Encoding.RAW, (side, side), image.dtype)
    frames = [
        Frame("one", n, {"data": payload}, 0.0, readings={"mu": 0.032 * (n // fast), "chi": 0.032 * (n % fast)})
        for n in range(slow * fast - 1)  # one is left out: the images are made at the end
    ]
    work, best, images = Work(), np.inf, np.inf
    for _ in range(REPEATS):
        gatherer.start(scan, work)
        seconds = 0.0
        for frame in frames:
            work.take(frame)
            work.image()
            began = time.thread_time()
            gatherer.take(work)
            seconds += time.thread_time() - began
        began = time.thread_time()
        gatherer.finish(ScanEnd("one"))
        images = min(images, time.thread_time() - began)
        best = min(best, seconds / len(frames))
    return float(best), float(images)


def main() -> None:
    """Print the table."""
    rows = []
    for side, goal in GOALS.items():
        frame, images = cost(side)
        told = f"{1e6 * frame:.1f} us" if side < 1000 else f"{1e3 * frame:.1f} ms"
        rows.append((f"a frame of {side} x {side}", told, goal))
        rows.append((f"the images of {side} x {side} pixels, once", f"{1e3 * images:.1f} ms", ""))
    table("mosaicity: moments over two motors, beyond decoding, one core", rows)


if __name__ == "__main__":
    main()
