"""What the sums of one omega say: field -> array (rows, columns ...) of each product, as `Layout` declares them."""

from collections.abc import Mapping

import numpy as np

from processors.moments import colours, kernels
from processors.moments.layout import Layout
from processors.moments.options import Config
from processors.moments.sums import Group, Signal, positions_of_peaks
from stream.events import Array

FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


def of_group(
    group: Group, layout: Layout, signal: Signal, config: Config
) -> tuple[Mapping[str, Array], Mapping[str, Array], Mapping[str, Array]]:
    """Moments and peaks in full precision; the pictures; the colours."""
    found = _images(group, layout, signal, config)
    cells = np.full(layout.positions.shape, -1, np.int64)
    cells.flat[list(group.frames)] = list(group.frames.values())
    shaped = {name: values.reshape(layout.shape) for name, values in found.items()}
    images = {**shaped, "frame_index": cells, "frames": np.array(len(group.frames), np.int32)}
    pictures = {f"width_{name}": shaped[f"width_{name}"].astype(np.float32) for name in layout.motors}
    return images, {"intensity": shaped["sum"].astype(np.float32), **pictures}, _colours(found, layout)


def _images(group: Group, layout: Layout, signal: Signal, config: Config) -> dict[str, Array]:
    motors, pairs = layout.positions.motors, layout.pairs()
    steps = np.array([motor.direction.step for motor in motors])
    middles = np.array([motor.middle for motor in motors])
    sums, maximum = group.above_background()
    good = ~signal.mask & (group.bad <= config.bad_frames) & (group.bad < len(group.frames))
    sums = np.where(good, sums, np.nan)
    centre, skew, kurtosis = (np.empty((len(motors), good.size)) for _ in range(3))
    covariance = np.empty((len(pairs), good.size))
    kernels.derive(sums, steps, middles, config.min_sum, centre, covariance, skew, kurtosis)
    peaks = positions_of_peaks(group.peak, list(group.where), list(group.where.values()))
    there = np.isfinite(centre[0]) & (maximum > 0)
    found = {"sum": sums[0], "maximum": np.where(good, maximum, np.nan), "bad_frames": group.bad.copy()}
    found |= dict(zip(pairs, covariance, strict=True))
    for place, name in enumerate(layout.motors):
        found[f"com_{name}"], found[f"skew_{name}"] = centre[place], skew[place]
        found[f"kurtosis_{name}"] = kurtosis[place]
        found[f"width_{name}"] = FWHM * np.sqrt(found[f"cov_{name}_{name}"])
        found[f"peak_{name}"] = np.where(there, middles[place] + steps[place] * peaks[place], np.nan)
    return found


def _colours(images: Mapping[str, Array], layout: Layout) -> Mapping[str, Array]:
    centre = np.array([images[f"com_{name}"] for name in layout.motors])
    steps = [motor.direction.step for motor in layout.positions.motors]
    middle, radius = colours.scale(centre, images["sum"], steps)
    colour = colours.orientation(centre, middle, radius).reshape(*layout.shape, 3)
    return {"orientation": colour, "colour_middle": middle, "colour_radius": radius}
