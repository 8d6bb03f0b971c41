"""`inbeam table` and `inbeam.table`: a row per frame, a column per region by its name."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from roi_files import IMAGES, START, processed

import inbeam
from sinks import hdf5
from sinks.export.series import series
from stream import Axis, Change, Field, Product, ScanEnd
from stream.commands.main import main
from stream.errors import InbeamError
from stream.testing import examples

B = {"kind": "rectangle", "x": [5, 9], "y": [5, 9]}
EDITS = [
    {"frame": 3, "path": "processors.roi.regions.a.x", "value": [10, 20]},
    {"frame": 5, "path": "processors.roi.regions.b", "value": B},
    {"frame": 8, "path": "processors.roi.regions", "value": {"b": B, "a": START["a"]}},
    {"frame": 10, "path": "processors.roi.regions.b", "value": None},
]


def test_a_column_is_of_a_region_whatever_place_it_had(tmp_path: Path) -> None:
    found = inbeam.columns(processed(tmp_path, changes=EDITS))
    wanted = [
        *IMAGES[:3, :10, :10].sum((1, 2)),
        *IMAGES[3:8, :10, 10:20].sum((1, 2)),
        *IMAGES[8:, :10, :10].sum((1, 2)),
    ]
    assert found["a_sum"].tolist() == wanted
    assert found["b_counts"][5:10].tolist() == IMAGES[5:10, 5:9, 5:9].sum((1, 2)).tolist()
    assert np.isnan(found["b_counts"][:5]).all() and np.isnan(found["b_counts"][10:]).all()
    assert found["b_pixels"].tolist() == [0] * 5 + [16] * 5 + [0] * 2
    assert found["revision"].tolist() == [0] * 3 + [1] * 2 + [2] * 3 + [3] * 2 + [4] * 2
    assert not any(name.startswith("roi_") for name in found)


def written(path: Path, absolute: bool = True, products: int = 1, region: str = "x") -> Path:
    """A file with a hole, readings and two kinds of products."""
    places = Field("sum", (2,), np.dtype("f8"), "counts")
    parameters = {"configuration": {"name": "roi", "regions": {region: {}, "y": {}}}}
    made = [
        Product(name, (places,), places="regions", parameters=parameters, axes=(Axis("place", np.arange(2), ""),))
        for name in ("roi", "again")[:products]
    ]
    made.append(Product("mean", (Field("value", (), np.dtype("f8"), "counts"),)))
    sink = hdf5.create(hdf5.Config(path=str(path)))
    sink.start(examples.scan(expected=4, readings={"monitor": "A", "temp": "K"}), made)
    sink.write(Change(examples.UID, 2, "processors.other.regions.x", None, "somebody", 1, 0.0))
    for index in (0, 1, 3):
        results = {name: {"sum": np.array([index, -index], "f8")} for name in ("roi", "again")[:products]}
        frame = examples.frame(
            index,
            readings={"monitor": 5.0 + index, "temp": 300.0},
            results={**results, "mean": {"value": np.array(index / 3)}},
            absolute_time=1.7e9 + index / 8 if absolute or index else np.nan,
        )
        sink.write(frame)
    sink.finish(ScanEnd(examples.UID, announced=4, expected=4))
    sink.close()
    return path


def test_holes_readings_times_and_other_numbers_have_their_columns(tmp_path: Path) -> None:
    found = series(written(tmp_path / "one.h5"))
    columns = found.columns
    assert columns["status"].tolist() == ["received", "received", "missing", "received"]
    np.testing.assert_array_equal(columns["time"], [1.7e9, 1.7e9 + 0.125, np.nan, 1.7e9 + 0.375])
    np.testing.assert_array_equal(columns["detector_time"], [0, 0.01, np.nan, 0.03])
    np.testing.assert_array_equal(columns["reading_monitor"], [5, 6, np.nan, 8])
    np.testing.assert_array_equal(columns["y_sum"], [-0.0, -1, np.nan, -3])
    np.testing.assert_array_equal(columns["mean_value"], [0, 1 / 3, np.nan, 1])
    assert (
        found.time_from == "absolute_time" and found.units["reading_temp"] == "K" and found.units["x_sum"] == "counts"
    )


def test_times_of_two_clocks_are_not_mixed(tmp_path: Path) -> None:
    found = series(written(tmp_path / "one.h5", absolute=False))
    assert found.time_from == "received_time"
    np.testing.assert_array_equal(found.columns["time"], [1.7e9, 1.7e9 + 1, np.nan, 1.7e9 + 3])


def test_two_sets_of_regions_do_not_take_each_others_names(tmp_path: Path) -> None:
    found = inbeam.columns(written(tmp_path / "one.h5", products=2))
    assert {"roi_x_sum", "again_x_sum"} < set(found) and "x_sum" not in found


def test_the_columns_of_a_region_lie_together_and_take_no_reading_s_name(tmp_path: Path) -> None:
    regions = {"b": B, "a": START["a"]}
    names = list(inbeam.columns(processed(tmp_path, regions=regions)))
    of = [name[0] for name in names if name[:2] in ("a_", "b_")]
    assert of == sorted(of, reverse=True) and of.count("a") == of.count("b") > 10
    sink_file = written(tmp_path / "two.h5", region="reading_monitor")
    assert {"reading_temp", "reading_monitor_sum"} < set(inbeam.columns(sink_file))


def test_the_command_writes_csv_that_reads_back_to_the_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = processed(tmp_path, changes=EDITS)
    assert main(["table", str(path), "-o", str(tmp_path / "tables")]) == 0
    assert "12 frames" in capsys.readouterr().out
    with (tmp_path / "tables/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = inbeam.columns(path)
    assert list(rows[0]) == list(found)
    for name, values in found.items():
        if values.dtype.kind == "f":
            np.testing.assert_array_equal([float(row[name] or "nan") for row in rows], values, err_msg=name)
    assert main(["table", str(path), "-o", str(tmp_path / "tables")]) == 1
    assert "exists" in capsys.readouterr().err
    assert main(["table", str(path), "-o", str(tmp_path / "tables"), "--overwrite"]) == 0


def test_pandas_and_parquet_have_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = written(tmp_path / "one.h5")
    frame, found = inbeam.table(path), inbeam.columns(path)
    assert frame.index.tolist() == [0, 1, 2, 3] and frame.attrs["time_from"] == "absolute_time"
    assert list(frame) == [name for name in found if name != "frame"]
    np.testing.assert_array_equal(frame["mean_value"].to_numpy(), found["mean_value"])
    assert main(["table", "--parquet", str(path), "-o", str(tmp_path)]) == 0
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "one.parquet"), frame)


def test_a_file_without_results_and_no_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(InbeamError, match=r"nothing.h5"):
        inbeam.columns(tmp_path / "nothing.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["entry/data"] = 1
    with pytest.raises(InbeamError, match="is not a results file of inbeam: it has no "):
        inbeam.columns(tmp_path / "other.h5")


def broken(what: str, path: Path) -> None:
    """Make one thing in a good file other than it should be."""
    with h5py.File(path, "r+") as file:
        entry = file["entry"]
        if what == "parameters":
            del entry["provenance/parameters_roi"]
            entry["provenance/parameters_roi"] = "{no json"
        elif what == "regions":
            del entry["provenance/parameters_roi"]
            entry["provenance/parameters_roi"] = '{"configuration": {"regions": [1, 2]}}'
        elif what == "axes":
            del entry["roi"].attrs["axes"]
        elif what == "ledger":
            del entry["ledger/revision"]
            entry["ledger/revision"] = "none"
        else:
            entry["changes/value"][0] = b"[1,"


DAMAGED = [(command, what) for command in ("table", "stitch") for what in ("parameters", "regions", "axes", "ledger")]
DAMAGED += [(command, "changes") for command in ("table", "stitch", "recompute")]


@pytest.mark.slow
@pytest.mark.parametrize("command, what", [*DAMAGED, ("recompute", "parameters"), ("recompute", "regions")])
def test_a_damaged_file_is_told_of_and_gives_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    monkeypatch.setattr("os.nice", lambda more: more)
    path = processed(tmp_path, changes=EDITS)
    broken(what, path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([command, str(path)]) == 1
    assert path.name in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before
