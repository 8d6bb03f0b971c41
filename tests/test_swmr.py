"""Files that others read while they grow, and the rules that make it possible."""

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from sink_examples import BINS, PRODUCT, frame, image, make, pattern, scan

from sinks.file.columns import FlushPolicy
from sinks.file.storage import COMPRESS_FROM_BYTES, fill_of
from sinks.file.swmr import SwmrFile
from stream.errors import SinkFailed
from stream.events import ScanEnd
from stream.roles import Counters

READER = """
import sys, time, zlib
import h5py, hdf5plugin
path, dataset, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = h5py.File(path, "r", libver="latest", swmr=True)
rows, status = file[dataset], file["/entry/ledger/status"]
print("open", flush=True)
seen, deadline = 0, time.monotonic() + 60
while seen < wanted and time.monotonic() < deadline:
    status.refresh()
    rows.refresh()
    there = status.shape[0]
    while seen < there and status[seen] == 1:
        print(seen, zlib.crc32(rows[seen].tobytes()), flush=True)
        seen += 1
"""

FRESH = """
import sys, zlib
import h5py, hdf5plugin
for path in sys.stdin:
    with h5py.File(path.strip(), "r", libver="latest", swmr=True) as file:
        print(zlib.crc32(file["/x"][:].tobytes()), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dataset"), [("archive", "/entry/data/data"), ("hdf5", "/entry/data/I")])
def test_another_process_reads_every_row_while_the_file_grows(kind: str, dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    sink = make(kind, path, flush_frames=4)
    sink.start(scan(), (PRODUCT,))
    for index in range(4):
        sink.write(frame(index))
    command = [sys.executable, "-c", READER, str(path), dataset, "40"]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    for block in range(10):
        if block:
            for index in range(4 * block, 4 * block + 4):
                sink.write(frame(index))
        for index in range(4 * block, 4 * block + 4):
            # the reader answers before the next block is written: it has seen these rows in the open file
            number, checksum = map(int, reader.stdout.readline().split())
            values = image(index) if kind == "archive" else pattern(index)
            assert (number, checksum) == (index, zlib.crc32(values.tobytes()))
    assert reader.wait(60) == 0
    reader.stdout.close()
    sink.finish(ScanEnd("01-first", expected=40))


def test_nothing_can_be_declared_once_readers_are_let_in(tmp_path: Path) -> None:
    file = SwmrFile.create(tmp_path / "x.h5")
    rows = file.rows("/entry/x", (3,), "f4")
    file.start()
    with pytest.raises(RuntimeError, match=r"x\.h5 is SWMR-readable: nothing can be declared"):
        file.rows("/entry/y", (), "f4")
    with pytest.raises(RuntimeError, match="declare"):
        file.cell("/entry/z", 0)
    rows.put(0, [1, 2, 3])
    rows.flush()
    file.close()


def test_what_readers_cannot_follow_is_refused_before_it_is_written(tmp_path: Path) -> None:
    file = SwmrFile.create(tmp_path / "x.h5")
    file.layout.create_dataset("never_written", shape=(3,), dtype="f4")
    with pytest.raises(SinkFailed, match="/never_written is contiguous and empty"):
        file.start()
    file.close()
    file = SwmrFile.create(tmp_path / "y.h5")
    file.layout["text"] = "of variable length"
    with pytest.raises(SinkFailed, match="/text has variable length"):
        file.start()
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_its_name_only_once_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    file = SwmrFile.create(path)
    file.rows("/entry/x", (), "f4")
    assert not path.exists()
    file.start()
    with h5py.File(path, "r", libver="latest", swmr=True) as reader:
        assert reader["/entry/x"].shape == (0,)
    file.close()


def test_a_file_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    file = SwmrFile.create(path)
    path.write_text("somebody was faster")
    with pytest.raises(SinkFailed, match=r"x\.h5"):
        file.start()
    file.abandon()
    assert path.read_text() == "somebody was faster"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.h5"]


def test_a_new_file_does_not_empty_one_whose_writer_was_killed_while_it_got_its_name(tmp_path: Path) -> None:
    """It has both names then; the user moves it elsewhere, and the next scan of this name begins."""
    path, moved = tmp_path / "x.h5", tmp_path / "moved.h5"
    first = SwmrFile.create(path)
    first.rows("/entry/x", (), "f4")
    first.start()
    first.close()
    os.link(path, tmp_path / ".x.h5.new")
    path.rename(moved)
    before = moved.read_bytes()
    second = SwmrFile.create(path)
    second.start()
    second.close()
    assert moved.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["moved.h5", "x.h5"]


@pytest.mark.parametrize("shape", [(), (5,), (BINS,), (30, 40)])
def test_rows_written_in_any_order_read_back(shape: tuple[int, ...], tmp_path: Path) -> None:
    file = SwmrFile.create(tmp_path / "x.h5")
    rows = file.rows("/x", shape, "f8")
    file.start()
    order = np.random.default_rng(3).permutation(300)[:200]
    for step, index in enumerate(order):
        rows.put(int(index), np.full(shape, index, "f8"))
        if step % 37 == 0:
            rows.flush()
    rows.put_block(300, np.full((4, *shape), 7.0))
    rows.flush()
    file.close()
    with h5py.File(tmp_path / "x.h5", "r") as reader:
        values = reader["/x"][:]
    assert values.shape == (304, *shape)
    for index in range(300):
        assert np.all(values[index] == index) if index in order else np.all(np.isnan(values[index]))
    assert np.all(values[300:] == 7)


def test_long_rows_are_compressed_and_short_ones_patched_in_place(tmp_path: Path) -> None:
    file = SwmrFile.create(tmp_path / "x.h5")
    long = file.rows("/long", (COMPRESS_FROM_BYTES // 4,), "f4")
    short = file.rows("/short", (4,), "f4")
    assert long.dataset.chunks[0] == 1
    assert "32008" in long.dataset._filters
    assert short.dataset.chunks[0] == 512
    assert not short.dataset._filters
    file.abandon()


@pytest.mark.slow
@pytest.mark.parametrize("flush_every", [1, 7, 100])
def test_flat_elements_read_back_however_often_they_are_flushed(flush_every: int, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    file = SwmrFile.create(path)
    flat = file.flat("/x", "u4", chunk=1000)
    file.start()
    reader = subprocess.Popen([sys.executable, "-c", FRESH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdin is not None
    assert reader.stdout is not None
    dice = np.random.default_rng(5)
    wanted = []
    for step in range(200):
        part = dice.integers(0, 2**32, dice.integers(0, 90), dtype=np.uint32)
        assert flat.append(part) == sum(len(each) for each in wanted)
        wanted.append(part)
        if step % flush_every == 0:
            flat.flush()
            print(path, file=reader.stdin, flush=True)
            assert int(reader.stdout.readline()) == zlib.crc32(np.concatenate(wanted).tobytes())
    flat.flush()
    file.close()
    reader.communicate()
    everything = np.concatenate(wanted)
    with h5py.File(path, "r") as whole:
        np.testing.assert_array_equal(whole["/x"][:], everything)
    assert path.stat().st_size < 2.3 * everything.nbytes + 8000


def test_a_flat_dataset_is_gone_on_with_where_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    file = SwmrFile.create(path)
    flat = file.flat("/x", "u4", chunk=100)
    file.start()
    flat.append(np.arange(250, dtype=np.uint32))
    flat.flush()
    file.close()
    file = SwmrFile.reopen(path)
    flat = file.reopened_flat("/x", 230)
    file.start()
    flat.append(np.arange(1000, 1200, dtype=np.uint32))
    flat.flush()
    file.close()
    with h5py.File(path, "r") as reader:
        np.testing.assert_array_equal(reader["/x"][:], np.r_[np.arange(230), np.arange(1000, 1200)])


@pytest.mark.slow
def test_flushing_often_leaves_little_behind(tmp_path: Path) -> None:
    sizes = {}
    for flush_frames in (1, 1000):
        path = tmp_path / f"{flush_frames}.h5"
        sink = make("hdf5", path, flush_frames=flush_frames, flush_ms=60_000)
        sink.start(scan(), (PRODUCT,))
        for index in range(300):
            sink.write(frame(index))
        sink.finish(ScanEnd("01-first", expected=300))
        sizes[flush_frames] = path.stat().st_size
    assert sizes[1] < 1.05 * sizes[1000]


def test_the_flush_policy_counts_frames_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    policy = FlushPolicy(frames=3, milliseconds=800)
    assert not policy.due()
    policy.add()
    policy.add()
    assert not policy.due()
    policy.add()
    assert policy.due()
    # what costs little is done sooner; a flush that waited for other threads does not say what one costs
    for cost_s, pause_s in ((1.0, 0.8), (0.01, 0.3), (1.0, 0.3), (0.0, 0.05), *3 * [(1.0, 0.05)], (1.0, 0.8)):
        policy.done(cost_s)
        assert not policy.due()
        policy.add()
        now[0] += pause_s - 0.01
        assert not policy.due()
        now[0] += 0.02
        assert policy.due()


@pytest.mark.parametrize("kind", ["archive", "hdf5"])
def test_a_slow_scan_is_flushed_by_the_clock(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = tmp_path / "scan.h5"
    sink = make(kind, path)
    sink.start(scan(), (PRODUCT,))
    sink.write(frame(0))
    for still_at_risk in (1, 0):
        now[0] += 0.03
        sink.tick(Counters())
        assert sink.at_risk == still_at_risk
    with h5py.File(path, "r", libver="latest", swmr=True) as reader:
        assert reader["/entry/ledger/status"][:].tolist() == [1]
    sink.close()


def test_the_fill_value_says_that_there_is_nothing() -> None:
    assert np.isnan(fill_of(np.dtype("f4")))
    assert fill_of(np.dtype("u2")) == 65535
    assert fill_of(np.dtype(">u4")) == 2**32 - 1
    assert fill_of(np.dtype("i4")) == -1
