"""Where a pixel lies, as pyFAI says it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Where:
    """Of one geometry, a .poni text; "" where none is known."""

    def __init__(self, poni: str) -> None:
        self._poni = poni
        self._geometry: Any = None

    def load(self) -> None:
        """Import pyFAI, read the geometry: takes a second or two."""
        if self._poni and self._geometry is None:
            self._geometry = _load(self._poni)

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


def _load(poni: str) -> Any:
    import pyFAI

    with tempfile.TemporaryDirectory(prefix="inbeam-page-") as folder:
        path = Path(folder) / "detector.poni"
        path.write_text(poni, encoding="utf-8")
        return pyFAI.load(str(path))
