"""The results file: NeXus, its provenance, its link to the archive."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import silx.io
import yaml
from product_examples import CAKE, REGIONS, SPARSE
from silx.io.nxdata import get_default
from sink_conformance import FileSinkConformance
from sink_examples import BINS, PRODUCT, frame, image, make, pattern, scan

from sinks.check import check
from sinks.hdf5 import Config
from stream.context import Context
from stream.errors import SinkFailed
from stream.events import Frame, FrameStatus, ScanEnd
from stream.products import Product, Reduction
from stream.registry import create


class TestHdf5Conforms(FileSinkConformance):
    kind = "hdf5"


def written(path: Path, given: tuple[Product, ...], frames: list[Frame], **options: Any) -> Path:
    """A complete file of results."""
    document = {"processors": [{"type": "integrate"}], "sinks": [{"type": "hdf5", "path": str(path)}]}
    sink = make("hdf5", path, Context(document=document), **options)
    sink.start(scan(), given)
    for each in frames:
        sink.write(each)
    sink.finish(ScanEnd("01-first", expected=len(frames)))
    sink.close()
    return path


def test_a_pattern_is_an_nxazint1d_with_axes_errors_and_units(tmp_path: Path) -> None:
    path = written(tmp_path / "scan.h5", (PRODUCT,), [frame(index) for index in range(5)])
    with h5py.File(path, "r") as file:
        entry = file["/entry"]
        assert file.attrs["default"] == "entry"
        assert entry.attrs["default"] == "data"
        assert entry["definition"].asstr()[()] == "NXazint1d"
        assert entry["solid_angle_applied"][()]
        assert not entry["polarization_applied"][()]
        assert entry["normalization_applied"][()] and not entry["monitor_applied"][()]
        assert entry["instrument/monochromator/wavelength"].attrs["units"] == "angstrom"
        assert entry["instrument/source/probe"].asstr()[()] == "x-ray"
        assert entry["reduction"].attrs["NX_class"] == "NXprocess"
        assert entry["reduction/program"].asstr()[()] == "inbeam"
        assert entry["reduction/input"].attrs["NX_class"] == "NXparameters"
        assert entry["reduction/input/configuration/npt"][()] == BINS
        assert entry["reduction/input/poni"].asstr()[()] == "poni_version: 2.1"
        data = entry["data"]
        assert data == entry["azint"]
        assert data.attrs["signal"] == "I"
        assert list(data.attrs["axes"]) == [".", "radial_axis"]
        assert data["I"].attrs["interpretation"] == "spectrum"
        assert data["I"].attrs["units"] == "arbitrary units"
        assert list(data["I"]._filters) == ["32008"]
        assert data["I_errors"].shape == (5, BINS)
        assert data["radial_axis"].attrs["units"] == "1/nm"
        assert data["radial_axis"].attrs["long_name"] == "q"
        assert data["radial_axis_edges"].shape == (BINS + 1,)
        assert data["norm"].shape == (BINS,)
        np.testing.assert_array_equal(data["I"][3], pattern(3))
        assert data["total"][3] == pattern(3).sum(dtype=np.float64)
        assert entry["monitor/data"][:].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("header", [None, 0.7])
def test_the_wavelength_is_the_one_that_was_integrated_with(header: float | None, tmp_path: Path) -> None:
    """That of the poni or the configuration, where it overrides the header's or the header has none."""
    used = replace(PRODUCT, reduction=Reduction("NXazint1d", wavelength_angstrom=1.0))
    begin = scan()
    begin = replace(begin, detector=replace(begin.detector, wavelength_angstrom=header, energy_ev=None))
    sink = make("hdf5", tmp_path / "scan.h5")
    sink.start(begin, (used,))
    sink.finish(ScanEnd("01-first", expected=0))
    with h5py.File(tmp_path / "scan.h5", "r") as file:
        told = file["/entry/instrument/monochromator"]
        assert told["wavelength"][()] == 1.0
        assert told["energy"][()] == pytest.approx(12.398419843)


def test_several_products_of_any_shape_have_groups_of_their_own(tmp_path: Path) -> None:
    dice = np.random.default_rng(8)
    cakes = dice.random((4, 8, 90), np.float32)
    frames = [
        frame(
            index,
            results={
                **frame(index).results,
                "cake": {"I": cakes[index], "I_errors": cakes[index] / 10},
                "roi/1": {"sum": np.uint64(index * 7), "box": np.full((4, 5), index, np.int32)},
            },
        )
        for index in range(4)
    ]
    path = written(tmp_path / "scan.h5", (PRODUCT, CAKE, REGIONS), frames)
    with h5py.File(path, "r") as file:
        cake, regions = file["/entry/cake/data"], file["/entry/roi_1/data"]
        assert cake["I"] == file["/entry/cake/I"]
        np.testing.assert_array_equal(cake["I"][:], cakes)
        assert list(cake.attrs["axes"]) == [".", "azimuthal_axis", "radial_axis"]
        assert cake["I"].attrs["interpretation"] == "image"
        assert cake.attrs["radial_axis_indices"] == 2
        assert regions["sum"][:].tolist() == [0, 7, 14, 21]
        assert (regions["box"][3] == 3).all()
        assert regions.attrs["signal"] == "sum"
        assert "reduction_cake" in file["/entry"]
    assert check(path).sound, check(path).line()


def test_silx_plots_the_patterns_with_their_errors(tmp_path: Path) -> None:
    path = written(tmp_path / "scan.h5", (PRODUCT,), [frame(index) for index in range(3)])
    with silx.io.open(str(path)) as file:
        plot = get_default(file)
        assert plot is not None
        assert plot.is_valid
        assert plot.signal_dataset_name == "I"
        assert plot.axes_dataset_names[-1] == "radial_axis"
        assert plot.errors is not None


def test_a_frame_that_failed_stays_empty_between_its_neighbours(tmp_path: Path) -> None:
    frames = [frame(0), frame(1, FrameStatus.FAILED, results={}, problem="azint: no beam"), frame(2)]
    with h5py.File(written(tmp_path / "scan.h5", (PRODUCT,), frames), "r") as file:
        assert np.isnan(file["/entry/data/I"][1]).all()
        np.testing.assert_array_equal(file["/entry/data/I"][2], pattern(2))
        assert file["/entry/ledger/status"][:].tolist() == [1, FrameStatus.FAILED, 1]
        assert file["/entry/ledger/problem"][1] == b"azint: no beam"


def test_the_file_says_how_it_came_to_be(tmp_path: Path) -> None:
    path = written(tmp_path / "scan.h5", (PRODUCT,), [frame(0)])
    with h5py.File(path, "r") as file:
        told = file["/entry/provenance"]
        document = yaml.safe_load(told["configuration"].asstr()[()])
        assert document["processors"] == [{"type": "integrate"}]
        assert os.path.basename(sys.argv[0]) in told["command_line"].asstr()[()]
        assert told["host"].asstr()[()] == os.uname().nodename
        assert told["scan_uid"].asstr()[()] == "01-first"
        for package in ("inbeam", "numpy", "h5py", "HDF5", "pyFAI", "python"):
            assert told["versions"][package].asstr()[()]
        assert "T" in file["/entry/end_time"][0].decode()


def test_the_poni_of_the_configuration_is_kept(tmp_path: Path) -> None:
    poni = tmp_path / "geometry.poni"
    poni.write_text("poni_version: 2.1\nDistance: 0.1\n")
    document = {"processors": [{"type": "integrate", "poni": str(poni)}]}
    sink = make("hdf5", tmp_path / "scan.h5", Context(document=document))
    sink.start(scan(), (PRODUCT,))
    sink.finish(ScanEnd("01-first", expected=0))
    with h5py.File(tmp_path / "scan.h5", "r") as file:
        assert file["/entry/provenance/poni"].asstr()[()] == poni.read_text()


@pytest.mark.parametrize("earlier_scans", [0, 1])
def test_the_frames_of_the_archive_are_linked(earlier_scans: int, tmp_path: Path) -> None:
    for uid in [f"earlier-{number}" for number in range(earlier_scans)] + ["01-first"]:
        archive = make("archive", tmp_path / "raw" / "{scan}.h5")
        results = make("hdf5", tmp_path / "results" / "{scan}.h5", link=str(tmp_path / "raw" / "{scan}.h5"))
        archive.start(scan(uid), (PRODUCT,))
        results.start(scan(uid), (PRODUCT,))
        for index in range(3):
            archive.write(frame(index + len(uid)))
            results.write(frame(index + len(uid)))
        for sink in (archive, results):
            sink.finish(ScanEnd(uid, expected=12))
            sink.close()
    (tmp_path / "moved").mkdir()
    for folder in ("raw", "results"):
        (tmp_path / folder).rename(tmp_path / "moved" / folder)
    name = results.path.name
    assert name == ("scan42.h5" if not earlier_scans else "scan42_2.h5")
    with h5py.File(tmp_path / "moved" / "results" / name, "r") as file:
        link = file["/entry"].get("frames/data", getlink=True)
        assert link.filename == f"../raw/{name}"
        np.testing.assert_array_equal(file["/entry/frames/data"][len("01-first")], image(len("01-first")))
        np.testing.assert_array_equal(file["/entry/instrument/detector/data"][8], image(8))
    assert check(tmp_path / "moved" / "results" / name).sound


def test_the_link_follows_an_archive_that_is_overwritten(tmp_path: Path) -> None:
    raw = str(tmp_path / "raw.h5")
    options = {"path": raw, "if_exists": "overwrite"}
    for uid in ("earlier", "01-first"):
        archive = make("archive", **options)
        document = {"sinks": [{"type": "archive", **options}]}
        results = make("hdf5", tmp_path / f"{uid}.h5", Context(document=document), link=raw)
        for sink in (archive, results):
            sink.start(scan(uid), (PRODUCT,))
        for sink in (archive, results):
            sink.write(frame(0))
            sink.finish(ScanEnd(uid, expected=1))
    with h5py.File(tmp_path / "01-first.h5", "r") as file:
        assert file["/entry"].get("frames/data", getlink=True).filename == "raw.h5"
        np.testing.assert_array_equal(file["/entry/frames/data"][0], image(0))


def test_results_of_changing_length_are_left_to_the_sparse_sink(tmp_path: Path) -> None:
    both = frame(0, results={**frame(0).results, "peaks": {"index": np.arange(3), "count": np.uint32(3)}})
    with h5py.File(written(tmp_path / "scan.h5", (PRODUCT, SPARSE), [both]), "r") as file:
        assert list(file["/entry/peaks/data"].attrs["not_stored"]) == ["index"]
        assert file["/entry/peaks/count"][0] == 3
    only = Product("peaks", SPARSE.fields[:1], "index")
    with pytest.raises(SinkFailed, match=r"'peaks'.*use the sink `sparse`"):
        make("hdf5", tmp_path / "other.h5").start(scan(), (only,))


def test_only_the_products_asked_for_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "scan.h5", (CAKE, PRODUCT), [frame(0)], products=("azint",))
    with h5py.File(path, "r") as file:
        assert "cake" not in file["/entry"]
        assert file["/entry/data"] == file["/entry/azint"]
    with pytest.raises(SinkFailed, match=r"'azimt'.*processors give azint, cake"):
        make("hdf5", tmp_path / "other.h5", products=("azimt",)).start(scan(), (CAKE, PRODUCT))


def test_other_settings_of_the_same_scan_make_another_file(tmp_path: Path) -> None:
    path = written(tmp_path / "scan.h5", (PRODUCT,), [frame(0)])
    sink = make("hdf5", path)
    assert sink.start(scan(), (PRODUCT,)).complete
    sink.close()
    other = Product(**{**{name: getattr(PRODUCT, name) for name in PRODUCT.__slots__}, "parameters": {"npt": 3}})
    assert sink.start(scan(), (other,)).empty
    sink.close()
    assert sink.path == tmp_path / "scan_2.h5"


def test_without_products_there_is_still_the_ledger(tmp_path: Path) -> None:
    refused = frame(0, FrameStatus.FAILED, results={}, problem="integrate: no geometry")
    with h5py.File(written(tmp_path / "scan.h5", (), [refused]), "r") as file:
        assert file["/entry/ledger/status"][:].tolist() == [FrameStatus.FAILED]


@pytest.mark.parametrize(("name", "words"), [("{scn}.h5", "unknown {scn}; known: {scan}"), (" ", "is empty")])
def test_a_pattern_that_cannot_be_filled_in_is_refused_at_once(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(path=name)


def test_a_hostile_scan_name_stays_in_its_folder(tmp_path: Path) -> None:
    sink = create("sinks", Config(path=str(tmp_path / "{scan}" / "{scan}.h5")))
    sink.start(scan(name="../../etc/passwd\0"), (PRODUCT,))
    sink.finish(ScanEnd("01-first", expected=0))
    assert sink.path.parent.parent == tmp_path
