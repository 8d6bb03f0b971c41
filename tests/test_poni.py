"""A .poni as pyFAI reads it: every orientation, with and without a shape, and what cannot be a geometry."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bragg_frames import sparsified
from integration_frames import PONI, SHAPE, assert_agrees, by_pyfai, rings, run, uncertain_in_pyfai

from processors.shared.geometry import from_poni
from processors.shared.poni import load
from stream.errors import ConfigError
from stream.events import Detector

GOOD = PONI + "\n"


def written(path: Path, **detector: Any) -> Path:
    """The tilted geometry of the tests with this configuration of its detector."""
    lines = [line for line in PONI.splitlines() if not line.startswith(("poni_version", "Detector_config"))]
    config = {"pixel1": 2e-4, "pixel2": 1e-4, **detector}
    path.write_text("\n".join(["poni_version: 2.1", f"Detector_config: {json.dumps(config)}", *lines]) + "\n")
    return path


def uneven() -> np.ndarray:
    """Rings on a slope along both axes: no mirror image looks the same."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rings() + 2 * rows + columns // 2).astype(np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize("npt_azimuthal", [None, 9])
@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("shaped", [True, False], ids=["with max_shape", "without"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_every_orientation_counts_with_and_without_a_shape(
    tmp_path: Path, orientation: int, shaped: bool, splitting: str, npt_azimuthal: int | None
) -> None:
    """pyFAI 2026.9 itself leaves the orientation out where the detector has no shape: it is asked with one."""
    reference = written(tmp_path / "reference.poni", orientation=orientation, max_shape=SHAPE)
    asked = reference if shaped else written(tmp_path / "asked.poni", orientation=orientation)
    options = {
        "npt": 40,
        "npt_azimuthal": npt_azimuthal,
        "unit": "r_mm",
        "splitting": splitting,
        "polarization": 0.95,
        "error_model": "poisson",
        "radial_range": (1.0, 12.0),
        # without splitting pyFAI takes pixels from up to one bin below a sector too, which we do not
        "azimuth_range": (-170.0, 170.0) if npt_azimuthal and splitting != "no" else None,
    }
    image = uneven()
    _, result = run(image, {**options, "poni": asked})
    uncertain = uncertain_in_pyfai(image, np.zeros(SHAPE, bool), {**options, "poni": reference})
    assert_agrees(result, by_pyfai(reference, image, options), but=uncertain)


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 2, 4])
def test_orientations_are_told_apart(tmp_path: Path, orientation: int) -> None:
    """The comparison above would mean nothing if mirror images gave the same."""
    options = {"npt": 40, "unit": "r_mm", "radial_range": (1.0, 12.0)}
    native, mirrored = (
        run(uneven(), {**options, "poni": written(tmp_path / f"{each}.poni", orientation=each)})[1]["I"]
        for each in (3, orientation)
    )
    assert np.abs(mirrored / native - 1).max() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("shaped", [True, False], ids=["with max_shape", "without"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_every_orientation_counts_for_sparse_frames_too(tmp_path: Path, orientation: int, shaped: bool) -> None:
    import pyFAI

    shape = {"max_shape": SHAPE} if shaped else {}
    asked = written(tmp_path / "asked.poni", orientation=orientation, **shape)
    integrator = pyFAI.load(str(written(tmp_path / "reference.poni", orientation=orientation, max_shape=SHAPE)))
    product, _ = sparsified([uneven()], poni=str(asked), bins=60, unit="r_mm", solidangle=True)
    np.testing.assert_allclose(product.constants["mask"], integrator.center_array(SHAPE, "r_mm"), rtol=1e-5)
    np.testing.assert_allclose(product.constants["normalization"], integrator.solidAngleArray(SHAPE), rtol=1e-6)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8, 9, -1, "3"])
def test_orientations_that_pyfai_does_not_compute_with_are_refused(tmp_path: Path, orientation: Any) -> None:
    for shape in ({}, {"max_shape": SHAPE}):
        path = written(tmp_path / "turned.poni", orientation=orientation, **shape)
        with pytest.raises(ConfigError, match=rf"turned\.poni .*orientation {orientation!r} is not one of 1 to 4"):
            from_poni(path, None, Detector())


def test_the_orientation_in_a_file_of_the_detector_is_looked_at_too(tmp_path: Path) -> None:
    import h5py
    import pyFAI.detectors

    file = tmp_path / "detector.h5"
    pyFAI.detectors.Detector(1e-4, 1e-4, max_shape=SHAPE, orientation=2).save(str(file))
    with h5py.File(file, "r+") as opened:
        opened[_orientation_of(opened)][()] = 6
    text = f"poni_version: 2\nDetector: NexusDetector\nDetector_config: {json.dumps({'filename': str(file)})}\n"
    text += "Distance: 0.1\nPoni1: 0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\n"
    with pytest.raises(ConfigError, match="orientation 6 is not one of 1 to 4"):
        load("integrate.poni", "x.poni", text, SHAPE)


def _orientation_of(file: Any) -> str:
    found: list[str] = []
    file.visit(lambda name: found.append(name) if name.endswith("orientation") else None)
    return found[0]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Distance: nan", "'distance: nan' is not a finite number"),
        ("Distance: 1e400", "'distance: 1e400' is not a finite number"),
        ("Distance: 0", "is not above 0"),
        ("Distance: far", "is not a finite number"),
        ("Poni1: -inf", "'poni1: -inf' is not a finite number"),
        ("Rot3: NaN", "'rot3: NaN' is not a finite number"),
        ("Wavelength: 0.7", r"is in metres \(1 angstrom is 1e-10\)"),
        ("Wavelength: -1e-10", "is not above 0"),
        ("Wavelength: about one", "'wavelength: about one' is not a finite number"),
        ('Detector_config: {"pixel1": NaN, "pixel2": 1e-4}', "pixel1 nan is not a size in metres"),
        ('Detector_config: {"pixel1": 1e-4, "pixel2": 1e999}', "pixel2 inf is not a size in metres"),
        ('Detector_config: {"pixel1": 0, "pixel2": 1e-4}', "pixel1 0 is not a size"),
        ("Detector_config: {pixel1}", "'detector_config' is not JSON"),
        ("Detector_config: [1, 2]", "'detector_config' is not a JSON object"),
        ("Detector: Telescope", "pyFAI knows no detector 'Telescope': use `Detector: Detector`"),
        ("Detector: Pilatus1N", "did you mean pilatus1m"),
        ("poni_version: 9", "pyFAI cannot read the geometry"),
    ],
)
def test_what_cannot_be_a_geometry_is_refused_with_the_line(tmp_path: Path, line: str, text: str) -> None:
    """pyFAI computes with all of these numbers, and gives NaN or nonsense without a word."""
    path = tmp_path / "odd.poni"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(ConfigError, match=text) as caught:
        run(rings(), {"poni": path, "npt": 20})
    assert str(path) in str(caught.value) and "integrate.poni" in str(caught.value)
    with pytest.raises(ConfigError, match=text) as caught:
        sparsified([rings()], poni=str(path), bins=20)
    assert "sparsify.poni" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Distance: 0.1\n", "says no pixel size"),
        (PONI.replace('"max_shape": [131, 149]', '"splineFile": "/nowhere.spline"'), "Spline File does not exist"),
        (PONI.replace("Detector: Detector", "Detector: NexusDetector"), "pyFAI cannot read the geometry|no pixel size"),
    ],
)
def test_a_geometry_without_pixels_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    """Neither the traceback that pyFAI logs nor an error in the midst of its formulas."""
    (tmp_path / "odd.poni").write_text(text)
    script = "import logging, sys; from processors.shared.poni import load; logging.basicConfig(level=logging.ERROR)\n"
    script += (
        "try: load('integrate.poni', sys.argv[1], open(sys.argv[1]).read())\nexcept Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "odd.poni")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert re.search(words, done.stdout) and "odd.poni" in done.stdout and done.stdout.count("\n") == 1
    assert not done.stderr


def test_all_that_is_wrong_in_a_poni_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "odd.poni"
    path.write_text(GOOD + "Poni1: nan\nRot1: inf\n")
    with pytest.raises(ConfigError) as caught:
        from_poni(path, None, Detector())
    assert [text.split("'")[1] for _, text in caught.value.problems] == ["poni1: nan", "rot1: inf"]
