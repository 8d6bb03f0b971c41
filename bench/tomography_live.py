"""Live slices of the gatherer `tomography`: what a projection costs it, and a picture.

    python bench/tomography_live.py [--size 1024] [--angles 600] [--rows 64]

CPU time of its thread, near the end of a scan: per projection (its rows taken and kept, divided by the flat, filtered
and put onto the grid of each slice, with all weights), and per picture, of which there are as many as a fifth of the
time allows. Frames are not decoded: that is the workers'.
"""

import argparse
import time

import numpy as np
from common import table

from processors import tomogram
from stream import Encoding, Frame, Payload, Work
from stream.events import Array, Detector
from stream.testing import examples

SOME = 100
"""Projections that are measured, the last ones."""
ROUNDS = 3


def projections(size: int, rows: int, angles: Array) -> Array:
    """uint16 (angles, rows, size): a disc off the axis."""
    place = np.arange(size) - (size - 1) / 2
    off = place[None, :] - 0.3 * size / 2 * np.cos(np.deg2rad(angles))[:, None]
    lines = 2 / size * np.sqrt(np.maximum((0.4 * size / 2) ** 2 - off**2, 0.0))
    found: Array = np.repeat((40_000 * np.exp(-lines) + 100).astype("u2")[:, None], rows, axis=1)
    return found


def live(images: Array, angles: Array, flat: Array, **options: object) -> tuple[float, float]:
    """Seconds of CPU per projection, and per picture."""
    shape = (images.shape[1], images.shape[2])
    config = tomogram.Config(turn={"angles": (0.0, *angles.tolist())}, picture_s=3600.0, **options)
    gatherer, work = tomogram.create(config), Work()
    given = {"shape": shape, "dtype": np.dtype("u2"), "readings": {"image_key": ""}, "detector": Detector()}
    gatherer.start(examples.scan("one", len(angles) + 1, **given), work)
    packed = {examples.CHANNEL: Payload(b"", Encoding.RAW, shape, np.dtype("u2"))}

    def take(index: int, image: Array, key: float) -> None:
        work.take(Frame("one", index, packed, 0.0, readings={"image_key": key}))
        work.derive(examples.CHANNEL, image)
        list(gatherer.take(work))

    take(0, flat, 1.0)
    before = len(images) - SOME
    for index in range(before):
        take(index + 1, images[index], 0.0)
    made = gatherer._tomogram
    assert made is not None
    made.pieces(seconds=60)
    began = time.thread_time()
    made.pieces(seconds=60)
    picture = time.thread_time() - began
    began = time.thread_time()
    for index in range(before, len(images)):
        take(index + 1, images[index], 0.0)
    made.pieces(seconds=60)
    return (time.thread_time() - began - picture) / SOME, picture


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--angles", type=int, default=600)
    parser.add_argument("--rows", type=int, default=64)
    options = parser.parse_args()
    angles = np.arange(options.angles) * 180.0 / options.angles
    images = projections(options.size, options.rows, angles)
    flat = np.full(images.shape[1:], 40_100, "u2")
    bare = {"keep": False, "vertical": False, "centre": (options.size - 1) / 2}
    rows = []
    for name, count, goal, given in (
        ("one slice", 1, "<= 0.12 ms", bare),
        ("eight slices, per slice", 8, "<= 0.12 ms", bare),
        ("one slice, the axis, vertical planes, projections kept", 1, "", {}),
    ):
        chosen = {"slices": tuple(range(count)), "most": count, **given}
        found = [live(images, angles, flat, **chosen) for _ in range(ROUNDS)]
        each, picture = (min(column) / count for column in zip(*found, strict=True))
        rows.append((name, f"{1e3 * each:.3f} ms; a picture {1e3 * picture:.1f} ms", goal))
    table(f"live: {options.size} columns, {options.angles} projections of {options.rows} rows, per projection", rows)


if __name__ == "__main__":
    main()
