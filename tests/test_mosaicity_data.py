"""Moments of recorded DFXM scans, frames shuffled: against darling and darfix where they are installed, and NumPy."""

import gzip
import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from tilted import assert_as_numpy, begun, frame, start

from processors.moments.options import GammaOptions
from processors.moments.positions import gamma

pytestmark = pytest.mark.shared

CHI = {"motor": "chi", "first": -1.0, "step": 0.08, "points": 62}
RZ = {"motor": "diffrz", "first": -1.46, "step": 0.08, "points": 43}


class Recorded:
    """One layer: images, positions (2, frames), and the images of its moments."""

    def __init__(self, file: h5py.File, entry: str) -> None:
        scan = file[entry]
        self.title = scan["title"].asstr()[()]
        self.images = scan["instrument/pco_ff/image"][()]
        self.where = np.array([scan["instrument/chi/value"][()], scan["instrument/diffrz/data"][()]])
        order = np.random.default_rng(3).permutation(len(self.images))
        gathering = begun(start("u2", self.images.shape[1:], metadata={"title": self.title}))
        for n in order.tolist():
            gathering.take(frame(n, self.images[n], chi=self.where[0, n], diffrz=self.where[1, n]))
        gathering.finish(len(order))
        self.gathering, self.found = gathering, gathering.fields("mosaicity")


@pytest.fixture(scope="module")
def layers(shared: Path) -> list[Recorded]:
    with gzip.open(shared / "dfxm/darling_mosa_scan.h5.gz") as packed, h5py.File(io.BytesIO(packed.read())) as file:
        return [Recorded(file, entry) for entry in ("1.1", "2.1")]


@pytest.fixture(params=[0, 1])
def layer(request: pytest.FixtureRequest, layers: list[Recorded]) -> Recorded:
    return layers[request.param]


@pytest.mark.slow
def test_a_recorded_mosaicity_scan_has_the_moments_of_numpy(layer: Recorded) -> None:
    """The motors are read from the title of the scan; 43 steps of diffrz are 549 different values."""
    assert layer.title.startswith("fscan2d chi -1 0.08 62 diffrz -1.5 0.08 43")
    assert layer.found["frame_index"].tolist() == np.arange(62 * 43).reshape(62, 43).tolist()
    assert_as_numpy(layer.found, layer.images.astype(np.float64), layer.where)
    assert len(layer.gathering.covered["mosaicity"]) == 2666


def test_the_means_of_the_first_layer_are_those_that_are_known(layers: list[Recorded]) -> None:
    assert layers[0].found["com_chi"].mean() == pytest.approx(1.428369, abs=1e-6)
    assert layers[0].found["com_diffrz"].mean() == pytest.approx(0.223754, abs=1e-6)


@pytest.mark.slow
def test_darling_finds_the_same_centres_and_covariances(layer: Recorded) -> None:
    """darling computes in float32."""
    properties = pytest.importorskip("darling").properties
    data = np.ascontiguousarray(layer.images.transpose(1, 2, 0).reshape(50, 70, 62, 43))
    mean, covariance = properties.moments(data, layer.where.reshape(2, 62, 43).astype(np.float32))
    for place, name in enumerate(("chi", "diffrz")):
        assert np.abs(layer.found[f"com_{name}"] - mean[..., place]).max() <= 5e-6
    for name, (one, other) in {"chi_chi": (0, 0), "chi_diffrz": (0, 1), "diffrz_diffrz": (1, 1)}.items():
        assert np.abs(layer.found[f"cov_{name}"] - covariance[..., one, other]).max() <= 1e-6


@pytest.mark.slow
def test_darfix_finds_the_same_moments(layers: list[Recorded]) -> None:
    moments = pytest.importorskip("darfix._processing.moments")
    images = layers[0].images.astype(np.float64)
    for place, name in enumerate(("chi", "diffrz")):
        found = moments.compute_moments(layers[0].where[place], images, images.sum(0), smooth=False)
        for what, values, most in zip(
            ("com", "width", "skew", "kurtosis"), found, (1e-13, 1e-7, 1e-12, 1e-12), strict=True
        ):
            assert np.abs(layers[0].found[f"{what}_{name}"] - values).max() <= most[what], what


def test_real_motors_near_90_degrees_have_steps_of_0_032(shared: Path) -> None:
    """ID06, 7 x 7 tilts at omega = 90.4 degrees: phi, chi, omega, ring current of each frame. (phi - phi0) / cos(omega)
    would give steps of 0.038 and less."""
    logged = np.load(shared / "golden/id06_one_omega_90_4.npy")[0]
    options = GammaOptions(phi="phi", chi="chi", omega="omega", phi0=logged[24, 0], chi0=logged[24, 1])
    found = np.array([gamma(options, *row[:3]) for row in logged])
    steps = np.repeat(np.arange(-3, 4), 7)
    np.testing.assert_allclose(found, 0.032 * steps, atol=5e-5)
    motors = (
        {"motor": "mu", "first": 0, "step": 1, "points": 7},
        {"motor": "gamma", "first": -0.096, "step": 0.032, "points": 7, "gamma": options.model_dump()},
    )
    gathering = begun(start("u2", (2, 2)), motors=motors, positions="steps")
    for n, (phi, chi, omega, _) in enumerate(logged):
        gathering.take(frame(n, np.full((2, 2), n + 1, "u2"), phi=phi, chi=chi, omega=omega, mu=float(n % 7)))
    gathering.finish(49)
    images = gathering.fields("mosaicity")
    assert images["frame_index"].tolist() == np.arange(49).reshape(7, 7).T.tolist()
    assert images["peak_gamma"][0, 0] == pytest.approx(0.096, abs=1e-15)
    weights = np.arange(1, 50)
    assert images["com_gamma"] == pytest.approx((0.032 * steps * weights).sum() / weights.sum(), rel=1e-12)
