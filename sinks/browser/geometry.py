"""Where a pixel lies, as pyFAI says it, and where the plane of a flat detector does."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger("inbeam.page")
PROBES = 9
"""Rows and columns of pixels that a detector is tried at: is it flat?"""
FLAT_PX = 1e-3
"""Pixels that may lie so much beside the plane."""


class Where:
    """Of one geometry, a .poni text; "" where none is known."""

    def __init__(self, poni: str) -> None:
        self._poni = poni
        self._geometry: Any = None

    def load(self) -> None:
        """Import pyFAI, read the geometry: takes a second or two."""
        if self._poni and self._geometry is None:
            try:
                self._geometry = _load(self._poni)
            except Exception as error:  # pyFAI raises whatever there is; the page then says nothing of angles
                log.error("the geometry cannot be read here: %s", error)

    def at(self, row: int, column: int) -> Mapping[str, float]:
        """Of the centre of a pixel: two_theta_deg, chi_deg and, where the wavelength is known, q_nm and d_angstrom.

        Nothing where no geometry is known, or not loaded yet.
        """
        if self._geometry is None:
            return {}
        place = np.array([float(row)]), np.array([float(column)])
        two_theta = float(self._geometry.tth(*place)[0])
        found = {"two_theta_deg": np.degrees(two_theta), "chi_deg": np.degrees(float(self._geometry.chi(*place)[0]))}
        if self._geometry.wavelength:
            q_nm = 4e-9 * np.pi / self._geometry.wavelength * np.sin(two_theta / 2)
            found |= {"q_nm": q_nm, "d_angstrom": 20 * np.pi / q_nm if q_nm else float("inf")}
        return {name: float(value) for name, value in found.items()}

    def plane(self, shape: tuple[int, int]) -> Mapping[str, Any] | None:
        """The plane of a flat detector of (rows, columns) pixels; None where no geometry is known, or it is not flat.

        origin, column, row: metres, (x, y, z) with z along the beam: the outer corner of the first pixel, and one pixel
        further in either direction. 2theta of a point is atan2(hypot(x, y), z), chi is atan2(y, x), as pyFAI has them.
        wavelength_angstrom: None where it is not known.
        """
        if self._geometry is None:
            return None
        rows, columns = (np.linspace(0, size - 1, PROBES).round() for size in shape)
        row, column = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
        z, y, x = (np.asarray(each).ravel() for each in self._geometry.calc_pos_zyx(d1=row, d2=column))
        matrix = np.stack([np.ones_like(row), column + 0.5, row + 0.5], axis=1)
        places = np.stack([x, y, z], axis=1)
        found, *_ = np.linalg.lstsq(matrix, places, rcond=None)
        beside = np.abs(matrix @ found - places).max()
        if not beside <= FLAT_PX * np.linalg.norm(found[1:], axis=1).min():
            return None
        wavelength = self._geometry.wavelength
        names = zip(("origin", "column", "row"), found.tolist(), strict=True)
        return {**dict(names), "wavelength_angstrom": wavelength * 1e10 if wavelength else None}


def _load(poni: str) -> Any:
    import pyFAI

    with tempfile.TemporaryDirectory(prefix="inbeam-page-") as folder:
        path = Path(folder) / "detector.poni"
        path.write_text(poni, encoding="utf-8")
        return pyFAI.load(str(path))
