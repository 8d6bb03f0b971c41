"""From options, scan and bench to what an engine needs: geometry, what is wrong with the pixels, provenance."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pyFAI.units import RADIAL_UNITS

from processors.bragg import polar
from processors.bragg.options import Config
from processors.correction.making import make_correction, the_channel
from processors.correction.options import Config as Correct
from processors.shared.correction import Correction, Corrections
from processors.shared.geometry import from_poni
from processors.shared.poni import load
from stream.errors import ConfigError, InbeamError
from stream.events import Array, ScanStart
from stream.preflight import Problem
from stream.products import SparseFrames
from stream.work import Work


@dataclass(frozen=True, slots=True)
class Setting:
    """dark, norm: float32 (rows, columns) or None; norm = flat * solid angle * polarization, what x is divided by.

    densify: what a background must be multiplied with to become counts again: norm, float32, or None.
    limits: see `Recipe`. origin: where dark, flat and mask came from.
    """

    polar: polar.Polar
    dark: Array | None
    norm: Array | None
    densify: Array | None
    limits: tuple[float, float, float, float]
    origin: dict[str, str]


def make(config: Config, scan: ScanStart, work: Work) -> Setting:
    """Raises InbeamError if the files cannot be read or do not fit the scan."""
    text = from_poni(Path(config.poni), None, scan.detector, "sparsify.poni").poni
    geometry = load("sparsify.poni", config.poni, text, scan.shape)
    if config.unit in RADIAL_UNITS and "λ" in str(RADIAL_UNITS[config.unit].formula) and not geometry.wavelength:
        raise InbeamError(
            f"the unit {config.unit} needs the wavelength, and neither {config.poni} nor the header says it: add the "
            "line 'Wavelength: 1e-10' (in metres) to the file, or take r_mm or 2th_deg"
        )
    correction = _correction(config, scan, work)
    mask = _outline(correction)
    if config.mask is None:
        own = geometry.detector.mask
        if own is not None and own.shape == scan.shape:
            mask = mask | (np.asarray(own) != 0)
    bins = polar.set_up(
        geometry, scan.shape, bins=config.bins, unit=config.unit, mask=mask, radial_range=config.radial_range
    )
    if not (~correction.mask.ravel() & (bins.position >= 0)).any():
        raise ConfigError([_nothing_left(config, bins, correction)])
    norm = correction.flat
    unusable = correction.mask & ~mask
    if unusable.any():
        norm = _times(norm, ~unusable)
    if config.solidangle:
        norm = _times(norm, geometry.solidAngleArray(scan.shape))
    if config.polarization is not None:
        norm = _times(norm, geometry.polarization(scan.shape, factor=config.polarization))
    limits = (correction.low, correction.high, correction.dummy_low, correction.dummy_high)
    return Setting(bins, correction.dark, norm, norm, limits, dict(correction.origin))


def _nothing_left(config: Config, bins: polar.Polar, correction: Correction) -> Problem:
    radius = bins.radius[~correction.mask] * bins.unit_scale
    radius = radius[np.isfinite(radius)]
    if not radius.size:
        return "sparsify.mask", f"with the mask of the detector in {config.poni} no pixel is left: correct one of them"
    text = f"there is no pixel between {config.radial_range} {config.unit}; those that are not masked lie between "
    return "sparsify.radial_range", f"{text}{radius.min():.6g} and {radius.max():.6g}"


def sparse_frames(config: Config, made: Setting, device: str) -> SparseFrames:
    """Geometry and recipe as pyFAI stores them, so that its readers understand."""
    recipe: dict[str, Any] = {
        "dummy": config.dummy,
        "delta_dummy": config.delta_dummy,
        "safe": False,
        "error_model": config.error_model,
        "cutoff_clip": config.cutoff_clip,
        "cycle": config.cycle,
        "noise": config.noise,
        "cutoff_pick": config.cutoff_pick,
        "radial_range": list(made.polar.radial_range) if made.polar.radial_range else None,
        "cutoff_peak": config.cutoff_peak,
        "patch_size": config.peak_patch_size,
        "connected": config.peak_connected,
        "unit": made.polar.unit,
        "bins": config.bins,
        "engine": device.partition(":")[0],
        "flags": config.flags,
        **{f"{key}_file": text for key, text in made.origin.items()},
    }
    if config.polarization is not None:
        recipe["polarization_factor"] = config.polarization
    if config.solidangle:
        recipe["correctSolidAngle"] = True
    geometry = made.polar.geometry
    return SparseFrames(geometry.get_config(), recipe, _instrument(geometry), made.polar.unit, made.polar.unit_label)


def _instrument(geometry: Any) -> dict[str, Any]:
    """Metres, pixels, angstrom."""
    try:
        found = geometry.getFit2D()
        centre = {"beam_center_x": float(found["centerX"]), "beam_center_y": float(found["centerY"])}
    except Exception:  # a geometry that Fit2D cannot express: the file goes without
        centre = {}
    wavelength = geometry.wavelength
    return {
        "detector": str(geometry.detector.name).replace(" ", "_").replace("/", "_"),
        "distance": float(geometry.dist),
        "x_pixel_size": float(geometry.pixel2),
        "y_pixel_size": float(geometry.pixel1),
        "wavelength": None if wavelength is None else float(wavelength) * 1e10,
        **centre,
    }


def _correction(config: Config, scan: ScanStart, work: Work) -> Correction:
    """What `correct` left on the bench, and what our own options add or replace.

    Its limit of saturation is left aside: a saturated pixel is a Bragg peak all the more.
    """
    channel = the_channel(scan, config.channel)
    left = work.get(Corrections)
    earlier = left.by_channel.get(channel) if left is not None and left.uid == scan.uid else None
    own = make_correction(
        Correct(
            dark=config.dark,
            flat=config.flat,
            mask=config.mask,
            dummy=config.dummy,
            delta_dummy=config.delta_dummy or 0.0,
            use_detector_mask=earlier is None,
            use_detector_flat=earlier is None,
            saturation=None,
            flag_maximum=config.flags,
            flag_negative=config.flags,
        ),
        scan,
        channel,
        "sparsify",
    )
    if earlier is None:
        return own
    dummy = earlier if config.dummy is None else own
    return replace(
        earlier,
        mask=own.mask | earlier.mask,
        geometry_mask=_outline(own) | _outline(earlier),
        dark=earlier.dark if own.dark is None else own.dark,
        flat=earlier.flat if own.flat is None else own.flat,
        low=max(own.low, earlier.low),
        high=own.high,
        dummy_low=dummy.dummy_low,
        dummy_high=dummy.dummy_high,
        origin={**earlier.origin, **own.origin},
    )


def _outline(correction: Correction) -> Array:
    """The mask from which the bins take their range: without what dark and flat make unusable."""
    return correction.mask if correction.geometry_mask is None else correction.geometry_mask


def _times(norm: Array | None, factor: Array) -> Array:
    factor = np.asarray(factor, np.float32)
    return factor if norm is None else norm * factor
