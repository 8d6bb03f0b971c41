"""What a scan of moments begins with: the region that is taken, and how raw counts become signals."""

import numpy as np

from processors.correction.images import averaged, same_shape
from processors.moments.options import Config
from processors.moments.sums import Signal
from processors.shared.correction import Correction
from stream.errors import ConfigError


def region_of(config: Config, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the frame that are taken. Raises ConfigError where they reach beyond the frame."""
    if config.roi is None:
        return slice(0, shape[0]), slice(0, shape[1])
    (x, y), (width, height) = config.roi.center, config.roi.size
    left, top = x - width // 2, y - height // 2
    if left < 0 or top < 0 or left + width > shape[1] or top + height > shape[0]:
        text = f"columns {left} to {left + width - 1}, rows {top} to {top + height - 1} are not all on the frames"
        raise ConfigError([(f"{config.name}.roi", f"{text} of {shape} (rows, columns): correct center and size")])
    return slice(top, top + height), slice(left, left + width)


def signal_for(config: Config, correction: Correction, cut: tuple[slice, slice]) -> Signal:
    """signal = (raw - background) / flat. Raises ConfigError for a dark and a background, which are the same thing."""
    shape = correction.shape
    offset = np.full(shape, config.background)
    if config.background_files:
        key = f"{config.name}.background_files"
        if correction.dark is not None:
            raise ConfigError([(key, "`correct` subtracts a dark already: leave one of them out")])
        images = [same_shape(key, name, averaged(key, name).pixels, shape) for name in config.background_files]
        offset += np.mean(images, axis=0)
    if correction.dark is not None:
        offset += correction.dark
    gain = np.ones(shape) if correction.flat is None else 1.0 / np.where(correction.mask, 1.0, correction.flat)
    mask = correction.mask | ~np.isfinite(offset)
    largest = float(np.finfo(np.float64).max)  # inf is bad
    limits = [max(correction.low, -largest), min(correction.high, largest), correction.dummy_low, correction.dummy_high]
    limits.append(-np.inf if config.threshold is None else config.threshold)
    return Signal(
        np.where(mask, 0.0, offset)[cut].ravel(),
        np.where(mask, 0.0, gain)[cut].ravel(),
        np.array(limits, np.float64),
        mask[cut].ravel(),
    )
