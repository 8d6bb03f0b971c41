"""Azimuthal integration, 1D and 2D (cake): what pyFAI's integrate1d and integrate2d give, as fast as the memory allows.

The geometry and the share of every pixel in every bin are pyFAI's; the work per frame is one pass over the raw counts
that corrects, masks and sums at once.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from processors.correct import correction_for, the_channel
from processors.integration.cpu import CpuEngine, totals_of
from processors.integration.emptiness import why_empty
from processors.integration.matrix import Matrix, edges, matrix_for
from processors.integration.opencl import OpenClEngine
from processors.integration.options import Config
from processors.integration.plan import IntegrationEngine, Plan, make_plan
from processors.integration.request import Request
from processors.shared import geometry
from processors.shared.correction import Correction
from processors.shared.derived import Derived, pixel_type
from processors.shared.device import Device
from processors.shared.device_frames import Desk
from processors.shared.engine import start as start_engine
from stream.context import ALONE, Context
from stream.errors import ConfigError, InbeamError
from stream.events import Array, Frame, Payload, ScanEnd, ScanStart
from stream.products import Axis, Field, Product, Reduction
from stream.versions import version
from stream.work import Work

log = logging.getLogger("inbeam")


def create(config: Config, context: Context = ALONE) -> "Integrate":
    """The processor for a validated configuration."""
    return Integrate(config)


class Integrate:
    """One per worker. The matrix is shared between workers through the disk cache's memory map."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._engine: IntegrationEngine | None = None
        self._undecoded: CpuEngine | None = None
        """The engine where it can do without the pixels."""
        self._channel = ""
        self._sent = True
        """The detector sends the channel: no other processor makes it."""
        self._scan: ScanStart | None = None
        self._correction: Correction
        self._dtype = np.dtype(np.uint32)

    @property
    def pixels_of(self) -> tuple[str, ...]:
        """The channel that is integrated, unless it is while it is decompressed, or decoded on a device."""
        return () if self._undecoded is not None or isinstance(self._engine, OpenClEngine) else (self._channel,)

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Prepare matrix and kernels for this scan. Raises ConfigError if geometry or corrections do not fit it."""
        config = self.config
        derived = Derived.of(work, scan)
        self._scan, self._channel = scan, the_channel(scan, config.channel, derived.dtypes)
        self._dtype = pixel_type(work, scan, self._channel)
        if config.error_model == "poisson" and self._channel in derived.dtypes:
            text = f"{self._channel} is a formula of counts, not counts: choose azimuthal, or none"
            raise ConfigError([(f"{config.name}.error_model", text)])
        correction = self._correction = correction_for(work, scan, self._channel)
        key = ("plan", scan.uid, self._channel, config.model_dump_json())
        request, matrix, plan = work.once(key, lambda: self._plan(scan, correction))
        dtype = self._dtype
        cpu = CpuEngine(plan, dtype, work.once((*key, "totals"), lambda: totals_of(plan)))
        if not cpu.count.any():
            raise ConfigError(why_empty(request, correction))
        desk = Desk.of(work)

        def on_device(device: Device) -> OpenClEngine:
            return OpenClEngine(plan, dtype, device, lambda: desk.frames(device, self._channel, scan.shape, dtype))

        self._engine, where = start_engine("integrate.device", config.device, lambda: cpu, on_device)
        self._undecoded = cpu if self._engine is cpu and cpu.by_blocks else None
        self._sent = self._channel not in derived.dtypes
        return (self._product(matrix, request, correction, cpu, where),)

    def process(self, work: Work) -> None:
        """Integrate the frame in hand."""
        assert self._engine is not None and self._scan is not None, "start comes first"
        frame, options = work.frame, work.options(self.config)
        payload = self._sufficient(work)
        if payload is not None and self._undecoded is not None:
            self._undecoded.add_packed(payload)
            intensity, errors = self._undecoded.result(self._factor(frame, options))
        elif isinstance(self._engine, OpenClEngine):
            payload = frame.payloads.get(self._channel) if self._sent else None
            intensity, errors = self._engine.compute(payload, lambda: self._image(work), self._factor(frame, options))
        else:
            intensity, errors = self._engine.run(self._image(work), self._factor(frame, options))
        self._refuse_nothing(intensity, work)
        shape = (self.config.npt_azimuthal, self.config.npt) if self.config.npt_azimuthal else (self.config.npt,)
        result = {"I": intensity.reshape(shape)}
        if errors is not None:
            result["I_errors"] = errors.reshape(shape)
        work.results[self.config.name] = result

    def finish(self, end: ScanEnd) -> None:
        """Free the tables of this scan."""
        self._engine = self._undecoded = None

    def _sufficient(self, work: Work) -> Payload | None:
        """The payload where it can be integrated while it is decompressed, and nobody needs its pixels anyway."""
        assert self._scan is not None
        payload = work.frame.payloads.get(self._channel)
        if payload is None or self._undecoded is None or work.will_decode(self._channel):
            return None
        return payload if payload.shape == self._scan.shape and self._undecoded.takes(payload) else None

    def _image(self, work: Work) -> Array:
        image, scan = work.image(self._channel), self._scan
        assert scan is not None
        if image.shape != scan.shape or image.dtype != self._dtype:
            raise ValueError(
                f"frame {work.frame.index} is {image.dtype} {image.shape}, but its scan began as {self._dtype} "
                f"{scan.shape}: check the detector's settings"
            )
        return image

    def _refuse_nothing(self, intensity: Array, work: Work) -> None:
        """A frame without any valid pixel has no pattern: it is not one of NaN, or of zeros. Raises ValueError."""
        empty = self.config.empty
        suspicious = np.isnan(intensity) if np.isnan(empty) else intensity == empty
        if suspicious.all() and (np.isnan(empty) or self._correction.bad(work.image(self._channel)).all()):
            raise ValueError(
                f"frame {work.frame.index} has no valid pixel in the range: all are masked, or flagged, saturated or "
                "dummy in this frame; look at the detector, or at the options of `correct`"
            )

    def _plan(self, scan: ScanStart, correction: Correction) -> tuple[Request, Matrix, Plan]:
        """What the workers have in common, which is nearly all that has the size of a frame."""
        config, request = self.config, self._request(scan)
        bad = correction.mask if correction.geometry_mask is None else correction.geometry_mask
        matrix = matrix_for(request, bad)
        dark_variance = config.npt_azimuthal is not None and config.splitting != "full"
        return request, matrix, make_plan(matrix, correction, config.error_model, config.empty, dark_variance)

    def _request(self, scan: ScanStart) -> Request:
        config = self.config
        if config.poni is not None:
            where = geometry.from_poni(config.poni, config.wavelength_angstrom, scan.detector)
        else:
            where = geometry.from_header(config.model_dump(), scan.detector, scan.shape)
        unit = config.radial(wavelength_known=bool(where.value("Wavelength")))
        geometry.check_wavelength(where, unit)
        return Request(
            geometry=where,
            shape=scan.shape,
            unit=unit,
            npt=1 if config.along_ring else config.npt,
            npt_azimuthal=config.npt if config.along_ring else config.npt_azimuthal,
            radial_range=config.radial_range,
            azimuth_range=config.azimuth_range,
            splitting=config.splitting,
            solid_angle=config.solid_angle,
            polarization=config.polarization,
            sharp=config.along_ring,
        )

    def _factor(self, frame: Frame, config: Config) -> float:
        if not config.normalize_by_monitor:
            return 1.0
        factor = frame.monitor / config.monitor_reference
        if not (np.isfinite(factor) and factor > 0):
            raise InbeamError(
                f"frame {frame.index} has the monitor reading {frame.monitor}: say with `monitor` of the stream which "
                "reading it is, or set normalize_by_monitor: false"
            )
        return factor

    def _product(
        self, matrix: Matrix, request: Request, correction: Correction, cpu: CpuEngine, device: str
    ) -> Product:
        config = self.config
        axes = _axes(config, matrix)
        shape = tuple(len(axis.values) for axis in axes)
        fields = [Field("I", shape, np.dtype(np.float32), "arbitrary units", "intensity")]
        if config.error_model != "none":
            fields.append(Field("I_errors", shape, np.dtype(np.float32), "arbitrary units", "standard error of I"))
        wavelength = request.geometry.value("Wavelength")
        parameters: dict[str, Any] = {
            "configuration": json.loads(config.model_dump_json()),
            "poni": request.geometry.poni,
            "geometry_from": dict(request.geometry.origin),
            "corrections_from": dict(correction.origin),
            "dark_applied": correction.dark is not None,
            "flat_applied": correction.flat is not None,
            "masked_pixels": int(correction.mask.sum()),
            "channel": self._channel,
            "pyFAI_version": version("pyFAI"),
        }
        return Product(
            name=config.name,
            fields=tuple(fields),
            signal="I",
            axes=tuple(axes),
            constants={"norm": cpu.norm.reshape(shape), "count": cpu.count.reshape(shape)},
            parameters=parameters,
            device=device,
            reduction=Reduction(
                "NXazint2d" if config.npt_azimuthal else "NXazint1d",
                None if wavelength is None else wavelength * 1e10,
                config.solid_angle,
                config.polarization is not None,
                monitor_applied=config.normalize_by_monitor,
                poni=request.geometry.poni,
                radial_unit="" if config.along_ring else config.unit,
            ),
        )


def _axes(config: Config, matrix: Matrix) -> list[Axis]:
    if config.along_ring:
        unit = geometry.AZIMUTHAL_UNITS[config.unit]
        chi = np.radians(matrix.azimuthal) if config.unit == "chi_rad" else matrix.azimuthal
        return [Axis("azimuthal_axis", chi, unit.symbol, unit.long_name, edges(chi))]
    unit = geometry.UNITS[config.unit]
    axes = [Axis("radial_axis", matrix.radial, unit.symbol, unit.long_name, edges(matrix.radial))]
    if config.npt_azimuthal:
        axes.insert(0, Axis("azimuthal_axis", matrix.azimuthal, "degrees", "eta", edges(matrix.azimuthal)))
    return axes
