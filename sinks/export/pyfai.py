"""A pattern as pyFAI itself saves one, so that `pyFAI.io.nexus.load_nexus` gives its Integrate1dResult back.

load_nexus cannot read a results file as it is: it takes the newest entry, knows no definition but NXmonopd and NXcanSAS
(an entry has one definition, and ours is NXazint1d), and expects one pattern with its sums, where a results file has
many patterns without; and it knows no result in two dimensions at all. So one pattern is written by pyFAI's own writer:
NXcanSAS in q, else NXmonopd.

The sums of a frame (signal, variance, normalization, pixels) are not in a results file, and do not follow from it: its
norm and count are those of the scan, before pixels that one frame has flagged. They are NaN, and so are the errors of
an NXmonopd without an error model, which load_nexus cannot do without.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sinks.export.results import Results
from stream.errors import InbeamError
from stream.events import Array


def nexus(results: Results, frame: int, axis: tuple[Array, str], intensity: Array, errors: Array | None) -> bytes:
    """The file of one pattern; `axis`: radial values (n,), unit. Raises InbeamError for what pyFAI has no place for."""
    configuration = results.parameters.get("configuration", {})
    if results.azimuthal is not None:
        raise InbeamError(
            f"{results.path}: {results.product} is a cake, and pyFAI's load_nexus reads patterns only: "
            "choose --format edf or tif"
        )
    if not results.poni or "unit" not in configuration:
        raise InbeamError(f"{results.path}: {results.product} is not of `integrate`: pyFAI needs a pattern's geometry")
    from pyFAI.containers import ErrorModel, Integrate1dResult  # takes a second to import
    from pyFAI.io.nexus import save_NXcansas, save_NXmonpd
    from pyFAI.io.ponifile import PoniFile
    from pyFAI.units import to_unit

    radial, unit = axis
    factor = _factor(results, frame, configuration)
    unknown = np.full(intensity.shape, np.nan)
    kept_in_q = unit.startswith("q_")
    if errors is None and not kept_in_q:
        errors = unknown
    made = Integrate1dResult(radial, intensity, errors)
    made._set_unit(to_unit(unit))
    made._set_sum_signal(unknown)
    made._set_sum_variance(None if errors is None else unknown)
    made._set_sum_normalization(unknown)
    made._set_sum_normalization2(unknown)
    made._set_count(unknown)
    made._set_sem(errors)
    made._set_compute_engine("inbeam")
    made._set_method_called("inbeam integrate")
    made._set_error_model(ErrorModel.parse(configuration.get("error_model")))
    made._set_weighted_average(True)
    made._set_polarization_factor(configuration.get("polarization"))
    made._set_normalization_factor(factor)
    made._set_has_mask_applied(bool(results.parameters.get("masked_pixels")))
    made._set_has_dark_correction(bool(results.parameters.get("dark_applied")))
    made._set_has_flat_correction(bool(results.parameters.get("flat_applied")))
    made._set_has_solidangle_correction(bool(configuration.get("solid_angle")))
    made._set_metadata({"scan": results.scan, "frame": frame, "file": results.path.name})
    with TemporaryDirectory(prefix="inbeam-") as folder:
        poni, path = Path(folder) / "pattern.poni", Path(folder) / "pattern.nxs"
        poni.write_text(results.poni, encoding="utf-8")
        made._set_poni(PoniFile(data=str(poni)))
        save = save_NXcansas if kept_in_q else save_NXmonpd
        save(str(path), made, title=f"{results.scan} frame {frame}")
        return path.read_bytes()


def _factor(results: Results, frame: int, configuration: Mapping[str, Any]) -> float:
    """What pyFAI calls the normalization factor: it divides the pattern."""
    if not configuration.get("normalize_by_monitor"):
        return 1.0
    return float(results.monitor[frame]) / float(results.option("monitor_reference", frame))
