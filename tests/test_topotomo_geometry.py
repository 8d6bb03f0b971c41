"""Where voxels are seen, and that a volume and its projections belong to each other."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from turned_grains import AL_THETA_DEG, seen

from processors.topotomography.geometry import Geometry, Grid, bragg_deg, spacing_angstrom, turned
from processors.topotomography.options import GeometryOptions
from processors.topotomography.projecting import Bins, Plan, Projector

ALUMINIUM = {"wavelength_angstrom": 0.7293, "unit_cell": (4.0495, 4.0495, 4.0495, 90, 90, 90), "hkl": (2, 0, 0)}
VOXEL = np.array([10.0, 5.0, -3.0])


def test_the_bragg_angle_is_the_arc_sine_for_any_cell() -> None:
    assert bragg_deg(0.7293, 4.0495 / 2) == pytest.approx(10.3754, abs=5e-5)
    assert GeometryOptions(magnification=1, **ALUMINIUM).theta() == pytest.approx(AL_THETA_DEG, rel=1e-14)
    hexagonal = spacing_angstrom((3.0, 3.0, 5.0, 90, 90, 120), (1, 0, 2))
    assert 1 / hexagonal**2 == pytest.approx(4 / 3 / 9 + 4 / 25, rel=1e-14)
    triclinic = (3.0, 4.0, 5.0, 80.0, 95.0, 110.0)
    a, b, c = 3.0, 4.0, 5.0
    ca, cb, cg = np.cos(np.radians(triclinic[3:]))
    base = np.array([[a, 0, 0], [b * cg, b * np.sqrt(1 - cg**2), 0], [0, 0, 0]])
    base[2] = [c * cb, c * (ca - cb * cg) / np.sqrt(1 - cg**2), 0]
    base[2, 2] = np.sqrt(c * c - base[2] @ base[2])
    reciprocal = np.linalg.inv(base) @ np.array([1, -2, 3])
    assert spacing_angstrom(triclinic, (1, -2, 3)) == pytest.approx(1 / np.linalg.norm(reciprocal), rel=1e-12)
    with pytest.raises(ValueError, match="do not reflect"):
        bragg_deg(9.0, 2.0)
    with pytest.raises(ValueError, match="no unit cell"):
        spacing_angstrom((1, 1, 1, 30, 30, 120), (1, 0, 0))
    with pytest.raises(ValueError, match="no indices"):
        spacing_angstrom((1, 1, 1, 90, 90, 90), (0, 0, 0))


@pytest.mark.parametrize(("omega", "wanted"), [(0, (-3.117282, 3)), (30, (-3.628710, 7.598076)), (90, (-5.458534, 10))])
def test_a_voxel_is_seen_where_the_original_puts_it(omega: float, wanted: tuple[float, float]) -> None:
    matrix, offset = Geometry("rotation_y", AL_THETA_DEG, 1.0).projection(omega)
    assert matrix @ VOXEL + offset == pytest.approx(wanted, abs=1e-5)


def test_a_voxel_is_seen_where_the_formula_of_the_phantoms_puts_it() -> None:
    points = np.random.default_rng(1).normal(size=(20, 3))
    for omega in (-33.0, 0.0, 123.0, 270.0):
        matrix, offset = Geometry("rotation_y", 14.2, 3.3).projection(omega)
        np.testing.assert_allclose((points @ matrix.T + offset).T, seen(points, omega, 14.2, 3.3), atol=1e-13)


def by_four(*steps: tuple[int, float, Any]) -> np.ndarray:
    """The white paper's way: matrices of four rows, T(p) R T(-p) of each rotation, the first one applied first."""
    found = np.eye(4)
    for axis, angle, point in steps:
        rotation, there, back = np.eye(4), np.eye(4), np.eye(4)
        rotation[:3, :3] = turned(axis, angle)
        there[:3, 3], back[:3, 3] = point, -np.asarray(point, float)
        found = there @ rotation @ back @ found
    return found


def test_horizontal_and_vertical_geometry_are_those_of_the_white_paper() -> None:
    up, low, theta, origin = (-40.0, 3, 1), (-7.0, 2, 5), (0.5, -2, 4), (0, 0, 0)
    geometry = Geometry("horizontal", 10.0, 2.0, 0.3, -0.2, up, low, theta)
    for omega in (0.0, 41.0, 200.0):
        wanted = by_four((2, 0.3, up), (1, -0.2, low), (0, omega, origin), (2, 10.0, theta)) @ [*VOXEL, 1]
        matrix, offset = geometry.projection(omega)
        assert matrix @ VOXEL + offset == pytest.approx([-2 * wanted[0], -2 * wanted[2]], rel=1e-12)
    vertical = Geometry("vertical", 10.0, 2.0, about_theta_um=theta)
    wanted = by_four((2, 77.0, origin), (0, 10.0, theta)) @ [*VOXEL, 1]
    matrix, offset = vertical.projection(77.0)
    assert matrix @ VOXEL + offset == pytest.approx([-2 * wanted[0], -2 * wanted[2]], rel=1e-12)


def test_a_tilted_detector_stretches_the_image_in_the_scattering_plane() -> None:
    straight, tilted = (Geometry("horizontal", 10.0, 1.0, detector_tilt_deg=tilt) for tilt in (None, 50.0))
    one, two = straight.projection(20.0)[0], tilted.projection(20.0)[0]
    np.testing.assert_allclose(two, one / [[np.cos(np.radians(30.0))], [1]])
    one, two = (Geometry("vertical", 10.0, 1.0, detector_tilt_deg=tilt).projection(20.0)[0] for tilt in (20.0, 50.0))
    np.testing.assert_allclose(two, one / [[1], [np.cos(np.radians(30.0))]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either theta_deg, or"),
        ({"theta_deg": 10, "hkl": (1, 0, 0), "wavelength_angstrom": 1, "unit_cell": (1,) * 6}, "either theta_deg, or"),
        ({"theta_deg": 10, "mode": "vertical", "upper_deg": 1}, "not defined"),
        ({"theta_deg": 10, "detector_tilt_deg": 1}, "horizontal and vertical"),
    ],
)
def test_a_geometry_that_is_not_defined_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GeometryOptions(magnification=1, **options)


def test_the_middle_of_the_volume_is_where_the_user_puts_it() -> None:
    grid = Grid((4, 5, 6), (10.0, 0.0, -3.0), (8.0, 5.0, 3.0))
    np.testing.assert_allclose(grid.axis(0), [7, 9, 11, 13])
    np.testing.assert_allclose(grid.axis(2), -3 + 0.5 * (np.arange(6) - 2.5))
    matrix, offset = Geometry("rotation_y", 12.0, 2.0).projection(35.0)
    m, shift = grid.seen(matrix, offset, (7.0, 9.0))
    place = np.array([grid.axis(0)[3], grid.axis(1)[1], grid.axis(2)[5]])
    np.testing.assert_allclose(m @ [3, 1, 5] + shift, matrix @ place + offset + [7, 9], rtol=1e-13)


def test_bins_keep_the_sum_of_an_image() -> None:
    image = np.random.default_rng(1).random((31, 22))
    for pitch in (1.0, -1.283, 2.6, 0.7):
        shares = Bins.over(31, pitch).shares(31)
        np.testing.assert_allclose((shares @ image).sum(0), image.sum(0), rtol=1e-13)
        assert shares.sum(1)[4:-4] == pytest.approx(abs(pitch), rel=1e-12)
        np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-13)
    assert Bins.over(31, -1.0).shares(31)[2:-2].tolist() == np.eye(31)[::-1].tolist()


PLANS = [
    ("rotation_y", {}, True),
    ("horizontal", {}, True),
    ("vertical", {}, True),
    ("horizontal", {"transposed": True}, True),
    ("rotation_y", {"sense": -1, "about_theta_um": (1.0, 2, 0)}, True),
    ("rotation_y", {"lower_deg": 0.4}, False),
    ("horizontal", {"upper_deg": 0.4}, False),
]


def a_plan(mode: Any, options: Any, omegas: Any = (0.0, 37.0, 100.0, 141.0)) -> Plan:
    grid = Grid((7, 9, 8), (0.3, 0.1, -0.2), (7.0, 9.0, 8.0))
    return Plan.of(Geometry(mode, 11.0, 1.4, **options), grid, np.array(omegas), (25, 21), (12.0, 10.5))


@pytest.mark.parametrize(("mode", "options", "lines"), PLANS)
def test_back_is_the_transpose_of_forth(mode: Any, options: Any, lines: bool) -> None:
    plan = a_plan(mode, options)
    assert plan.lines is lines
    dice = np.random.default_rng(2)
    volume = dice.random((2, *plan.shape), np.float32)
    seen_ = dice.random((4, 2, *plan.seen), np.float32)
    with ThreadPoolExecutor(1) as pool:
        projector = Projector(plan, pool, 1)
        there = float((projector.forward(volume).astype(np.float64) * seen_).sum())
        back = float((projector.backward(seen_).astype(np.float64) * volume).sum())
    assert there == pytest.approx(back, rel=1e-5)


@pytest.mark.parametrize(("mode", "options", "lines"), PLANS)
def test_a_voxel_lies_in_the_bins_of_the_pixel_where_it_is_seen(mode: Any, options: Any, lines: bool) -> None:
    """The middle of what a voxel leaves in the bins is where the geometry says, in pixels."""
    plan = a_plan(mode, options)
    for voxel in [(3, 4, 4), (0, 8, 2)]:
        volume = np.zeros((1, 7, 9, 8), np.float32)
        volume[0][voxel] = 1
        turned_ = np.ascontiguousarray(volume.transpose(0, *(1 + axis for axis in plan.order)))
        assert (plan.volume(turned_) == volume).all()
        with ThreadPoolExecutor(1) as pool:
            found = Projector(plan, pool, 1).forward(turned_)[:, 0].astype(np.float64)
        for omega in range(4):
            place = plan.matrices[omega] @ voxel + plan.offsets[omega]
            assert found[omega].sum() == pytest.approx(1, abs=1e-6)
            for axis, (direction, bins) in enumerate(zip((plan.along, 1 - plan.along), plan.bins, strict=True)):
                middle = (found[omega].sum(axis) * np.arange(bins.count)).sum()
                assert bins.first + bins.pitch * middle == pytest.approx(place[direction], abs=1e-4)
    del lines


def test_the_fast_way_and_the_slow_one_give_the_same() -> None:
    """Lines are a special case: with the same weights, voxel by voxel."""
    plan = a_plan("rotation_y", {})
    dice = np.random.default_rng(4)
    volume = dice.random((3, *plan.shape), np.float32)
    slow = plan.only(np.arange(4))
    object.__setattr__(slow, "lines", False)
    with ThreadPoolExecutor(2) as pool:
        fast_, slow_ = (Projector(each, pool, 2) for each in (plan, slow))
        seen_ = fast_.forward(volume)
        np.testing.assert_allclose(slow_.forward(volume), seen_, rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(slow_.backward(seen_), fast_.backward(seen_), rtol=2e-5)


def test_the_number_of_threads_changes_no_bit() -> None:
    plan = a_plan("horizontal", {})
    volume = np.random.default_rng(4).random((3, *plan.shape), np.float32)
    with ThreadPoolExecutor(5) as pool:
        made = [Projector(plan, pool, threads) for threads in (1, 2, 5)]
        there = [each.forward(volume) for each in made]
        back = [each.backward(there[0]) for each in made]
    assert all(each.tobytes() == there[0].tobytes() for each in there)
    assert all(each.tobytes() == back[0].tobytes() for each in back)
