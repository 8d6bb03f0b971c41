"""The filter of filtered back-projection: the ramp, sampled in space, with a choice of windows.

The ramp is that of Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), eq. 3.61: 1/4 in the middle,
-1 / (pi n)^2 at odd n. Sampled in space it keeps the mean of a slice, which a ramp that is sampled in frequency loses.
"""

from typing import Literal, TypeAlias, get_args

import numpy as np

from stream.events import Array

Window: TypeAlias = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]
WINDOWS: tuple[Window, ...] = get_args(Window)


def response(columns: int, window: Window = "ramp") -> Array:
    """Of a filter for projections of so many columns: float64 (n / 2 + 1,), n >= 2 columns, so that nothing wraps.

    f is in parts of the Nyquist frequency. ramp: 1; shepp-logan: sin(pi f / 2) / (pi f / 2); cosine: cos(pi f / 2);
    hamming: 0.54 + 0.46 cos(pi f); hann: (1 + cos(pi f)) / 2.
    """
    length = fast_length(2 * columns)
    place = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = place % 2 == 1
    kernel[odd] = -1.0 / (np.pi * place[odd]) ** 2
    frequency = np.linspace(0.0, 1.0, length // 2 + 1)
    windows = {
        "ramp": np.ones_like(frequency),
        "shepp-logan": np.sinc(frequency / 2),
        "cosine": np.cos(np.pi * frequency / 2),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * frequency),
        "hann": 0.5 + 0.5 * np.cos(np.pi * frequency),
    }
    found: Array = np.fft.rfft(kernel).real * windows[window]
    return found


def filtered(sinogram: Array, response: Array) -> Array:
    """sinogram (angles, columns[, slices]) -> the same shape in float64, each projection filtered."""
    columns = sinogram.shape[1]
    length = 2 * (len(response) - 1)
    spectrum = np.fft.rfft(sinogram, length, axis=1)
    spectrum *= response.reshape(1, -1, *(1 for _ in sinogram.shape[2:]))
    found: Array = np.fft.irfft(spectrum, length, axis=1)[:, :columns]
    return found


def fast_length(least: int) -> int:
    """The smallest even number from `least` on that is a product of 2, 3 and 5."""
    length = max(least, 2)
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and length % 2 == 0:
            return length
        length += 1
