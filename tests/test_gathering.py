"""Gatherers: what they see, what they never hold up, what their products cover, and that a restart changes nothing."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import total
from commands import committed, ended, inbeam
from pipelines import SHAPE, Kept, frame, scan

from sinks.check import check
from stream import Frame, FrameStatus, ScanEnd, Update
from stream.codec.native import bslz4_compress
from stream.config import RunOptions, validate
from stream.errors import ConfigError
from stream.pipeline.chain import Chain, Step
from stream.pipeline.gathering import Gathering
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.runner import Run

FRAMES = 40


def pipeline_of(gatherer: total.Total, *sinks: Kept, steps: Sequence[Step] = (), **options: Any) -> Pipeline:
    return Pipeline(
        [Chain(steps)],
        {f"sink{number}": (sink, True) for number, sink in enumerate(sinks)},
        RunOptions(reorder_ms=60_000, **options),
        gatherings=lambda made: [Gathering("total", gatherer, emit=made.emit, trouble=made.report.trouble)],
    )


def gather(gatherer: total.Total, *events: Any, **options: Any) -> tuple[Pipeline, Kept]:
    sink = Kept()
    pipeline = pipeline_of(gatherer, sink, **options)
    for event in events:
        pipeline.put(event)
    pipeline.close()
    return pipeline, sink


def covered(sink: Kept) -> set[int]:
    return {number for update in sink.updates for number in update.covers}


def last_sum(sink: Kept) -> np.ndarray:
    return [update.pieces["sum"].values for update in sink.updates if "sum" in update.pieces][-1]


def test_what_a_gatherer_gives_reaches_every_sink_before_the_end_of_the_scan() -> None:
    pipeline, sink = gather(total.Total(total.Config()), scan(), *map(frame, range(10)), ScanEnd("one"))
    assert covered(sink) == set(range(10))
    np.testing.assert_array_equal(last_sum(sink), np.full(SHAPE, sum(range(10))))
    assert [field.per for field in sink.products[-1].fields] == ["scan"] * 3
    assert pipeline.report.exit_code == 0


def test_a_gatherer_sees_holes_and_its_product_does_not_cover_them() -> None:
    gatherer = total.Total(total.Config())
    cut = frame(1, data=bslz4_compress(np.zeros(SHAPE, "u2"))[:-3])
    _, sink = gather(gatherer, scan(), frame(0), cut, frame(2), ScanEnd("one"))
    assert gatherer.seen == [(0, True), (1, False), (2, True)]
    assert covered(sink) == {0, 2}
    assert sink.ends[0].counts[FrameStatus.CORRUPT] == 1


def test_a_frame_that_a_gatherer_fails_on_is_kept_and_said_not_to_be_covered() -> None:
    pipeline, sink = gather(total.Total(total.Config(bad=1)), scan(), *map(frame, range(3)), ScanEnd("one"))
    assert [kept.status for kept in sink.frames] == [FrameStatus.RECEIVED] * 3
    assert covered(sink) == {0, 2}
    assert "total: frame 1: ZeroDivisionError: beam lost" in pipeline.report.summary()
    assert "total does not cover 1 frames that have data: 1" in pipeline.report.summary()
    assert pipeline.report.exit_code == 1


def test_a_slow_gatherer_holds_up_neither_the_sinks_nor_the_source() -> None:
    gatherer, sink = total.Total(total.Config()), Kept()
    gatherer.gate = threading.Event()
    pipeline = pipeline_of(gatherer, sink)
    for event in (scan(), *map(frame, range(200))):
        pipeline.put(event)
    with sink.got:
        assert sink.got.wait_for(lambda: len(sink.frames) == 200, 20)
    assert covered(sink) == set()
    gatherer.gate.set()
    pipeline.put(ScanEnd("one"))
    pipeline.close()
    assert covered(sink) == set(range(200))


def test_a_gatherer_that_may_not_hold_up_the_frames_gives_some_up_and_says_which() -> None:
    gatherer, sink = total.Total(total.Config()), Kept()
    gatherer.gate = threading.Event()
    room = 10 * frame(0).nbytes / 1e6
    pipeline = pipeline_of(gatherer, sink, gather_when_full="give_up", sink_mb=room, inbox_mb=room)
    for event in (scan(), *map(frame, range(100))):
        pipeline.put(event)
    with sink.got:
        assert sink.got.wait_for(lambda: len(sink.frames) == 100, 20)
    gatherer.gate.set()
    pipeline.put(ScanEnd("one"))
    pipeline.close()
    lost = 100 - len(covered(sink))
    assert 50 < lost < 100
    assert len([seen for seen in gatherer.seen if not seen[1]]) == lost
    assert f"total could not keep up: {lost} frames were given up there" in pipeline.report.summary()
    assert pipeline.report.exit_code == 1
    assert sink.ends[0].counts[FrameStatus.RECEIVED] == 100


def test_a_gatherer_that_refuses_a_scan_costs_no_frame() -> None:
    class Refuses(total.Total):
        def start(self, scan: Any, work: Any) -> Any:
            raise ConfigError([("total", "no motor of this name")])

    pipeline, sink = gather(Refuses(total.Config()), scan(), *map(frame, range(3)), ScanEnd("one"))
    assert [kept.status for kept in sink.frames] == [FrameStatus.RECEIVED] * 3
    assert sink.updates == [] and pipeline.report.exit_code == 1
    assert "no motor of this name" in sink.ends[0].notes[0]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "plugins"
    total.install(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.random.default_rng(5).integers(0, 90, (FRAMES, *SHAPE)).astype("u2")
    return path


def document(recorded: Path, folder: Path, *kinds: str, processors: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "stream": {"type": "files", "files": [str(recorded)]},
        "processors": [*processors, {"type": "total"}],
        "sinks": [{"type": kind, "path": str(folder / f"{kind}.h5"), "flush_ms": 0} for kind in kinds],
        "run": {"workers": 2},
    }


def content(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        group = file["/entry/total"]
        return {name: group[name][()] for name in ("sum", "mean", "weight", "covered_frames")}


def assert_whole(path: Path, recorded: Path) -> None:
    found = content(path)
    with h5py.File(recorded, "r") as file:
        images = file["entry/data/data"][()]
    np.testing.assert_array_equal(found["sum"], images.astype("i8").sum(axis=0))
    np.testing.assert_array_equal(found["mean"], images.mean(axis=(1, 2)))
    assert found["covered_frames"].tolist() == [1] * FRAMES
    assert check(path).sound


def test_a_product_of_the_scan_is_one_array_in_the_file_with_what_it_covers(
    plugin: Path, recorded: Path, tmp_path: Path
) -> None:
    report = Run(validate(document(recorded, tmp_path, "hdf5")), reopen=False).execute()
    assert report.exit_code == 0
    assert_whole(tmp_path / "hdf5.h5", recorded)
    with h5py.File(tmp_path / "hdf5.h5", "r") as file:
        assert file["/entry/total"].attrs["signal"] == "sum"
        assert list(file["/entry/total"].attrs["axes"]) == [".", "."]


def test_the_bench_of_a_gatherer_has_the_corrections_that_the_user_asked_for(
    plugin: Path, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 2:5] = 1
    np.save(tmp_path / "mask.npy", mask)
    made: list[total.Total] = []
    monkeypatch.setattr(total, "create", lambda config, context: made.append(total.Total(config)) or made[-1])
    chain = [{"type": "correct", "mask": str(tmp_path / "mask.npy")}]
    assert Run(validate(document(recorded, tmp_path, "hdf5", processors=chain)), reopen=False).execute().exit_code == 0
    assert [each.masked for each in made] == [3]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("hdf5",), ("archive", "hdf5")])
def test_a_stopped_and_resumed_scan_gives_the_product_of_one_that_was_never_stopped(
    kinds: tuple[str, ...], plugin: Path, recorded: Path, tmp_path: Path
) -> None:
    """11 of 20 frames were missing from it, with exit code 0."""
    config = validate(document(recorded, tmp_path, *kinds) | {"run": {"workers": 1, "inbox_mb": 0.001}})
    first = Run(config, reopen=False)
    first.execute(lambda counters: first.stop() if counters.finished > 3 else None)
    before = content(tmp_path / "hdf5.h5")["covered_frames"].sum() if (tmp_path / "hdf5.h5").exists() else 0
    report = Run(config, reopen=False).execute()
    assert report.exit_code == 0, (before, report.summary())
    assert_whole(tmp_path / "hdf5.h5", recorded)


@pytest.mark.slow
def test_a_killed_and_resumed_process_gives_the_product_of_one_that_was_never_killed(
    plugin: Path, tmp_path: Path
) -> None:
    recorded = tmp_path / "long.h5"
    with h5py.File(recorded, "w") as file:
        images = np.random.default_rng(6).integers(0, 90, (3000, *SHAPE)).astype("u2")
        file.create_dataset("entry/data/data", data=images, chunks=(1, *SHAPE))
    import yaml

    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(document(recorded, tmp_path, "archive", "hdf5")))
    dice, archive = np.random.default_rng(1), tmp_path / "archive.h5"
    command = inbeam("process", "--quiet", str(tmp_path / "pipeline.yaml"), str(recorded))
    environment = total.environment(plugin)
    for _ in range(4):
        reached = committed(archive) + int(dice.integers(1, 500))
        ended(command, lambda reached=reached: committed(archive) >= reached, env=environment)
    assert committed(archive) < len(images), "no kill came before the end"
    assert ended(command, env=environment) == 0
    found = content(tmp_path / "hdf5.h5")
    np.testing.assert_array_equal(found["sum"], images.astype("i8").sum(axis=0))
    np.testing.assert_array_equal(found["mean"], images.mean(axis=(1, 2)))
    assert found["covered_frames"].all()


def test_updates_of_an_array_that_grows_may_come_in_any_order(tmp_path: Path) -> None:
    from sink_examples import make
    from sink_examples import scan as start

    from stream import Field, Piece, Product

    fields = (Field("cube", (None, 3, 4), np.dtype("f4"), per="scan", chunk=(1, 3, 2)),)
    sink = make("hdf5", tmp_path / "a.h5")
    sink.start(start(), (Product("map", fields, signal="cube"),))
    for row in (4, 0, 2):
        piece = Piece((row, 0, 1), np.full((1, 3, 2), row, np.float32))
        sink.write(Update("01-first", "map", {"cube": piece}, covers=[2 * row]))
    sink.finish(ScanEnd("01-first", expected=12))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        cube = file["/entry/map/cube"]
        assert cube.shape == (5, 3, 4) and cube.chunks == (1, 3, 2)
        assert np.isnan(cube[1]).all() and np.isnan(cube[4, :, 0]).all()
        np.testing.assert_array_equal(cube[4, :, 1:3], np.full((3, 2), 4))
        assert np.flatnonzero(file["/entry/map/covered_frames"][()]).tolist() == [0, 4, 8]


def test_frames_of_a_live_scan_are_read_back_from_our_own_files(plugin: Path, tmp_path: Path) -> None:
    """A detector sends only once: what a restarted gatherer needs comes from the archive."""
    from dataclasses import replace

    from sinks import archive, hdf5

    images = [np.full(SHAPE, index + 1, "u2") for index in range(12)]
    begin = replace(scan(expected=12), header=((b"start",),))

    def run(frames: Sequence[Frame], *more: Any, resumed: bool) -> Pipeline:
        sinks: dict[str, Any] = {
            "archive": (archive.create(archive.Config(path=str(tmp_path / "a.h5"))), True),
            "hdf5": (hdf5.create(hdf5.Config(path=str(tmp_path / "r.h5"))), True),
        }
        pipeline = Pipeline(
            [Chain([])],
            sinks,
            RunOptions(reorder_ms=60_000),
            gatherings=lambda made: [
                Gathering("total", total.Total(total.Config()), emit=made.emit, trouble=made.report.trouble)
            ],
        )
        for event in (replace(begin, resumed=resumed), *frames, *more):
            pipeline.put(event)
        pipeline.close()
        return pipeline

    whole = [frame(index, data=bslz4_compress(images[index])) for index in range(12)]
    run(whole[:5], resumed=False)  # the process ends without an end of the scan
    report = run(whole[7:], ScanEnd("one", announced=12), resumed=True).report
    assert report.scans[0].counts[FrameStatus.MISSING] == 2
    with h5py.File(tmp_path / "r.h5", "r") as file:
        group = file["/entry/total"]
        assert group["covered_frames"][()].tolist() == [1] * 5 + [0] * 2 + [1] * 5
        np.testing.assert_array_equal(group["sum"][()], sum(images[i].astype("i8") for i in (*range(5), *range(7, 12))))
