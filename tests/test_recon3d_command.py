"""`inbeam recon3d-getdata` and `inbeam recon3d`: Recon3D's arguments, its array and its ini file."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from grain_scans import FRAME, SCALE, SIZE, TILTS, VOXELS, error, gathered, grains, scanned
from recon3d_files import INI, edf, getdata, recorded_scan
from turned_grains import AL_THETA_DEG

from stream.commands.demo import free_port
from stream.commands.main import main
from stream.commands.original3d import ini
from stream.commands.original3d.axes import clustered
from stream.errors import ConfigError

CONFIG = Path(__file__).parents[1] / "configs/topotomo.yaml"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_scan(tmp_path_factory.mktemp("recorded"))


def wanted() -> np.ndarray:
    """(mu, gamma, omega, rows, columns)."""
    data = b"".join(each.payloads["ch"].data for each in scanned())
    return np.frombuffer(data, np.uint16).reshape(-1, *TILTS, *FRAME).transpose(1, 2, 0, 3, 4).astype(float)


def test_the_array_has_every_frame_at_the_steps_of_its_motors(recorded: Path, tmp_path: Path) -> None:
    from silx.io import nxdata

    assert getdata(recorded, tmp_path) == 0
    assert getdata(recorded, tmp_path, "--npy") == 0
    with h5py.File(tmp_path / "array/dataarray.h5") as file:
        group = file["entry/dataarray"]
        shown = nxdata.NXdata(group)
        assert shown.is_valid and list(group.attrs["axes"]) == ["mu", "gamma", "omega", "y", "x"]
        np.testing.assert_array_equal(group["data"][()], wanted())
        assert group["data"].chunks == (1, 1, 1, *FRAME)
        np.testing.assert_allclose(group["gamma"][()], 0.032 * np.arange(TILTS[1]), atol=4e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "array/dataarray.npy"), wanted())
    assert [np.load(tmp_path / f"array/{name}.npy").size for name in ("mu", "gamma", "omega")] == [*TILTS, 15]


@pytest.mark.slow
def test_region_and_background_are_those_of_the_original(recorded: Path, tmp_path: Path) -> None:
    """[x - nx/2, x + nx/2); negative signals are 0, and nothing is subtracted without background."""
    assert getdata(recorded, tmp_path / "a", roi=("10,12", "8,6")) == 0
    with h5py.File(tmp_path / "a/array/dataarray.h5") as file:
        np.testing.assert_array_equal(file["entry/dataarray/data"][()], wanted()[..., 9:15, 6:14])
    assert getdata(recorded, tmp_path / "b", bg=("-", "-")) == 0
    with h5py.File(tmp_path / "b/array/dataarray.h5") as file:
        np.testing.assert_array_equal(file["entry/dataarray/data"][()], wanted() + 3)
    edf(tmp_path / "high.edf", np.full(FRAME, 7, np.uint16))
    assert getdata(recorded, tmp_path / "c", bg=(str(tmp_path), "high")) == 0
    with h5py.File(tmp_path / "c/array/dataarray.h5") as file:
        np.testing.assert_array_equal(file["entry/dataarray/data"][()], np.maximum(wanted() - 4, 0))


def test_a_hole_is_nan_and_told_and_so_is_a_frame_that_came_twice(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in recorded.glob("*.edf"):
        number = path.stem.split("_")[1]
        if path.name.startswith("bg") or number != "0107":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "run1_0300.edf").symlink_to(recorded / "run1_0002.edf")
    assert getdata(tmp_path, tmp_path) == 1
    told = capsys.readouterr().err
    assert "1 of 300 positions have no frame and are NaN: mu = 0.03" in told and "omega = 59.99" in told
    assert "1 of 300 positions had several frames: the last one stays: mu = " in told
    with h5py.File(tmp_path / "array/dataarray.h5") as file:
        holes = np.argwhere(np.isnan(file["entry/dataarray/data"][:, :, :, 0, 0]))
    assert holes.tolist() == [[1, 3, 5]]


@pytest.mark.slow
def test_the_cleaning_of_the_later_versions_is_done_at_each_omega(recorded: Path, tmp_path: Path) -> None:
    assert getdata(recorded, tmp_path / "a", "--lowest", "2", "--highest", "30", bg=("-", "-")) == 0
    with h5py.File(tmp_path / "a/array/dataarray.h5") as file:
        found = file["entry/dataarray/data"][()]
    raw = wanted() + 3
    for omega in (0, 9):
        stack = raw[:, :, omega].reshape(20, *FRAME)
        weakest = np.argsort(stack.sum((1, 2)), kind="stable")[:2]
        clean = np.maximum(stack - stack[weakest].mean(0), 0)
        clean[clean > 30] = 0
        np.testing.assert_allclose(found[:, :, omega].reshape(20, *FRAME), clean, rtol=1e-6)
    assert getdata(recorded, tmp_path / "b", "--border", "1", "--level", "40", "--least-area", "9", "--equalise") == 0
    with h5py.File(tmp_path / "b/array/dataarray.h5") as file:
        found = file["entry/dataarray/data"][()]
    totals = found.sum((0, 1, 3, 4))
    np.testing.assert_allclose(totals, totals[0], rtol=1e-5)
    assert found.min() == 0 and (found.sum((0, 1)) > 0).mean() < 0.5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--tilt1", "samrz"), "no reading 'samrz'"),
        (("--gamma", "phi,chi"), "is not PHI,CHI,PHI0,CHI0"),
        (("--step-omega", "40"), "positions of one step are up to"),
    ],
)
def test_what_does_not_fit_is_told_and_leaves_no_file(
    more: tuple[str, ...], words: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert getdata(recorded, tmp_path, *more) != 0
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("array/*"))


def test_simulated_frames_have_motors_of_their_own(tmp_path: Path) -> None:
    for number, (up, low) in enumerate(np.ndindex(2, 3)):
        image = np.full((4, 4), number, np.uint16)
        edf(tmp_path / f"sim{number}.edf", image, phi_upper=0.01 * up, phi_lower=0.02 * low, Omega=-85.0)
    arguments = [str(tmp_path), "sim", "-", "-", "2,2", "4,4", str(tmp_path), "out", "sim"]
    assert main(["recon3d-getdata", *arguments]) == 0
    with h5py.File(tmp_path / "out/dataarray.h5") as file:
        assert file["entry/dataarray/data"][:, :, 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert list(file["entry/dataarray"].attrs["axes"])[:3] == ["alpha", "beta", "omega"]


@pytest.mark.slow
def test_the_configuration_for_topotomo_runs_on_edf_files_whose_gamma_is_made_of_two_motors(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """configs/topotomo.yaml, for a smaller scan with other names."""
    monkeypatch.chdir(tmp_path)
    changes = {
        "motors.0": f"{{motor: mu, first: 0, step: 0.032, points: {TILTS[0]}, unit: deg}}",
        "motors.1.first": "0",
        "motors.1.points": str(TILTS[1]),
        "motors.1.gamma": "{phi: phi, chi: chi, omega: omega, phi0: 0.5, chi0: 0}",
        "omega": "{motor: omega, first: 0, step: 12, points: 15, unit: deg}",
        "roi": f"{{center: [{FRAME[1] // 2}, {FRAME[0] // 2}], size: [{FRAME[1]}, {FRAME[0]}]}}",
        "geometry.magnification": str(SCALE),
        "geometry.pixel_um": "1",
        "background_lowest": "0",
        "background": "3",
        "min_sum": "0",
        "volume": f"{{steps: [{VOXELS}, {VOXELS}, {VOXELS}], size_um: [{SIZE}, {SIZE}, {SIZE}]}}",
    }
    words = [word for key, value in changes.items() for word in ("--set", f"processors.0.{key}={value}")]
    words += ["--set", f"sinks.1.endpoint=tcp://127.0.0.1:{free_port()}"]
    files = sorted(str(path) for path in recorded.glob("run1_*.edf"))
    assert main(["process", "--quiet", *words, str(CONFIG), *files]) == 0
    (result,) = tmp_path.glob("data/*_topotomo.h5")
    with h5py.File(result) as file:
        group = file["entry/topotomo_volume"]
        volume = {"mu": group["mu"][()], "gamma": group["gamma"][()]}
        assert group["theta"][()] == pytest.approx(AL_THETA_DEG) and group["used"][()].all()
    assert error(volume, grains().truth, "mu", 0) < 0.011 and error(volume, grains().truth, "gamma", 1) < 0.011


@pytest.fixture(scope="module")
def array(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("array")
    assert getdata(recorded, folder) == 0
    return folder / "array"


def inifile(folder: Path, array: Path, **changes: str) -> Path:
    text = INI.replace("PATH", str(array))
    for key, value in changes.items():
        text = "".join(line for line in text.splitlines(True) if not line.startswith(f"{key} "))
        text += f"{key} {value}\n"
    path = folder / "job.ini"
    path.write_text(text)
    return path


def reconstructed(path: Path, target: Path, *more: str) -> dict[str, np.ndarray]:
    assert main(["recon3d", str(path), "-o", str(target / "volume.h5"), *more]) == 0
    with h5py.File(target / "volume.h5") as file:
        group = file["entry/topotomo_volume"]
        return {name: group[name][()] for name in group}


@pytest.mark.parametrize("bugs", [False, True])
def test_the_volume_is_that_of_the_stream(bugs: bool, array: Path, tmp_path: Path) -> None:
    """The same frames, streamed to `topotomo`; the motors' means lie beside their nominal positions, which some voxels
    between two pixels feel, so that they are set right here."""
    (tmp_path / "dataarray.h5").write_bytes((array / "dataarray.h5").read_bytes())
    with h5py.File(tmp_path / "dataarray.h5", "r+") as file:
        group = file["entry/dataarray"]
        for name, step, count in (("mu", 0.032, TILTS[0]), ("gamma", 0.032, TILTS[1]), ("omega", 12.0, 15)):
            np.testing.assert_allclose(group[name][()], step * np.arange(count), atol=4e-4)
            group[name][()] = step * np.arange(count)
    tilt = {"lower_deg": 0.032 * (TILTS[1] - 1) / 2} if not bugs else {}
    given = {"theta_deg": AL_THETA_DEG, "magnification": SCALE, **tilt}
    if bugs:
        given["theta_deg"] = float(np.degrees(np.sin(0.7293 / 4.0495)))
    found = reconstructed(inifile(tmp_path, tmp_path), tmp_path, *(["--bug-compat"] if bugs else []))
    streamed = gathered(
        scanned(),
        method="recon3d",
        bug_compat=bugs,
        positions="steps",
        geometry=given,
        least_completeness=0,
        least_density=0,
    ).fields("topotomo_volume")
    for name in ("mu", "gamma", "density", "completeness"):
        np.testing.assert_allclose(found[name], streamed[name], rtol=1e-6, atol=1e-7, err_msg=name)
    saved = np.load(tmp_path / "grain_ang.npy")
    np.testing.assert_array_equal(saved, np.stack([found["mu"], found["gamma"], found["density"]], -1))


def test_sirt_is_there_too_and_completeness_is_that_of_the_ini_file(array: Path, tmp_path: Path) -> None:
    path = inifile(tmp_path, array, completeness_cutoff="0.8")
    found = reconstructed(path, tmp_path, "--method", "sirt", "--least-density", "0.05")
    assert error(found, grains().truth, "mu", 0) < 0.011 and error(found, grains().truth, "gamma", 1) < 0.011
    assert np.isnan(found["mu"][found["completeness"] < 0.8]).all()
    assert found["x"].tolist() == (np.arange(VOXELS) - 7.5).tolist()


def test_results_that_are_there_are_kept_and_less_than_half_a_turn_is_refused(
    array: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = inifile(tmp_path, array)
    reconstructed(path, tmp_path)
    assert main(["recon3d", str(path), "-o", str(tmp_path / "volume.h5")]) == 2
    assert "is there already" in capsys.readouterr().err
    cut = tmp_path / "cut"
    cut.mkdir()
    with h5py.File(array / "dataarray.h5") as file:
        np.save(cut / "dataarray.npy", file["entry/dataarray/data"][:, :, :8])
    for name in ("mu", "gamma", "omega"):
        np.save(cut / f"{name}.npy", np.load(array / f"{name}.npy")[: 8 if name == "omega" else None])
    assert main(["recon3d", str(inifile(tmp_path, cut)), "-o", str(tmp_path / "cut.h5"), "--overwrite"]) == 2
    assert "8 projections cover 96" in capsys.readouterr().err
    assert main(["recon3d", str(inifile(tmp_path, cut)), "-o", str(tmp_path / "cut.h5"), "--overwrite", "--force"]) == 0
    assert "a cone of directions is not seen" in capsys.readouterr().out


def test_the_geometry_of_the_readme_has_alpha_beta_and_a_mode(array: Path, tmp_path: Path) -> None:
    """Both geometries are found by the names of the axes; theta is the arc sine."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "dataarray.h5").write_bytes((array / "dataarray.h5").read_bytes())
    with h5py.File(folder / "dataarray.h5", "r+") as file:
        group = file["entry/dataarray"]
        group.move("mu", "alpha")
        group.move("gamma", "beta")
        group.attrs["axes"] = ["alpha", "beta", "omega", "y", "x"]
    for mode in ("horizontal", "vertical"):
        found = reconstructed(inifile(tmp_path, folder, mode=f'"{mode}"'), tmp_path, "--overwrite")
        assert np.isfinite(found["alpha"]).any()
    assert main(["recon3d", str(inifile(tmp_path, folder, mode="diagonal")), "-o", str(tmp_path / "v.h5")]) == 2


def test_an_ini_file_is_parsed_and_never_evaluated(tmp_path: Path) -> None:
    marker = tmp_path / "evaluated"
    path = inifile(tmp_path, tmp_path, wavelength=f"open({str(marker)!r}, 'w').close() or 1", flavour="3")
    said = ini.read(path)
    assert said.unknown == ("flavour",) and said.folder == tmp_path
    assert said.values["t_x"] == "None" and said.values["completeness_cutoff"] == 0
    with pytest.raises(ConfigError, match=r"wavelength: .* is no number"):
        said.geometry("rotation_y", 0, 0)
    assert not marker.exists()
    path.write_text("M 3\nM 4\nhkl\n")
    with pytest.raises(ConfigError) as raised:
        ini.read(path)
    told = [f"{where}: {text}" for where, text in raised.value.problems]
    assert [each.split(".ini")[1] for each in told[:3]] == [
        ":2: 'M' is there already",
        ":3: 'hkl' has no value",
        ": 'unit_cell' is missing",
    ]


@pytest.mark.shared
def test_the_steps_of_recorded_motors_are_found_by_their_gaps(shared: Path) -> None:
    """43 steps of diffrz are 549 different values; gamma near 90 degrees, seven steps of 0.032."""
    import gzip
    import io

    from processors.moments.options import GammaOptions
    from processors.moments.positions import gamma

    with gzip.open(shared / "dfxm/darling_mosa_scan.h5.gz") as packed, h5py.File(io.BytesIO(packed.read())) as file:
        positions = file["1.1/instrument/diffrz/data"][()]
    found = clustered("diffrz", positions)
    assert len(found.centres) == 43 and len(np.unique(positions)) == 549
    assert np.bincount(found.number).tolist() == [62] * 43
    logged = np.load(shared / "golden/id06_one_omega_90_4.npy")[0]
    options = GammaOptions(phi="phi", chi="chi", omega="omega", phi0=logged[24, 0], chi0=logged[24, 1])
    found = clustered("gamma", np.array([gamma(options, *row[:3]) for row in logged]))
    np.testing.assert_allclose(found.centres, 0.032 * np.arange(-3, 4), atol=5e-5)


@pytest.mark.parametrize("values", [[0, 0.3, 1, 1.4, 2], []])
def test_positions_that_form_no_clear_steps_are_refused(values: list[float]) -> None:
    with pytest.raises(ConfigError):
        clustered("mu", np.array(values))
    assert len(clustered("mu", np.array([0, 1, 2, 6, 7, 8.0])).centres) == 6
