"""Scans of a sample as one series: ties, changes of the attenuator, corrections that a person may edit, derivatives."""

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from roi_files import processed
from scipy.signal import savgol_filter

from sinks.export.series import Series
from sinks.stitching.corrections import Correction, Plan, corrected, factors_of, planned
from sinks.stitching.joining import Joined, joined, untied
from sinks.stitching.smoothing import smoothed
from sinks.stitching.steps import from_counts, from_reading
from stream.commands.main import main
from stream.errors import InbeamError

REGIONS = ["a_counts", "b_counts"]


def table(counts: Any, scan: str = "one", began: float = 1e9, **more: Any) -> Series:
    """counts: by region, (n,) each; errors are Poisson's, the centre of mass is 5."""
    count = len(next(iter(counts.values())))
    columns = {
        "frame": np.arange(count),
        "status": np.full(count, "received"),
        "time": began + np.arange(count, dtype=float),
        "detector_time": np.full(count, np.nan),
        "revision": np.zeros(count, "u4"),
    }
    units = {}
    for name, values in counts.items():
        for field in ("counts", "sum"):
            columns |= {f"{name}_{field}": np.asarray(values, float), f"{name}_{field}_errors": np.sqrt(values)}
            units |= {f"{name}_{field}": "counts", f"{name}_{field}_errors": "counts"}
        columns[f"{name}_com_x"] = np.full(count, 5.0)
    return Series(scan, columns | more, units, "absolute_time", ())


def growth(count: int = 400, seed: int = 1) -> dict[str, np.ndarray]:
    """Expected counts of two regions that grow differently, without any attenuator."""
    time = np.arange(count)
    return {"a": 20_000 + 100.0 * time, "b": 40_000 - 30.0 * time}


def attenuated(factors: np.ndarray, moving: tuple[int, ...] = (), seed: int = 1) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(seed)
    shut = np.ones(len(factors))
    shut[list(moving)] = 0.02
    return {name: dice.poisson(each * factors * shut).astype(float) for name, each in growth(len(factors)).items()}


FACTORS = np.ones(400)
FACTORS[150:] /= 7.3
FACTORS[300:] *= 2.1


def test_changes_of_the_attenuator_are_found_and_taken_out_of_intensities_alone() -> None:
    rows = joined([("one", table(attenuated(FACTORS, moving=(148, 149))))])
    steps = from_counts({name: rows.columns[name] for name in REGIONS}, 1.5)
    assert [(step.before, step.after, step.doubt) for step in steps] == [(147, 150, ""), (299, 300, "")]
    factors = factors_of(planned(steps, rows, {}), rows, REGIONS)
    assert np.isnan(factors.factor[148:150]).all() and np.isfinite(factors.factor).sum() == 398
    for each, wanted in zip(factors.applied, (7.3, 1 / 2.1), strict=True):
        assert abs(each.ratio - wanted) < 5 * each.error < 0.2 * wanted
    last = factors.applied[-1]
    assert last.cumulative == pytest.approx(last.ratio * factors.applied[0].ratio)
    relative = np.hypot(*(each.error / each.ratio for each in factors.applied))
    assert last.cumulative_error == pytest.approx(last.cumulative * relative)
    values, errors = corrected("a_sum", rows, factors)
    there = np.isfinite(values)
    assert errors is not None and (abs(values - growth()["a"])[there] < 6 * errors[there]).all()
    assert rows.intensities() == ["a_counts", "a_sum", "b_counts", "b_sum"]  # positions and widths are no intensities


def test_a_step_of_one_region_is_no_attenuator_and_a_slope_is_none_either() -> None:
    counts = attenuated(np.ones(400))
    counts["a"][200:] *= 2
    (step,) = from_counts(counts, 1.5)
    assert "no attenuator does that" in step.doubt
    rows = joined([("one", table(counts))])
    plan = planned([step], rows, {})
    assert not plan.corrections[0].apply and (factors_of(plan, rows, REGIONS).factor == 1).all()
    assert from_counts(attenuated(np.exp(np.linspace(0, 3, 400))), 1.5) == []
    spike = np.ones(400)
    spike[100:102] = 5
    assert from_counts(attenuated(spike), 1.5) == []


def test_a_step_where_the_regions_were_moved_is_not_taken_for_one() -> None:
    made = table(attenuated(FACTORS), revision=np.where(np.arange(400) >= 150, 1, 0))
    made = Series(made.scan, made.columns, made.units, made.time_from, (), ((0, "here"), (1, "there")))
    rows = joined([("one", made)])
    steps = from_counts({name: rows.columns[name] for name in REGIONS}, 1.5)
    plan = planned(steps, rows, {})
    assert [each.apply for each in plan.corrections] == [False, True]
    assert "the regions were changed here" in plan.corrections[0].note


def test_a_reading_tells_where_the_attenuator_was_changed() -> None:
    reading = np.where(FACTORS == 1, 0.0, 2.0)
    reading[149] = 1.0  # on its way
    reading[[20, 30]] = np.nan
    assert [(each.before, each.after) for each in from_reading(reading)] == [(148, 150)]
    blink = np.zeros(20)
    blink[10] = 1
    assert from_reading(blink) == []


def test_end_points_may_be_edited_and_a_ratio_given() -> None:
    rows = joined([("one", table(attenuated(FACTORS)))])
    several = factors_of(Plan(corrections=(Correction(before="one/149", after="one/150", points=20),)), rows, REGIONS)
    single = factors_of(Plan(corrections=(Correction(before="one/149", after="one/150"),)), rows, REGIONS)
    assert several.applied[0].error < single.applied[0].error / 3
    given = Correction(before="one/149", after="one/150", ratio=7.0, error=0.7)
    factors = factors_of(Plan(corrections=(given,)), rows, REGIONS)
    assert factors.factor[200] == 7 and factors.error[200] == pytest.approx(0.7) and factors.error[100] == 0
    for wrong, words in (
        ({"before": "two/1", "after": "one/3"}, "no frame 'two/1': write SCAN/NUMBER, of one"),
        ({"before": "one/3", "after": "one/3"}, "`before` comes first"),
        ({"before": "one/3", "after": "one/9999"}, "no frame 'one/9999'"),
    ):
        with pytest.raises(InbeamError, match=words):
            factors_of(Plan(corrections=(Correction(**wrong),)), rows, REGIONS)
    dark = attenuated(FACTORS)
    dark["a"][150] = dark["b"][150] = 0
    with pytest.raises(InbeamError, match="has no counts: choose other end points, or give the ratio"):
        factors_of(
            Plan(corrections=(Correction(before="one/149", after="one/150"),)), joined([("one", table(dark))]), REGIONS
        )


def test_the_error_of_a_ratio_knows_that_a_beam_scatters_more_than_its_counts() -> None:
    beam = 1 + 0.05 * np.random.default_rng(5).normal(size=400)
    rows = joined([("one", table(attenuated(FACTORS * beam)))])
    factors = factors_of(Plan(corrections=(Correction(before="one/149", after="one/150"),)), rows, REGIONS)
    (found,) = factors.applied
    assert found.error / found.ratio == pytest.approx(0.05 * np.sqrt(2), rel=0.5)
    assert abs(found.ratio - 7.3) < 4 * found.error


def test_scans_lie_in_the_order_of_time_and_a_scan_twice_is_refused() -> None:
    first, second = table(attenuated(np.ones(30)), "one"), table(attenuated(np.ones(40)), "two", 1e9 + 100)
    rows = joined([("second", second), ("first", first)])
    assert rows.labels == ("first", "second") and (np.diff(rows.time) > 0).all() and len(rows) == 70
    assert rows.name(30) == "second/0" and rows.row("second/0") == 30
    with pytest.raises(InbeamError, match="first and copy are the same scan"):
        joined([("first", first), ("copy", first)])
    hole = table(attenuated(np.ones(30)))
    hole.columns["status"][3] = "missing"
    assert joined([("one", hole)]).left_out == 1


def test_ties_are_spread_up_to_the_next_time() -> None:
    found = untied(np.array([5.0, 6, 6, 6, 9, 10, 10]))
    np.testing.assert_allclose(found, [5, 6, 7, 8, 9, 10, 10.5])


def test_smooth_values_and_derivatives_are_those_of_savitzky_and_golay() -> None:
    values = np.random.default_rng(1).normal(size=60).cumsum()
    time = 0.5 * np.arange(60)
    smooth, slope = smoothed(time, values)
    np.testing.assert_allclose(smooth, savgol_filter(values, 11, 2), atol=1e-12)
    np.testing.assert_allclose(slope, savgol_filter(values, 11, 2, deriv=1, delta=0.5), atol=1e-12)
    uneven = np.sort(np.random.default_rng(2).uniform(0, 10, 60))
    curve = 3 - 2 * uneven + 0.7 * uneven**2
    curve[20] = np.nan
    smooth, slope = smoothed(uneven, curve)
    there = np.isfinite(curve)
    np.testing.assert_allclose(slope[there], (-2 + 1.4 * uneven)[there], atol=1e-8)
    assert np.isnan(smooth[20]) and np.isnan(slope[20])


def recorded(shared: Path, name: str) -> dict[str, np.ndarray]:
    with (shared / f"insitu_growth/spring8_bl11xu_inas/InAs{name}data_frame.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "name"]
    return {name or "time": np.array([float(row[name] or "nan") for row in rows]) for name in names}


def test_times_of_a_recorded_growth_that_are_the_same_are_spread(shared: Path) -> None:
    time = recorded(shared, "0799time1a")["time"]
    assert (np.diff(time) == 0).sum() == 53
    found = untied(time)
    assert (np.diff(found) > 0).all() and abs(found - time).max() < 1.1
    np.testing.assert_array_equal(found[np.flatnonzero(np.diff(time, prepend=-1))], np.unique(time))


def test_the_noise_of_a_monitor_is_not_taken_for_the_attenuator(shared: Path) -> None:
    """0798: over the monitor the intensity has 227 steps by more than 1.5, the raw counts have no common one."""
    columns = recorded(shared, "0798")
    over = columns["Int_WZ"]
    ratio = over[1:] / over[:-1]
    assert ((ratio > 1.5) | (ratio < 1 / 1.5)).sum() == 227
    counts = {name: columns[f"Int_{name}"] * columns["Monitor"] for name in ("WZ", "ZB", "TW")}
    assert counts["WZ"][:10] == pytest.approx(np.full(10, 160_000), rel=0.08)
    assert from_counts(counts, 1.5) == []


def test_a_change_in_a_recorded_growth_is_found_and_the_series_goes_on_through_it(shared: Path) -> None:
    """0799time2: all three reflections fall at once, and stay there."""
    columns = recorded(shared, "0799time2")
    counts = {name: columns[f"Int_{name}"] * columns["Monitor"] for name in ("WZ", "ZB", "TW")}
    (step,) = from_counts(counts, 1.5)
    assert step.doubt == ""
    rows = joined([("time2", table(counts))])
    names = [f"{name}_counts" for name in counts]
    factors = factors_of(planned([step], rows, {}), rows, names)
    values, _ = corrected("WZ_sum", rows, factors)
    near = values[step.before - 5 : step.after + 6]
    near = near[np.isfinite(near)]
    assert near.max() / near.min() < 1.25 and abs(np.log(factors.applied[0].ratio)) > np.log(3)


def sample(folder: Path) -> Path:
    """Two measurements of a sample; the attenuator is moved in the second."""
    place = folder / "sample"
    for number, factors in enumerate((np.ones(12), np.where(np.arange(24) < 12, 1, 0.2))):
        dice = np.random.default_rng(number)
        images = dice.poisson(400 * factors[:, None, None], (len(factors), 20, 30)).astype("u2")
        measurement = place / f"time{number}"
        measurement.mkdir(parents=True)
        regions = {
            "a": {"kind": "rectangle", "x": [0, 10], "y": [0, 10]},
            "b": {"kind": "rectangle", "x": [12, 28], "y": [0, 10]},
        }
        processed(measurement, images=images, regions=regions)
        (measurement / "raw.h5").rename(measurement / f"raw{number}.h5")
    return place


def test_a_folder_of_a_sample_is_stitched_and_its_corrections_may_be_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = sample(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["stitch", str(place), "--event", "growth=0.001"]) == 0
    told = capsys.readouterr()
    assert "36 frames of 2 scans" in told.out and "raw0.h5" in told.err
    plan = yaml.safe_load((tmp_path / "sample_stitched.yaml").read_text())
    assert [(each["before"], each["after"]) for each in plan["corrections"]] == [
        ("time1/results/11", "time1/results/12")
    ]
    assert plan["events"] == {"growth": 0.001}
    assert (tmp_path / "sample_stitched.png").read_bytes().startswith(b"\x89PNG")
    with h5py.File(tmp_path / "sample_stitched.h5") as file:
        data, table = file["entry/data"], file["entry/corrections"]
        assert data.attrs["signal"] == "a_sum" and list(data.attrs["scans"]) == ["time0/results", "time1/results"]
        assert table["ratio"][0] == pytest.approx(5, abs=5 * table["error"][0])
        assert data["a_sum"][()] == pytest.approx(np.full(36, 40_000), rel=0.05)
        assert data["a_com_x"][-1] == pytest.approx(4.5, abs=0.1)
        assert file["entry/raw/a_sum"][-1] == pytest.approx(8000, rel=0.05)
        assert data["a_sum_errors"][-1] > data["a_sum_errors"][0]
        assert data["a_sum_derivative"].attrs["units"] == "counts/s"
        assert json.loads(file["entry/process/corrections"][()])[0]["apply"] is True
    assert main(["stitch", str(place)]) == 1 and "exists" in capsys.readouterr().err
    edited = {"corrections": [{"before": "time1/results/11", "after": "time1/results/12", "ratio": 4.0}]}
    (tmp_path / "sample_stitched.yaml").write_text("# mine\n" + yaml.safe_dump(edited))
    assert main(["stitch", str(place), "--overwrite"]) == 0
    with h5py.File(tmp_path / "sample_stitched.h5") as file:
        assert file["entry/data/factor"][-1] == 4 and file["entry/data/factor"][0] == 1
    assert (tmp_path / "sample_stitched.yaml").read_text().startswith("# mine")
    assert main(["stitch", str(place), "--overwrite", "--search"]) == 0
    assert "ratio" not in yaml.safe_load((tmp_path / "sample_stitched.yaml").read_text())["corrections"][0]


@pytest.mark.parametrize(
    "words, told",
    [
        (["--reading", "att"], "no scan has the reading 'att'; there are: none"),
        (["--regions", "c"], "'c' is not in all scans; there are: a, b"),
        (["--step", "0.5"], "give a factor above 1"),
        (["--event", "growth"], "write NAME=SECONDS"),
    ],
)
def test_wrong_arguments_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    place = sample(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["stitch", str(place), *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("*stitched*"))


def test_joined_rows_are_named_as_a_person_writes_them() -> None:
    rows: Joined = joined([("time1/results", table(attenuated(np.ones(20))))])
    assert rows.row("time1/results/7") == 7 and rows.name(7) == "time1/results/7"
