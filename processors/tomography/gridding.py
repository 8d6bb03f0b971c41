"""Filtered back-projection by way of a grid in Fourier space, to which projections are added one by one.

The Fourier transform of a projection is a line through the middle of that of the slice. It is filtered, weighted by the
angle that it stands for, and spread onto the points of a grid around it; the slice is one transform back. So a slice
grows with a scan at the price of a few lines, and live and final pictures are one algorithm. What comes out is
back-projection with the interpolation of an ideal band limit, not a linear one: sharper, else the same numbers.

The lines are spread with the Kaiser-Bessel window: J. I. Jackson, C. H. Meyer, D. G. Nishimura, A. Macovski, IEEE
Trans. Med. Imaging 10 (1991) 473; its shape parameter for a grid that is finer than need be: P. J. Beatty, D. G.
Nishimura, J. M. Pauly, IEEE Trans. Med. Imaging 24 (2005) 799, eq. 5. The way of tomopy's gridrec (B. A. Dowd et al.,
Proc. SPIE 3772 (1999) 224) is the same but for the window.
"""

from pathlib import Path

import numpy as np

from processors.shared.announce import announce
from processors.tomography import filters
from processors.tomography.angles import weights_of
from processors.tomography.filters import Window, fast_length
from stream.codec.compiler import kernel
from stream.events import Array

WIDTH = 5
"""Points of the grid, in each direction, that a point of a line goes to."""
FINER = 1.5
"""The grid reaches so many times beyond the picture."""
MARGIN = WIDTH // 2 + 1
STEPS = 512
"""Of the window's table, from one point of the grid to the next."""


class Gridded:
    """One slice. columns: of a projection. size: pixels along a side of the picture, by default the columns."""

    def __init__(self, columns: int, size: int | None = None, window: Window = "ramp") -> None:
        self.size = columns if size is None else size
        self._response = filters.response(columns, window).astype(np.float32)
        self._length = 2 * (len(self._response) - 1)
        self._response /= np.float32(self._length)
        self._response[[0, -1]] /= 2  # all others stand for their negative frequency too
        self._points = fast_length(int(np.ceil(FINER * max(self.size, columns))) + WIDTH)
        beta = np.pi * np.sqrt((WIDTH / FINER) ** 2 * (FINER - 0.5) ** 2 - 0.8)
        self._table = _window(beta)
        self._sharpened = _inverse_of_the_windows_transform(self._points, self.size, beta)
        self._grid = np.zeros((self._points, self._points // 2 + 1 + 2 * MARGIN), np.complex64)

    def clear(self) -> None:
        """Begin again."""
        self._grid[:] = 0

    def add(self, projections: Array, angles_deg: Array, centre: float, weights: Array) -> None:
        """projections (n, columns), finite; angles (n,); centre: column of the axis; weights (n,), radian: what each
        angle stands for. A projection of weight -w takes away what it gave with w."""
        spectrum = np.fft.rfft(np.asarray(projections, np.float32), self._length, axis=1)
        radian = np.deg2rad(np.asarray(angles_deg, np.float64))
        cosine, sine = np.cos(radian), np.sin(radian)
        half = 0.5 if self.size % 2 == 0 else 0.0
        shift = 2 * np.pi / self._length * (centre + half * (cosine + sine))
        share = np.asarray(weights, np.float64)
        step = self._points / self._length
        _spread(self._grid, spectrum, self._response, share, cosine * step, sine * step, shift, self._table)

    def slice(self) -> Array:
        """float32 (size, size): the picture of what has been added; per column, as that of `backprojection.fbp`."""
        from scipy import fft

        half = self._points // 2
        spectrum = np.empty((self._points, half + 1), np.complex64)
        _fold(self._grid, spectrum)
        low, high = self.size // 2, self.size - self.size // 2
        part = fft.ifft(spectrum, axis=0, overwrite_x=True, norm="forward")
        rows = np.concatenate([part[self._points - low :], part[:high]])
        picture = fft.irfft(rows, self._points, axis=1, overwrite_x=True, norm="forward")
        found = np.concatenate([picture[:, self._points - low :], picture[:, :high]], axis=1)
        found *= self._sharpened[:, None]
        found *= self._sharpened[None, :]
        return found


def fbp(
    sinogram: Array,
    angles_deg: Array,
    *,
    centre: float | None = None,
    weights: Array | None = None,
    window: Window = "ramp",
    size: int | None = None,
) -> Array:
    """sinogram (angles, columns) -> float32 (size, size); the arguments are those of `backprojection.fbp`."""
    columns = sinogram.shape[1]
    share = weights_of(angles_deg) if weights is None else np.asarray(weights)
    used = np.flatnonzero(share)
    gridded = Gridded(columns, size, window)
    axis = (columns - 1) / 2 if centre is None else centre
    gridded.add(sinogram[used], np.asarray(angles_deg)[used], axis, share[used])
    return gridded.slice()


def compile_kernels() -> None:
    """Before the frames come; some seconds the first time on a machine."""
    announce("the kernels for slices", folder=Path(__file__).parent)
    fbp(np.zeros((1, 4)), np.zeros(1))


def _window(beta: float) -> Array:
    """float32 (WIDTH / 2 * STEPS + 2,): Kaiser-Bessel at distances 0, 1 / STEPS ... of a point of the grid."""
    part = np.minimum(np.arange(WIDTH * STEPS // 2 + 2) / (WIDTH * STEPS / 2), 1.0)
    found: Array = (np.i0(beta * np.sqrt(1 - part**2)) / WIDTH).astype(np.float32)
    found[-1] = 0
    return found


def _inverse_of_the_windows_transform(points: int, size: int, beta: float) -> Array:
    """float32 (size,), for the rows of a picture and for its columns."""
    place = np.arange(size) - size // 2
    root = np.sqrt((beta**2 - (np.pi * WIDTH * place / points) ** 2).astype(np.complex128))
    found: Array = (1.0 / np.sinc(root / (1j * np.pi)).real).astype(np.float32)
    return found


@kernel(fastmath={"contract", "nsz", "arcp"})
def _spread(grid, spectrum, response, weights, cosine, sine, shift, table):  # type: ignore[no-untyped-def]
    """grid: rows are frequencies along y, as an FFT orders them; columns those along x from -MARGIN on."""
    points = grid.shape[0]
    across, down = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32)
    for number in range(len(cosine)):
        right, sign = (1.0, 1.0) if cosine[number] >= 0 else (-1.0, -1.0)
        step_x, step_y = right * cosine[number], right * sine[number]
        turn_real, turn_imag = np.cos(shift[number]), np.sin(shift[number])
        phase_real, phase_imag = weights[number], 0.0
        for place in range(spectrum.shape[1]):
            value = spectrum[number, place]
            real = (value.real * phase_real - value.imag * phase_imag) * response[place]
            imag = (value.real * phase_imag + value.imag * phase_real) * response[place] * sign
            phase_real, phase_imag = (
                phase_real * turn_real - phase_imag * turn_imag,
                phase_real * turn_imag + phase_imag * turn_real,
            )
            x, y = place * step_x, place * step_y
            left, top = int(np.ceil(x - WIDTH / 2)), int(np.ceil(y - WIDTH / 2))
            for each in range(WIDTH):
                off = abs(x - (left + each)) * STEPS
                before = int(off)
                part = np.float32(off - before)
                across[each] = table[before] + (table[before + 1] - table[before]) * part
                off = abs(y - (top + each)) * STEPS
                before = int(off)
                part = np.float32(off - before)
                down[each] = table[before] + (table[before + 1] - table[before]) * part
            one = np.complex64(complex(real, imag))
            for each in range(WIDTH):
                row = top + each
                if row < 0:
                    row += points
                line = one * down[each]
                for other in range(WIDTH):
                    grid[row, left + other + MARGIN] += line * across[other]


@kernel
def _fold(grid, spectrum):  # type: ignore[no-untyped-def]
    """What was spread lies to the right; the other half is its mirror image, conjugate."""
    points, half = spectrum.shape[0], spectrum.shape[1] - 1
    for row in range(points):
        mirrored = (points - row) % points
        for column in range(half + 1):
            spectrum[row, column] = grid[row, column + MARGIN]
        for column in range(MARGIN + 1):
            spectrum[row, column] += np.conj(grid[mirrored, MARGIN - column])
            spectrum[row, half - column] += np.conj(grid[mirrored, half + column + MARGIN])
