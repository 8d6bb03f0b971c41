"""What every sink that keeps one file per scan must do, beside what every sink must do.

class TestArchiveConforms(FileSinkConformance):
    kind = "archive"
"""

import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sink_examples import PRODUCT, frame, hole, image, make, open_files, pattern, scan

from sinks.check import check
from sinks.file.ledger_reader import read
from sinks.file.swmr import SwmrFile
from stream.errors import SinkFailed
from stream.events import EndStatus, FrameStatus, ScanEnd
from stream.roles import Counters
from stream.testing import SinkConformance

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


class FileSinkConformance(SinkConformance):
    """Override `at`, `products`, `frame`, `row` and `expected_row` for other sinks than `archive` and `hdf5`."""

    kind: str

    def make(self, folder: Path) -> Any:
        return self.at(folder / "scan.h5")

    def at(self, path: object, **options: Any) -> Any:
        """A sink that writes to this path."""
        return make(self.kind, path, **options)

    def products(self) -> tuple[Any, ...]:
        return (PRODUCT,)

    def frame(self, index: int, uid: str = "01-first", status: FrameStatus = FrameStatus.RECEIVED) -> Any:
        return frame(index, status, scan=uid)

    def row(self, file: Any, index: int) -> Any:
        """What the file has for a frame number."""
        return file["/entry/data/data" if self.kind == "archive" else "/entry/data/I"][index]

    def expected_row(self, index: int) -> Any:
        """What it should have."""
        return image(index) if self.kind == "archive" else pattern(index)

    def is_fill(self, row: Any) -> bool:
        return bool((row == 65535).all() if self.kind == "archive" else np.isnan(row).all())

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "inner" / "scan.h5"

    @pytest.fixture(autouse=True)
    def nothing_stays_open(self, tmp_path: Path) -> Iterator[None]:
        yield
        left = {name for name in open_files() if str(tmp_path) in name}
        assert not left, f"files still open: {left}"

    def write(self, path: Path, indices: Any, *, expected: int | None = None, end: bool = True, **options: Any) -> Any:
        sink = self.at(path, **options)
        stored = sink.start(scan(expected=expected), self.products())
        for index in indices:
            sink.write(self.frame(index))
        if end:
            sink.finish(ScanEnd("01-first", announced=expected, expected=expected or len(set(indices))))
        sink.close()
        return stored

    def test_frames_are_placed_by_their_number_not_by_their_arrival(self, path: Path) -> None:
        order = [3, 0, 1, 7, 2, 6, 5, 4]
        self.write(path, order, expected=8)
        with h5py.File(path, "r") as file:
            for index in order:
                np.testing.assert_array_equal(self.row(file, index), self.expected_row(index))
            assert file["/entry/ledger/frame_number"][:].tolist() == list(range(8))

    def test_a_missing_frame_is_fill_values_and_shifts_nothing(self, path: Path) -> None:
        self.write(path, [0, 1, 4], expected=7)
        with h5py.File(path, "r") as file:
            record = read(file)
            assert record.states.tolist() == [1, 1, 0, 0, 1, 0, 0]
            for index in (2, 3, 5, 6):
                assert self.is_fill(self.row(file, index))
            np.testing.assert_array_equal(self.row(file, 4), self.expected_row(4))

    def test_a_late_frame_is_patched_into_its_place(self, path: Path) -> None:
        sink = self.at(path, flush_frames=2)
        sink.start(scan(), self.products())
        for index in (0, 1, 3, 4, 5):
            sink.write(self.frame(index))
        sink.write(self.frame(2, status=FrameStatus.LATE))
        sink.finish(ScanEnd("01-first", expected=6))
        with h5py.File(path, "r") as file:
            assert read(file).states.tolist() == [1, 1, 3, 1, 1, 1]
            for index in range(6):
                np.testing.assert_array_equal(self.row(file, index), self.expected_row(index))

    @pytest.mark.parametrize("flush_frames", [0, 1])
    def test_a_duplicate_is_recorded_once(self, path: Path, flush_frames: int) -> None:
        sink = self.at(path, flush_frames=flush_frames)
        sink.start(scan(), self.products())
        for index in (0, 1, 2):
            sink.write(self.frame(index))
        sink.write(hole(1, FrameStatus.DUPLICATE))
        sink.write(hole(1, FrameStatus.DUPLICATE))
        sink.finish(ScanEnd("01-first", expected=3))
        with h5py.File(path, "r") as file:
            record = read(file)
            assert record.states.tolist() == [1, 2, 1]
            assert record.repeats == 2
            np.testing.assert_array_equal(self.row(file, 1), self.expected_row(1))

    def test_the_ledger_tells_what_became_of_every_number(self, path: Path) -> None:
        sink = self.at(path)
        sink.start(scan(expected=8), self.products())
        sink.write(self.frame(0))
        sink.write(hole(1, FrameStatus.CORRUPT, "block 3 is cut off"))
        sink.write(hole(2, FrameStatus.DROPPED, "the inbox was full"))
        sink.write(self.frame(3))
        sink.write(self.frame(4, status=FrameStatus.LATE))
        before = time.time()
        sink.finish(ScanEnd("01-first", announced=8, expected=8, notes=("no end message",)))
        with h5py.File(path, "r") as file:
            record = read(file)
            assert record.states.tolist() == [1, 4, 6, 1, 3, 0, 0, 0]
            assert sum(record.counts.values()) == record.expected == record.announced == 8
            assert record.counts[FrameStatus.MISSING] == 3
            assert file["/entry/ledger/problem"][1] == b"block 3 is cut off"
            assert record.notes == "no end message"
            assert record.finished
            assert record.end_status is EndStatus.COMPLETE
            table = file["/entry/ledger"]
            np.testing.assert_allclose(table["detector_time"][:2], [0.0, np.nan])
            assert table["received_time"][3] == 1.7e9 + 3
            assert before <= table["on_disk_time"][0] <= time.time()
            assert np.isnan(table["on_disk_time"][5])
        assert sink.counts == record.counts

    def test_a_scan_without_frames_is_a_sound_file(self, path: Path) -> None:
        self.write(path, [], expected=4)
        assert check(path).sound, check(path).line()

    def test_check_finds_the_file_sound(self, path: Path) -> None:
        self.write(path, [0, 1, 2, 4], expected=6)
        verdict = check(path)
        assert verdict.sound, verdict.line()
        assert "6 frames" in verdict.line()
        assert "4 received" in verdict.line()

    def test_the_file_is_closed_within_a_second(self, path: Path) -> None:
        sink = self.at(path)
        sink.start(scan(), self.products())
        for index in range(300):
            sink.write(self.frame(index))
        before = time.process_time()
        sink.finish(ScanEnd("01-first", expected=300))
        assert time.process_time() - before < 1
        with h5py.File(path, "r") as file:
            assert self.row(file, 299) is not None

    def test_a_detector_that_announced_far_too_many_frames_costs_little(self, path: Path) -> None:
        sink = self.at(path)
        sink.start(scan(expected=10**9), self.products())
        sink.write(self.frame(0))
        sink.finish(ScanEnd("01-first", EndStatus.ABORTED, announced=10**9, expected=10**9))
        assert sum(sink.counts.values()) == 10**9
        assert sink.counts[FrameStatus.MISSING] == 10**9 - 1
        assert path.stat().st_size < 12_000_000
        with h5py.File(path, "r") as file:
            assert file["/entry/ledger/status"].shape == (10**9,)
            assert file["/entry/ledger/status"][-1] == 0

    def test_going_on_with_a_scan_of_far_too_many_frames_costs_little(self, path: Path) -> None:
        """Detectors are told to take 10^9 images and stopped by hand; the next scan looks into that file, too."""
        counted = 10**9
        sink = self.at(path)
        sink.start(scan(expected=counted), self.products())
        sink.write(self.frame(0))
        sink.finish(ScanEnd("01-first", EndStatus.STOPPED, announced=counted, expected=counted))
        tracemalloc.start()
        try:
            before = time.process_time()
            stored = sink.start(scan(expected=counted), self.products())
            assert stored is not None and stored.has(0) and not stored.has(1)
            for index in (2, 1):
                sink.write(self.frame(index))
            sink.tick(Counters())
            sink.finish(ScanEnd("01-first", EndStatus.STOPPED, announced=counted, expected=counted))
            assert sink.counts[FrameStatus.RECEIVED] == 3 and sum(sink.counts.values()) == counted
            other = self.at(path)
            other.start(scan("02-second"), self.products())
            other.close()
            verdict = check(path)
            assert verdict.sound, verdict.problems
            assert time.process_time() - before < 5
            assert tracemalloc.get_traced_memory()[1] < 200_000_000
        finally:
            tracemalloc.stop()

    def test_another_scan_gets_a_number_and_nothing_is_overwritten(self, path: Path) -> None:
        self.write(path, [0, 1])
        before = path.read_bytes()
        for uid, name in (("02-second", "scan_2.h5"), ("03-third", "scan_3.h5")):
            sink = self.at(path)
            assert sink.start(scan(uid), self.products()).empty
            sink.write(self.frame(0))
            sink.finish(ScanEnd(uid, expected=1))
            assert sink.path == path.with_name(name)
            assert sink.path.exists()
        assert path.read_bytes() == before

    def test_a_foreign_file_is_never_touched(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"notes of the night shift")
        self.write(path, [0])
        assert path.read_bytes() == b"notes of the night shift"
        assert path.with_name("scan_2.h5").exists()

    def test_if_exists_fail_refuses_and_overwrite_replaces(self, path: Path) -> None:
        self.write(path, [0, 1])
        with pytest.raises(SinkFailed, match=r"scan\.h5 is there already"):
            self.at(path, if_exists="fail").start(scan("02-second"), self.products())
        sink = self.at(path, if_exists="overwrite")
        sink.start(scan("02-second"), self.products())
        sink.write(self.frame(0))
        sink.finish(ScanEnd("02-second", expected=1))
        with h5py.File(path, "r") as file:
            assert file["/entry/ledger"].attrs["scan_uid"] == "02-second"

    def test_an_unfinished_scan_is_gone_on_with(self, path: Path) -> None:
        self.write(path, [0, 1, 3], expected=8, end=False)
        sink = self.at(path)
        stored = sink.start(scan(expected=8), self.products())
        assert stored is not None
        assert stored.states[:4].tolist() == [1, 1, 0, 1]
        for index in range(8):
            sink.write(self.frame(index))
        sink.finish(ScanEnd("01-first", announced=8, expected=8))
        assert sink.path == path
        with h5py.File(path, "r") as file:
            for index in range(8):
                np.testing.assert_array_equal(self.row(file, index), self.expected_row(index))
            assert read(file).counts[FrameStatus.RECEIVED] == 8
        assert check(path).sound, check(path).line()

    def test_a_stopped_scan_is_gone_on_with(self, path: Path) -> None:
        sink = self.at(path)
        sink.start(scan(expected=4), self.products())
        sink.write(self.frame(0))
        sink.finish(ScanEnd("01-first", EndStatus.STOPPED, announced=4, expected=4))
        stored = sink.start(scan(expected=4), self.products())
        assert stored is not None
        assert stored.states.tolist() == [1, 0, 0, 0]
        for index in (1, 2, 3):
            sink.write(self.frame(index))
        sink.finish(ScanEnd("01-first", announced=4, expected=4))
        assert check(path).sound, check(path).line()

    def test_a_complete_scan_is_left_untouched(self, path: Path) -> None:
        self.write(path, [0, 1, 2], expected=3)
        before = path.read_bytes()
        sink = self.at(path)
        stored = sink.start(scan(expected=3), self.products())
        assert stored is not None
        assert stored.states.tolist() == [1, 1, 1]
        sink.write(self.frame(1))
        sink.tick(Counters())
        sink.finish(ScanEnd("01-first", announced=3, expected=3))
        sink.close()
        assert path.read_bytes() == before
        assert [name.name for name in path.parent.iterdir()] == ["scan.h5"]

    def test_one_sink_takes_scan_after_scan(self, path: Path) -> None:
        sink = self.at(path.parent / "{scan}_{uid}.h5")
        for uid in ("a", "b", "c"):
            sink.start(scan(uid), self.products())
            sink.write(self.frame(0))
            sink.finish(ScanEnd(uid, expected=1))
        sink.close()
        assert sorted(name.name for name in path.parent.iterdir()) == ["scan42_a.h5", "scan42_b.h5", "scan42_c.h5"]

    def test_a_file_named_by_its_time_is_found_again(self, path: Path) -> None:
        pattern = path.parent / "{date}" / "{scan}_{time}.h5"
        sink = self.at(pattern)
        sink.start(scan(received=1.7e9), self.products())
        sink.write(self.frame(0))
        sink.close()
        sink = self.at(pattern)
        stored = sink.start(scan(received=1.7e9 + 100_000), self.products())
        sink.close()
        assert stored is not None
        assert stored.states.tolist() == [1]

    @pytest.mark.slow
    def test_a_file_in_somebody_elses_hands_is_told_apart(self, path: Path) -> None:
        self.write(path, [0], expected=2, end=False)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            with pytest.raises(SinkFailed, match=r"scan\.h5.*opened by someone else"):
                self.at(path, if_exists="fail").start(scan(expected=2), self.products())
        finally:
            holder.communicate()
        assert self.write(path, [1], expected=2) is not None

    def test_two_writers_of_one_scan_exclude_each_other(self, path: Path) -> None:
        first = self.at(path)
        first.start(scan(), self.products())
        first.write(self.frame(0))
        first.tick(Counters())
        program = (
            "import sys; from sinks.file.repair import repair; from pathlib import Path\nrepair(Path(sys.argv[1]))"
        )
        second = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
        assert second.returncode != 0
        assert "opened by someone else" in second.stderr
        first.write(self.frame(1))
        first.finish(ScanEnd("01-first", expected=2))
        assert check(path).sound, check(path).line()

    def test_a_vanished_folder_is_an_error_with_the_files_name(self, path: Path) -> None:
        sink = self.at(path, flush_frames=1)
        sink.start(scan(), self.products())
        sink.write(self.frame(0))
        path.rename(path.parent.parent / "moved.h5")
        path.parent.rmdir()
        with pytest.raises(SinkFailed, match=r"scan\.h5: the folder is gone"):
            sink.write(self.frame(1))
        sink.close()
        with h5py.File(path.parent.parent / "moved.h5", "r") as file:
            np.testing.assert_array_equal(self.row(file, 0), self.expected_row(0))

    def killed_before_the_ledger(self, path: Path) -> None:
        """Ten frames flushed, and ten more whose data were, when a kill kept the ledger from it."""
        original = path.with_name("original.h5")
        sink = self.at(original, flush_ms=1e9)
        sink.start(scan(), self.products())
        file = sink._file
        for index in range(10):
            sink.write(self.frame(index))
        file._flush()
        for index in range(10, 20):
            sink.write(self.frame(index))
        file._content.flush()
        shutil.copyfile(original, path)
        sink.close()

    def test_nothing_is_written_to_a_killed_file_before_it_is_swmr_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second kill in between would leave it half-written, where no repair helps."""
        self.killed_before_the_ledger(path)
        before, seen = path.read_bytes(), []
        start = SwmrFile.start

        def look_and_start(file: SwmrFile, **options: Any) -> None:
            file.layout.flush()
            seen.append(path.read_bytes())
            start(file, **options)

        monkeypatch.setattr(SwmrFile, "start", look_and_start)
        sink = self.at(path)
        stored = sink.start(scan(), self.products())
        assert stored is not None and np.count_nonzero(stored.states) == 10
        assert [found[48:] == before[48:] for found in seen] == [True]
        for index in range(10, 25):
            sink.write(self.frame(index))
        sink.finish(ScanEnd("01-first", announced=25, expected=25))
        assert check(path).sound, check(path).line()
        with h5py.File(path, "r") as file:
            for index in range(25):
                np.testing.assert_array_equal(self.row(file, index), self.expected_row(index))

    def test_frames_that_a_kill_kept_from_the_ledger_and_that_never_come_again_are_told(self, path: Path) -> None:
        self.killed_before_the_ledger(path)
        sink: Any = self.at(path)
        stored = sink.start(scan(), self.products())
        assert stored is not None
        sink.finish(ScanEnd("01-first", EndStatus.ABORTED, expected=10))
        assert check(path).sound, check(path).problems
        with h5py.File(path, "r") as file:
            table = file["/entry/ledger"]
            assert table["status"][:10].tolist() == [1] * 10
            assert not table["status"][10:].any()
            assert table["counts"][:].sum() == table["expected"][0] == len(table["status"])
            for name in ("data/data", "data/I", "sparse_frames/background_avg"):
                if f"/entry/{name}" in file:
                    assert len(file[f"/entry/{name}"]) == len(table["status"])

    @pytest.mark.parametrize("identity", ["a\0b", "file:/data/scan_\udcff.edf"])
    def test_a_scan_whose_identity_hdf5_cannot_hold_is_kept_and_found_again(self, path: Path, identity: str) -> None:
        """NUL comes from a hostile detector, half a character from a file name that is not UTF-8."""
        odd = scan(identity, 4, name=identity, source=identity)
        sink = self.at(path)
        for indices in ((0, 1), (2, 3)):
            sink.start(odd, self.products())
            for index in indices:
                sink.write(self.frame(index))
            sink.close()
        assert sink.path == path
        with h5py.File(path, "r") as file:
            assert file["/entry/ledger/status"][:].tolist() == [1] * 4
        other = self.at(path)
        assert other.start(scan(identity.replace("\udcff", "\udcfe"), 4), self.products()).empty or "\0" in identity
        other.close()

    def test_channels_with_almost_the_same_name_are_kept_apart(self, path: Path) -> None:
        """NeXus names are shorter than theirs and have fewer letters; a header that has such must not end the run."""
        names = ("low-energy", "low_energy", "x" * 63 + "1", "x" * 63 + "2")
        energies = {name: 1000.0 * number for number, name in enumerate(names, 1)}
        both = scan(channels=names)
        sink = self.at(path)
        sink.start(replace(both, detector=replace(both.detector, threshold_energy_ev=energies)), self.products())
        sink.finish(ScanEnd("01-first", expected=0))
        with h5py.File(path, "r") as file:
            detector = file.get("/entry/instrument/detector", {})
            told = [detector[name]["threshold_energy"][()] for name in detector if name.endswith("_channel")]
            assert sorted(told) == [] if self.kind == "sparse" else sorted(energies.values())
