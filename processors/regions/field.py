"""Radius and azimuth of every pixel, where a region asks for them: made once per scan and kept on disk."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from processors.shared import cache, geometry
from processors.shared.poni import load
from stream.errors import ConfigError
from stream.events import Array, ScanStart
from stream.versions import version


class Rays:
    """Of one scan. key: the processor's name, for messages."""

    def __init__(self, key: str, poni: Path | None, wavelength_angstrom: float | None, scan: ScanStart) -> None:
        self._key, self._poni, self._wavelength, self._scan = key, poni, wavelength_angstrom, scan
        self._known: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def center(self) -> tuple[float, float]:
        """Where the header says that the beam is, (x, y) in pixels. Raises ConfigError if it does not."""
        detector = self._scan.detector
        if detector.beam_center_x_px is None or detector.beam_center_y_px is None:
            text = f"the header of scan {self._scan.name} does not say where the beam is: give the ring a center (x, y)"
            raise ConfigError([(f"{self._key}.regions", text)])
        return detector.beam_center_x_px, detector.beam_center_y_px

    def poni(self) -> str:
        """The geometry as text of a .poni; "" where none is known."""
        try:
            return self._geometry().poni
        except ConfigError:
            return ""

    def of(self, unit: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(radius in `unit`, chi in degrees) at the middle of every pixel, (rows, columns), as pyFAI has them.

        Raises ConfigError if the geometry or the wavelength is not known.
        """
        if unit not in self._known:
            where = self._geometry()
            try:
                geometry.check_wavelength(where, unit)
            except ConfigError as error:
                raise ConfigError([(f"{self._key}.wavelength_angstrom", error.problems[0][1])]) from error
            about = {
                "rays": unit,
                "poni": where.essence,
                "files": geometry.files_of(where),
                "shape": self._scan.shape,
                "pyFAI": version("pyFAI"),
            }
            found = cache.prepared(cache.key_of(about), lambda: self._make(where, unit), "the radius of every pixel")
            self._known[unit] = found["radius"], found["chi"]
        return self._known[unit]

    def _geometry(self) -> geometry.Geometry:
        detector, options = self._scan.detector, {"wavelength_angstrom": self._wavelength}
        if self._poni is not None:
            return geometry.from_poni(self._poni, self._wavelength, detector, f"{self._key}.poni")
        try:
            return geometry.from_header(options, detector, self._scan.shape)
        except ConfigError as error:
            missing = ", ".join(path.rsplit(".", 1)[1] for path, _ in error.problems)
            text = f"the header of scan {self._scan.name} does not say {missing}: give a .poni file"
            raise ConfigError([(f"{self._key}.poni", text)]) from error

    def _make(self, where: geometry.Geometry, unit: str) -> dict[str, Array]:
        name = where.origin.get("geometry", "of the header")
        integrator = load(f"{self._key}.poni", name, where.poni, self._scan.shape)
        return {
            "radius": np.asarray(integrator.center_array(self._scan.shape, unit=unit, scale=True), np.float64),
            "chi": np.asarray(integrator.center_array(self._scan.shape, unit="chi_deg", scale=True), np.float64),
        }
