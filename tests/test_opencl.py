"""The OpenCL engine against the CPU kernels: every error model, splitting, pixel type and correction."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors import correct, integrate
from processors.integration.cpu import CpuEngine
from processors.integration.matrix import Matrix, matrix_for
from processors.integration.opencl import OpenClEngine
from processors.integration.plan import ErrorModel, make_plan
from processors.integration.request import Request
from processors.shared import device as opencl_device
from processors.shared import engine
from processors.shared.correction import Correction
from processors.shared.device import Device, choose, devices
from processors.shared.geometry import from_header
from stream.errors import ConfigError
from stream.events import Detector, Encoding, Frame, Payload, ScanStart
from stream.work import Work

SHAPE = (97, 113)
HEADER = Detector(
    pixel_size_x_m=1e-4,
    pixel_size_y_m=1e-4,
    beam_center_x_px=50.2,
    beam_center_y_px=40.7,
    distance_m=0.03,
    wavelength_angstrom=1.0,
)
needs_device = [
    pytest.mark.opencl,
    pytest.mark.skipif(not devices(), reason="no OpenCL device, or no pyopencl"),
]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache_of_the_tests(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBEAM_CACHE", str(kept))


@pytest.fixture(params=["double", "float"])
def device(request: pytest.FixtureRequest) -> Device:
    """The first device, as it is and as if it had no double precision."""
    found = devices()[0]
    values = {name: getattr(found, name) for name in Device.__dataclass_fields__}
    return Device(**{**values, "has_double": found.has_double and request.param == "double"})


def matrix(splitting: Any, npt_azimuthal: int | None = None) -> tuple[Matrix, np.ndarray]:
    mask = np.random.default_rng(1).random(SHAPE) < 0.02
    request = Request(
        geometry=from_header({}, HEADER, SHAPE),
        shape=SHAPE,
        unit="q_nm^-1",
        npt=50,
        npt_azimuthal=npt_azimuthal,
        splitting=splitting,
        polarization=0.9,
    )
    return matrix_for(request, mask), mask


def frame(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    image = rng.poisson(20, SHAPE).astype(dtype)
    image[5:9] = 0
    if dtype == "float32":
        image[10] = np.nan
        image[11, :5] = -np.inf
    elif dtype.startswith("i"):
        image[10] = -2
    else:
        image[10] = np.iinfo(dtype).max
    return image


def assert_same(plan: Any, image: np.ndarray, device: Device, factor: float = 1.7) -> None:
    """Tolerance: 1e-6 of the larger of value and error in double, 1e-5 in compensated float.

    (The recurrence of model 3 cannot be compensated: 1e-4 in float.)
    """
    expected, expected_errors = CpuEngine(plan, image.dtype).run(image, factor)
    found, found_errors = OpenClEngine(plan, image.dtype, device).run(image, factor)
    tolerance = 1e-6 if device.has_double else 1e-4 if plan.model == 3 else 1e-5
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    scale = np.abs(expected) if expected_errors is None else np.fmax(np.abs(expected), expected_errors)
    filled = np.isfinite(expected)
    assert filled.any()
    assert (np.abs(found - expected)[filled] <= tolerance * scale[filled]).all()
    assert (found_errors is None) == (expected_errors is None)
    if found_errors is not None and expected_errors is not None:
        assert (np.abs(found_errors - expected_errors)[filled] <= tolerance * scale[filled]).all()


class TestOnADevice:
    pytestmark = needs_device

    @pytest.mark.slow
    @pytest.mark.parametrize(("splitting", "npt_azimuthal"), [("no", None), ("bbox", None), ("full", 7)])
    @pytest.mark.parametrize("model", ["none", "poisson", "azimuthal_exact", "azimuthal"])
    def test_every_model_and_splitting_is_as_on_the_cpu(
        self, device: Device, model: ErrorModel, splitting: str, npt_azimuthal: int | None
    ) -> None:
        table, mask = matrix(splitting, npt_azimuthal)
        plan = make_plan(table, Correction(SHAPE, mask, high=65534.0), model, float("nan"))
        assert_same(plan, frame("uint16"), device)

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", ["uint8", "uint32", "int16", "int32", "float32"])
    def test_every_pixel_type_is_as_on_the_cpu(self, device: Device, dtype: str) -> None:
        model: ErrorModel = "poisson"
        table, mask = matrix("no")
        high = np.inf if dtype == "float32" else float(np.iinfo(dtype).max - 1)
        low = -np.inf if dtype == "float32" else 0.0
        plan = make_plan(table, Correction(SHAPE, mask, low=low, high=high), model, -1.0)
        assert_same(plan, frame(dtype), device)

    @pytest.mark.slow
    @pytest.mark.parametrize("dark_variance", [False, True])
    @pytest.mark.parametrize("model", ["poisson", "azimuthal_exact"])
    def test_dark_flat_and_dummies_are_as_on_the_cpu(
        self, device: Device, model: ErrorModel, dark_variance: bool
    ) -> None:
        rng = np.random.default_rng(4)
        table, mask = matrix("bbox")
        correction = Correction(
            SHAPE,
            mask,
            dark=rng.uniform(0, 2, SHAPE).astype(np.float32),
            flat=rng.uniform(0.8, 1.2, SHAPE).astype(np.float32),
            dummy_low=17.5,
            dummy_high=20.0,
        )
        assert_same(make_plan(table, correction, model, float("nan"), dark_variance), frame("int32"), device)

    def test_a_flag_one_above_the_limit_is_told_apart_even_without_doubles(self, device: Device) -> None:
        """float32 cannot tell 4294967295 from 4294967294: limits of integers are compared as integers."""
        table, mask = matrix("no")
        plan = make_plan(table, Correction(SHAPE, mask, high=4294967294.0), "none", float("nan"))
        image = np.full(SHAPE, 2**32 - 1, np.uint32)
        image[::2] = 2**32 - 2
        assert_same(plan, image, device)
        image[:] = 2**32 - 1
        found, _ = OpenClEngine(plan, image.dtype, device).run(image, 1.0)
        assert np.isnan(found).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", ["uint64", "int64"])
    def test_the_flag_of_a_64_bit_type_is_left_out_although_it_comes_as_a_float(
        self, device: Device, dtype: str
    ) -> None:
        table, _ = matrix("no")
        scan = ScanStart("uid", "1", SHAPE, np.dtype(dtype), ("a",), None, Detector(), 0.0)
        plan = make_plan(table, correct.make_correction(correct.Config(), scan, "a"), "poisson", float("nan"))
        image = np.full(SHAPE, 12, dtype)
        image[::3] = np.iinfo(dtype).max
        assert_same(plan, image, device)

    def test_integrate_runs_on_the_device_that_is_asked_for(self) -> None:
        image = frame("uint16")
        scan = ScanStart("uid", "1", SHAPE, image.dtype, ("a",), None, HEADER, 0.0)
        results = []
        chosen = str(devices()[-1])
        for wish in ("cpu", "opencl", chosen):
            processor = integrate.create(integrate.Config(npt=40, error_model="poisson", device=wish))
            work = Work()
            (product,) = processor.start(scan, work)
            payload = Payload(image.data.cast("B"), Encoding.RAW, SHAPE, image.dtype)
            work.take(Frame("uid", 0, {"a": payload}, 0.0))
            processor.process(work)
            results.append(work.results["integrate"])
            assert product.device.startswith(wish)
        for other in results[1:]:
            np.testing.assert_allclose(other["I"], results[0]["I"], rtol=1e-5)
            np.testing.assert_allclose(other["I_errors"], results[0]["I_errors"], rtol=1e-5)

    def test_auto_falls_back_to_the_cpu_if_the_device_fails(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any) -> None:
            raise ConfigError([("integrate.device", "out of memory")])

        monkeypatch.setattr(engine, "choose", lambda wish, key: devices()[0] if wish != "cpu" else None)
        monkeypatch.setattr(integrate, "OpenClEngine", refuse)
        scan = ScanStart("uid", "1", SHAPE, np.dtype("uint16"), ("a",), None, HEADER, 0.0)
        (product,) = integrate.create(integrate.Config(device="auto")).start(scan, Work())
        assert product.device == "cpu" and "out of memory" in caplog.text
        with pytest.raises(ConfigError, match="out of memory"):
            integrate.create(integrate.Config(device="opencl")).start(scan, Work())

    def test_a_device_that_is_not_there_is_told_with_those_that_are(self) -> None:
        with pytest.raises(ConfigError, match=r"no device opencl:99,0; there are opencl:0,0 \(\w+, "):
            choose("opencl:99,0")


def listed(*kinds: str) -> tuple[Device, ...]:
    return tuple(Device(0, number, f"d{number}", "p", kind, True, 1) for number, kind in enumerate(kinds))


@pytest.mark.parametrize(
    ("kinds", "wish", "expected"),
    [
        (("cpu", "gpu"), "auto", "opencl:0,1"),
        (("cpu", "gpu"), "opencl", "opencl:0,1"),
        (("cpu",), "auto", None),
        (("cpu",), "opencl", "opencl:0,0"),
        (("gpu",), "cpu", None),
        (("gpu", "cpu", "cpu", "acc"), "opencl:cpu", "opencl:0,1"),
        (("gpu", "cpu", "cpu", "acc"), "opencl:acc", "opencl:0,3"),
        (("cpu", "gpu"), "opencl:0,0", "opencl:0,0"),
        ((), "auto", None),
    ],
)
def test_auto_takes_a_gpu_or_the_cpu_kernels(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], wish: str, expected: str | None
) -> None:
    monkeypatch.setattr(opencl_device, "devices", lambda: listed(*kinds))
    chosen = choose(wish)
    assert (str(chosen) if chosen else None) == expected


def test_without_any_device_opencl_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl_device, "devices", lambda: ())
    with pytest.raises(ConfigError, match=r"pip install inbeam\[opencl\]"):
        choose("opencl")
