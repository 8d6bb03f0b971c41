"""`inbeam export`: patterns and cakes as other programs read them, whole or not at all, over nothing that is there."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pyFAI
import pytest
import silx.io
import sparse_examples
import yaml
from product_examples import CAKE, REGIONS
from pyFAI.io.nexus import load_nexus
from sink_examples import BINS, PRODUCT, frame, hole, make, pattern, scan

from sinks.export import write
from sinks.export.units import converted
from stream.commands.main import main
from stream.events import FrameStatus, ScanEnd
from stream.products import Product
from stream.simulate.eiger import frames, poni, small

THETA = replace(
    PRODUCT, axes=(replace(PRODUCT.axes[0], unit="degrees", long_name="2theta", values=np.linspace(2, 20, BINS)),)
)
EMPTY_BINS = [0, 5, BINS - 1]


def written(path: Path, *products: Product, **changes: Any) -> Path:
    """A results file of four frames; frame 2 never came, the patterns have bins without a pixel."""
    sink = make("hdf5", path)
    sink.start(scan(**changes), products or (PRODUCT,))
    for index in (0, 1, 3):
        given = dict(frame(index).results["azint"])
        for name in ("I", "I_errors"):
            given[name] = np.where(np.isin(np.arange(BINS), EMPTY_BINS), np.nan, given[name]).astype("f4")
        cake = np.full((8, 90), index, np.float32)
        cake[0, :3] = np.nan
        results = {"azint": given, "cake": {"I": cake, "I_errors": cake / 4}, "roi/1": {"sum": np.uint64(index)}}
        sink.write(frame(index, results=results))
    sink.finish(ScanEnd("01-first", expected=4))
    return path


def export(*words: object) -> int:
    return main(["export", *map(str, words)])


def kept(index: int) -> tuple[Any, Any, Any]:
    """Axis, intensity and error of the bins that a file must have."""
    there = ~np.isin(np.arange(BINS), EMPTY_BINS)
    values = pattern(index)
    return PRODUCT.axes[0].values[there], values[there], np.sqrt(np.abs(values))[there]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("xy", {}), ("chi", {"skiprows": 4}), ("csv", {"skiprows": 1, "delimiter": ","})],
)
def test_numpy_reads_back_every_digit_of_axis_intensity_and_error(
    kind: str, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(written(tmp_path / "scan.h5"), "-o", tmp_path / "out", "--format", kind) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"scan42_{index:05d}.{kind}" for index in (0, 1, 3)
    ]
    for index in (0, 1, 3):
        radial, intensity, errors = np.loadtxt(tmp_path / "out" / f"scan42_{index:05d}.{kind}", **options).T
        wanted = kept(index)
        np.testing.assert_allclose(radial, wanted[0], rtol=1e-12)
        np.testing.assert_array_equal(intensity.astype("f4"), wanted[1])
        np.testing.assert_array_equal(errors.astype("f4"), wanted[2])
    told = capsys.readouterr().out
    assert f"3 of {BINS} bins have no value and were left out, in 3 frames" in told
    assert "1 frames have no data: 2 missing" in told


def test_silx_opens_a_pattern_as_a_scan_with_named_columns(tmp_path: Path) -> None:
    assert export(written(tmp_path / "scan.h5"), "-o", tmp_path) == 0
    with silx.io.open(str(tmp_path / "scan42_00003.xy")) as file:
        assert list(file) == ["3.1"]
        measured = file["3.1/measurement"]
        assert list(measured) == ["q_nm^-1", "I", "sigma"]
        np.testing.assert_array_equal(measured["I"][()], kept(3)[1])


def test_the_header_says_where_the_pattern_came_from(tmp_path: Path) -> None:
    assert export(written(tmp_path / "scan.h5", name="a\nb\u00e9"), "-o", tmp_path, "--name", "{file}_{frame}") == 0
    header = [line for line in (tmp_path / "scan_1.xy").read_text("ascii").splitlines() if line.startswith("#")]
    assert header[0] == "#F a b?" and header[-1] == "#L q_nm^-1  I  sigma"
    for words in ("frame: 1", "wavelength: 0.7 angstrom", "poni_version: 2.1", "polarization_applied: False"):
        assert f"#C {words}" in header
    assert f"#C bins left out, for they have no value: 3 of {BINS}" in header


def test_fit2d_columns_have_the_four_lines_of_fit2ds_own_files(shared: Path, tmp_path: Path) -> None:
    """Dioptas skips four lines; GSAS-II wants "2-theta" in them, and no number of columns but two or three."""
    assert export(written(tmp_path / "scan.h5", THETA), "-o", tmp_path, "--format", "chi") == 0
    ours = (tmp_path / "scan42_00001.chi").read_text("ascii").splitlines()
    fit2d = (shared / "powder/srxplanar_kfe2as2_pe/KFe2As2-00838_fit2d.chi").read_text("ascii").splitlines()
    assert ours[1:3] == [line.strip() for line in fit2d[1:3]]
    assert "2-theta" in ours[0].lower() and "2-theta" in fit2d[0].lower()
    assert int(ours[3]) == len(ours) - 4 and int(fit2d[3]) == len(fit2d) - 4
    assert {len(line.split()) for line in ours[4:]} == {3}


def test_the_axis_can_be_given_in_another_unit_with_the_wavelength_of_the_file(tmp_path: Path) -> None:
    source = written(tmp_path / "scan.h5")
    assert export(source, "-o", tmp_path, "--format", "xye", "--unit", "2th_deg") == 0
    theta = np.loadtxt(tmp_path / "scan42_00000.xye")[:, 0]
    np.testing.assert_allclose(4 * np.pi * np.sin(np.radians(theta / 2)) / 0.07, kept(0)[0], rtol=1e-11)


@pytest.mark.parametrize("unit", ["2th_deg", "2th_rad", "q_nm^-1", "q_A^-1"])
def test_a_unit_and_back_is_the_same_axis(unit: str) -> None:
    values = np.linspace(0.1, 4, 50)
    there = converted(values, "q_A^-1", unit, 0.5)
    np.testing.assert_allclose(converted(there, unit, "q_A^-1", 0.5), values, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "xye"], "2theta in degrees, not q_nm^-1: add --unit 2th_deg"),
        (["--product", "roi_2"], "no product 'roi_2': it has azint, cake, roi_1"),
        (["--product", "roi_1"], "neither a pattern nor a cake"),
        (["--product", "cake", "--format", "xy"], "cake is a cake: choose --format edf or tif, not xy"),
        (["--format", "edf"], "azint is a pattern: choose --format xy or xye or chi or csv, not edf"),
        (["--name", "{scan}"], "more than once"),
    ],
)
def test_what_cannot_be_written_rightly_is_refused(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(tmp_path / "scan.h5", PRODUCT, CAKE, REGIONS)
    assert export(source, "-o", tmp_path / "out", *options) == 1
    told = capsys.readouterr().err
    assert str(source) in told or ".xye" in told or "{frame}" in told
    assert words in told
    assert not list((tmp_path / "out").iterdir())


def test_an_axis_without_its_wavelength_is_not_turned_into_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = scan()
    source = written(tmp_path / "scan.h5", THETA, detector=replace(begin.detector, wavelength_angstrom=None))
    assert export(source, "-o", tmp_path, "--unit", "q_A^-1") == 1
    assert "needs the wavelength" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "frames"),
    [("1", [1]), ("-1", [3]), ("::3", [0, 3]), ("0,3", [0, 3]), ("1:,0", [0, 1, 3]), ("0:2", [0, 1])],
)
def test_frames_are_chosen_by_number_and_range(text: str, frames: list[int], tmp_path: Path) -> None:
    source = written(tmp_path / "scan.h5")
    assert export(source, "-o", tmp_path, f"--frames={text}") == (text == "1:,0")  # frame 2 was asked for, and missing
    assert [int(path.stem[-5:]) for path in sorted(tmp_path.glob("*.xy"))] == frames


@pytest.mark.parametrize("options", [["--frames=a"], ["--frames=1:2:3:4"], ["--name=x/{frame}"], ["--name={run}"]])
def test_wrong_arguments_are_told_before_anything_is_read(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path / "none.h5", *options) == 2
    assert options[0].split("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"), [("20:30", "chooses none"), ("2:1", "chooses none"), ("-99", "begins before the first")]
)
def test_frames_of_which_there_is_none_are_told(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(tmp_path / "scan.h5")
    assert export(source, "-o", tmp_path, f"--frames={text}") == 1
    assert f"--frames {text} {words} of its 4 frames, numbered from 0" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0:5", "2:20:2", "0,4:", "-5:", "0,1:-9"])
def test_a_range_that_reaches_beyond_the_scan_is_refused_with_the_number_of_frames(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was cut to what there is, silently: a scan that is not as long as thought looked complete."""
    source = written(tmp_path / "scan.h5")
    assert export(source, "-o", tmp_path, f"--frames={text}") == 1
    part = text.rpartition(",")[2]
    assert f"--frames {part} reaches beyond its 4 frames, 0 to 3" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.xy"))


def test_a_frame_that_is_asked_for_and_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path / "scan.h5")
    with h5py.File(source, "r+") as file:
        file["entry/ledger/status"][1] = FrameStatus.FAILED
    assert export(source, "-o", tmp_path, "--frames=0:3,9") == 1
    assert "3 frames have no data: 1 failed, 2 missing, 9 missing" in capsys.readouterr().out


def test_nothing_that_exists_is_overwritten_and_no_link_is_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, precious = written(tmp_path / "scan.h5"), tmp_path / "precious.txt"
    precious.write_text("years of work")
    (tmp_path / "scan42_00001.xy").symlink_to(precious)
    assert export(source, "-o", tmp_path) == 1
    assert "scan42_00001.xy exists: nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "scan42_00000.xy").exists()
    (tmp_path / "dangling").symlink_to(tmp_path / "not there yet")
    with pytest.raises(write.SinkFailed, match="exists and is left alone"):
        write.put(tmp_path / "dangling", b"x", overwrite=False)
    assert export(source, "-o", tmp_path, "--overwrite") == 0
    assert precious.read_text() == "years of work"
    assert not (tmp_path / "scan42_00001.xy").is_symlink()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_system_without_hard_links_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write.put(tmp_path / "a", b"x", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(write.SinkFailed, match="exists and is left alone"):
        write.put(tmp_path / "a", b"y", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_two_files_of_one_scan_name_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [written(tmp_path / name) for name in ("first.h5", "second.h5")]
    assert export(*sources, "-o", tmp_path / "out") == 1
    assert "would be written more than once: use {frame} and {file} in --name" in capsys.readouterr().err
    assert export(*sources, "-o", tmp_path / "out", "--name", "{file}_{product}_{frame}") == 0
    assert (tmp_path / "out" / "second_azint_3.xy").exists()


def test_a_cake_becomes_an_image_with_its_axes_and_errors(tmp_path: Path) -> None:
    source = written(tmp_path / "scan.h5", PRODUCT, CAKE)
    for kind in ("edf", "tif"):
        assert export(source, "-o", tmp_path, "--product", "cake", "--format", kind, "--frames=3") == 0
    expected = np.full((8, 90), 3, np.float32)
    expected[0, :3] = np.nan
    image = fabio.open(str(tmp_path / "scan42_00003.edf"))
    np.testing.assert_array_equal(image.data, expected)
    np.testing.assert_array_equal(image.next().data, expected / 4)
    radial, eta = CAKE.axes[1].values, CAKE.axes[0].values
    assert [float(image.header[f"2th_deg_{end}"]) for end in ("min", "max")] == [radial[0], radial[-1]]
    assert [float(image.header[f"chi_deg_{end}"]) for end in ("min", "max")] == [eta[0], eta[-1]]
    np.testing.assert_array_equal(fabio.open(str(tmp_path / "scan42_00003.tif")).data, expected)
    np.testing.assert_array_equal(fabio.open(str(tmp_path / "scan42_00003_errors.tif")).data, expected / 4)


def test_a_file_that_grows_is_exported_as_far_as_it_goes(tmp_path: Path) -> None:
    sink = make("hdf5", tmp_path / "scan.h5", flush_frames=1)
    sink.start(scan(), (PRODUCT,))
    for index in range(2):
        sink.write(frame(index))
    try:
        assert export(tmp_path / "scan.h5", "-o", tmp_path) == 0
        np.testing.assert_array_equal(np.loadtxt(tmp_path / "scan42_00001.xy")[:, 1].astype("f4"), pattern(1))
    finally:
        sink.close()


def test_files_that_are_no_results_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = make("archive", tmp_path / "frames.h5")
    archive.start(scan(), ())
    archive.write(frame(0))
    archive.finish(ScanEnd("01-first", expected=1))
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes([2]) * 992)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["entry/data"] = 1
    for name, words in {
        "frames.h5": "has no results, only frames: process it first",
        "text.h5": "cannot be opened as HDF5",
        "damaged.h5": "cannot be opened as HDF5",
        "other.h5": "is not a results file of inbeam: it has no ",
        "nothere.h5": "is not there",
    }.items():
        assert export(tmp_path / name, "-o", tmp_path) == 1
        told = capsys.readouterr().err
        assert name in told and words in told and "Traceback" not in told


def test_a_frame_of_nothing_but_holes_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = make("hdf5", tmp_path / "scan.h5")
    sink.start(scan(), (PRODUCT,))
    nothing = np.full(BINS, np.nan, np.float32)
    sink.write(frame(0, results={"azint": {"I": nothing, "I_errors": nothing, "total": np.float64(0)}}))
    sink.write(hole(1, FrameStatus.CORRUPT, "cut off"))
    sink.finish(ScanEnd("01-first", expected=2))
    assert export(tmp_path / "scan.h5", "-o", tmp_path) == 1
    assert "frame 0 has no bin with a value" in capsys.readouterr().err


@pytest.mark.slow
def test_a_powder_pattern_is_exported_as_dioptas_had_it(shared: Path, tmp_path: Path) -> None:
    """The golden .xy: pyFAI, bounding boxes, polarization 0.99, rows turned, and no mask: its gaps count as -2."""
    folder = shared / "powder/dioptas_ceo2_pilatus1m"
    golden = np.loadtxt(folder / "CeO2_Pilatus1M.xy")
    image = tmp_path / "ceo2.edf"
    turned = fabio.open(str(folder / "CeO2_Pilatus1M.tif")).data[::-1]
    fabio.edfimage.EdfImage(turned.astype(np.float32)).write(str(image))
    step = golden[1, 0] - golden[0, 0]
    integrate = {
        "type": "integrate",
        "poni": str(folder / "CeO2_Pilatus1M.poni"),
        "npt": len(golden),
        "unit": "2th_deg",
        "radial_range": [float(golden[0, 0] - step / 2), float(golden[-1, 0] + step / 2)],
        "splitting": "bbox",
        "polarization": 0.99,
        "error_model": "poisson",
        "device": "cpu",
    }
    document = {
        "stream": {"type": "files", "files": [str(image)]},
        "processors": [integrate],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "ceo2.h5")}],
    }
    (tmp_path / "ceo2.yaml").write_text(yaml.safe_dump(document))
    assert main(["process", "--quiet", str(tmp_path / "ceo2.yaml"), str(image)]) == 0
    assert export(tmp_path / "ceo2.h5", "-o", tmp_path, "--name", "ceo2") == 0
    radial, intensity, errors = np.loadtxt(tmp_path / "ceo2.xy").T
    nearest = np.abs(radial[:, None] - golden[:, 0]).argmin(axis=1)
    inner = (radial > 2) & (radial < 20)
    np.testing.assert_allclose(radial[inner], golden[nearest, 0][inner], rtol=1e-5)
    np.testing.assert_allclose(intensity[inner], golden[nearest, 1][inner], rtol=2e-4)
    assert (errors > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "error_model"),
    [("q_nm^-1", "poisson"), ("2th_deg", "poisson"), ("q_A^-1", "none"), ("r_mm", "none"), ("log10(q.m)_None", "none")],
)
def test_pyfai_loads_a_pattern_as_it_was_integrated(unit: str, error_model: str, tmp_path: Path) -> None:
    simulated = small()
    (tmp_path / "small.poni").write_text(poni(simulated))
    counts = next(iter(next(iter(frames(simulated, 1))).values()))
    fabio.edfimage.EdfImage(counts).write(str(tmp_path / "image.edf"))
    integrate = {"type": "integrate", "poni": str(tmp_path / "small.poni"), "npt": 50, "unit": unit, "device": "cpu"}
    integrate |= {"error_model": error_model, "polarization": 0.9}
    document = {
        "stream": {"type": "files", "files": ["replaced"]},
        "processors": [{"type": "correct"}, integrate],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "results.h5")}],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
    assert main(["process", "--quiet", str(tmp_path / "small.yaml"), str(tmp_path / "image.edf")]) == 0
    assert export(tmp_path / "results.h5", "-o", tmp_path, "--format", "pyfai", "--name", "pattern") == 0
    loaded = load_nexus(str(tmp_path / "pattern.nxs"))
    with h5py.File(tmp_path / "results.h5") as file:
        data = file["entry/data"]
        np.testing.assert_array_equal(loaded.radial, data["radial_axis"][()])
        np.testing.assert_array_equal(loaded.intensity, data["I"][0])
        if error_model == "poisson":
            np.testing.assert_array_equal(loaded.sigma, data["I_errors"][0])
    expected = pyFAI.load(str(tmp_path / "small.poni")).integrate1d(
        counts,
        50,
        unit=unit,
        mask=counts == np.iinfo(counts.dtype).max,
        polarization_factor=0.9,
        error_model=None if error_model == "none" else error_model,
        method=("no", "csr", "cython"),
    )
    there = expected.count > 0
    assert str(loaded.unit) == unit
    assert loaded.polarization_factor == 0.9 and loaded.poni.dist == pyFAI.load(str(tmp_path / "small.poni")).dist
    assert loaded.error_model.name == expected.error_model.name
    np.testing.assert_allclose(loaded.radial, expected.radial, rtol=1e-6)
    np.testing.assert_allclose(loaded.intensity[there], expected.intensity[there], rtol=1e-5)
    assert np.isnan([loaded.sum_signal, loaded.sum_normalization, loaded.count]).all()


def test_pyfai_gets_no_cake_and_nothing_without_geometry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path / "scan.h5", PRODUCT, CAKE)
    for product, words in (("cake", "choose --format edf or tif"), ("azint", "not of `integrate`")):
        assert export(source, "-o", tmp_path, "--format", "pyfai", "--product", product) == 1
        assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*.nxs"))


@pytest.mark.slow
def test_pyfai_is_told_the_factor_that_each_frame_was_divided_by(tmp_path: Path) -> None:
    """Also where the reference was changed while the scan ran."""
    simulated = small()
    (tmp_path / "small.poni").write_text(poni(simulated))
    images = [next(iter(each.values())) for each in frames(simulated, 4)]
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/data/data"] = np.stack(images)
        file["entry/instrument/i0"] = [10.0, 20.0, 30.0, 40.0]
    integrate = {"type": "integrate", "poni": str(tmp_path / "small.poni"), "npt": 50, "device": "cpu"}
    integrate |= {"normalize_by_monitor": True, "monitor_reference": 10.0}
    (tmp_path / "changes.yaml").write_text("- {frame: 2, path: processors.integrate.monitor_reference, value: 5.0}\n")
    document = {
        "stream": {"type": "files", "files": ["replaced"], "monitor": "/entry/instrument/i0"},
        "processors": [integrate],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "results.h5")}],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
    command = ["process", "--quiet", "--changes", str(tmp_path / "changes.yaml"), str(tmp_path / "small.yaml")]
    assert main([*command, str(tmp_path / "scan.h5")]) == 0
    assert export(tmp_path / "results.h5", "-o", tmp_path, "--format", "pyfai", "--name", "{frame}") == 0
    loaded = [load_nexus(str(tmp_path / f"{number}.nxs")) for number in range(4)]
    assert [each.normalization_factor for each in loaded] == [1.0, 2.0, 6.0, 8.0]
    ai = pyFAI.load(str(tmp_path / "small.poni"))
    for image, each in zip(images, loaded, strict=True):
        mask = image == np.iinfo(image.dtype).max
        expected = ai.integrate1d(
            image,
            50,
            unit="q_nm^-1",
            mask=mask,
            method=("no", "csr", "cython"),
            normalization_factor=each.normalization_factor,
        )
        there = expected.count > 0
        np.testing.assert_allclose(each.intensity[there], expected.intensity[there], rtol=1e-5)


def test_the_backgrounds_of_a_sparse_file_are_patterns_too(tmp_path: Path) -> None:
    told = replace(sparse_examples.PRODUCT.sparse, radius_unit="r_m", radius_name="Radius $r$ ($m$)")
    sink = sparse_examples.make(tmp_path / "sparse.h5")
    sink.start(scan(), (replace(sparse_examples.PRODUCT, sparse=told),))
    for index in range(2):
        sink.write(sparse_examples.frame(index))
    sink.finish(ScanEnd("01-first", expected=2))
    assert export(tmp_path / "sparse.h5", "-o", tmp_path) == 0
    lines = (tmp_path / "scan42_00001.xy").read_text().splitlines()
    assert "#L r_m  I  sigma" in lines
    radius, background, deviation = np.loadtxt(tmp_path / "scan42_00001.xy").T
    np.testing.assert_array_equal(radius.astype("f4"), sparse_examples.PRODUCT.constants["radius"])
    np.testing.assert_array_equal(background.astype("f4"), pattern(1))
    np.testing.assert_array_equal(deviation.astype("f4"), np.abs(pattern(1)) + 1)
