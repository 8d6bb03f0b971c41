"""Phase retrieval from one distance, for a sample of one material.

D. Paganin, S. C. Mayo, T. E. Gureyev, P. R. Miller, S. W. Wilkins, J. Microsc. 206 (2002) 33, eq. 10: in the Fourier
space of the image, I / (1 + z (delta / mu) k^2) with mu = 4 pi beta / wavelength and k = 2 pi f, that is
I / (1 + pi wavelength z (delta / beta) f^2). What comes out is a transmission again: exp(-mu thickness).
"""

import numpy as np

from processors.tomography.filters import fast_length
from stream.events import Array

PLANCK_LIGHT_KEV_M = 1.239841984e-9
"""h c in keV m (CODATA 2018)."""


class Paganin:
    """The filter for images of one shape."""

    def __init__(
        self, shape: tuple[int, int], *, pixel_m: float, distance_m: float, energy_kev: float, delta_beta: float
    ) -> None:
        wavelength = PLANCK_LIGHT_KEV_M / energy_kev
        strength = np.pi * wavelength * distance_m * delta_beta / pixel_m**2
        """Per (cycle per pixel)^2."""
        reach = int(np.ceil(4 * np.sqrt(strength) / (2 * np.pi))) + 1  # the filter is exp(-r / w) there, w = its width
        self._shape = shape
        self._before = tuple(min(reach, length - 1) for length in shape)
        full = tuple(fast_length(length + 2 * more) for length, more in zip(shape, self._before, strict=True))
        self._behind = tuple(
            whole - length - more for whole, length, more in zip(full, shape, self._before, strict=True)
        )
        f_rows, f_columns = np.fft.fftfreq(full[0]), np.fft.rfftfreq(full[1])
        squared = f_rows[:, None] ** 2 + f_columns[None, :] ** 2
        self._filter = (1.0 / (1.0 + strength * squared)).astype(np.float32)

    def __call__(self, transmission: Array) -> Array:
        """float32 (rows, columns), transmission before and behind. Edges go on as they are, for four widths of the
        filter. Raises ValueError for a NaN: it would spread over the whole image."""
        if not np.isfinite(transmission).all():
            raise ValueError("phase retrieval needs a number in every pixel: mend the image first")
        wide = np.pad(
            np.asarray(transmission, np.float32), tuple(zip(self._before, self._behind, strict=True)), mode="edge"
        )
        smooth = np.fft.irfft2(np.fft.rfft2(wide) * self._filter, wide.shape)
        (top, left), (rows, columns) = self._before, self._shape
        return smooth[top : top + rows, left : left + columns].astype(np.float32)
