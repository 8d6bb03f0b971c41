"""The sink `sparse`: what every file sink must do, pyFAI's layout, growing, late frames, kills; and what reads it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import fabio
import h5py
import hdf5plugin  # noqa: F401  the golden file is compressed
import karabo_bridge
import numpy as np
import pytest
import sink_examples
from bragg_frames import crystal, frame_of, poni, scan_of, sparsified
from driven import Driven
from fabio.sparseimage import SparseImage
from sink_conformance import FileSinkConformance
from sink_examples import BINS, SHAPE, hole, scan
from sparse_examples import PRODUCT, frame, make, pixels

from processors import sparsify
from sinks import monitor
from sinks.check import check
from sinks.file.repair import recover
from sinks.sparse_frames import content
from stream.config import RunOptions
from stream.errors import SinkFailed
from stream.events import EndStatus, FrameStatus, ScanEnd
from stream.pipeline.chain import Chain, Step
from stream.pipeline.pipeline import Pipeline
from stream.products import SparseFrames
from stream.roles import Counters


class TestSparseConforms(FileSinkConformance):
    kind = "sparse"

    def at(self, path: object, **options: Any) -> Any:
        return make(path, **options)

    def products(self) -> tuple[Any, ...]:
        return (PRODUCT,)

    def frame(self, index: int, uid: str = "01-first", status: FrameStatus = FrameStatus.RECEIVED) -> Any:
        return frame(index, status, scan=uid)

    def row(self, file: Any, index: int) -> Any:
        group = file["/entry/sparse_frames"]
        start, stop = group["frame_ptr"][index : index + 2]
        kept = [group[name][start:stop].astype(float) for name in ("index", "intensity")]
        return np.concatenate([group["background_avg"][index], *kept])

    def expected_row(self, index: int) -> Any:
        found = frame(index).results["sparsify"]
        return np.concatenate([found[name].astype(float) for name in ("background_avg", "index", "intensity")])

    def is_fill(self, row: Any) -> bool:
        return len(row) == BINS and bool(np.isnan(row).all())

    def test_what_a_kill_kept_from_the_ledger_reads_as_if_it_had_not_come(self, path):
        self.killed_before_the_ledger(path)
        sink = make(path)
        sink.start(scan(), (PRODUCT,))
        sink.write(frame(12))
        sink.finish(ScanEnd("01-first", EndStatus.ABORTED, expected=13))
        found, straight = contents(path), contents(written(path.with_name("b.h5"), [*range(10), 12], expected=20))
        for name, array in straight.items():
            if name in ("index", "intensity"):
                found[name] = found[name][: found["frame_ptr"][-1]]
            np.testing.assert_array_equal(array, found[name], err_msg=name)
        assert check(path).sound, check(path).problems


def written(path, indices, *, statuses=None, expected=None, **options):
    """A finished file with these frames in this order."""
    sink = make(path, **options)
    sink.start(scan(expected=expected), (PRODUCT,))
    for index in indices:
        sink.write(frame(index, (statuses or {}).get(index, FrameStatus.RECEIVED)))
    sink.finish(ScanEnd("01-first", announced=expected, expected=expected or len(set(indices))))
    return path


def contents(path):
    """Everything of the sparse part, as arrays."""
    with h5py.File(path, "r") as file:
        found = {name: file[f"/entry/sparse_frames/{name}"][()] for name in ("index", "intensity", "frame_ptr")}
        found |= {name: file[f"/entry/sparse_frames/{name}"][()] for name in ("background_avg", "errors")}
        found |= {f"peaks/{name}": dataset[()] for name, dataset in file["/entry/peaks"].items()}
        return found | {f"counts/{name}": dataset[()] for name, dataset in file["/entry/counts"].items()}


def test_late_frames_end_up_as_if_they_had_come_in_time(tmp_path):
    straight = contents(written(tmp_path / "a.h5", range(40)))
    late = dict.fromkeys((3, 4, 17, 0), FrameStatus.LATE)
    order = [1, 2, *range(5, 17), *range(18, 40), 17, 4, 3, 0]
    mixed_path = written(tmp_path / "b.h5", order, statuses=late, flush_frames=3)
    mixed = contents(mixed_path)
    for name, array in straight.items():
        np.testing.assert_array_equal(array, mixed[name], err_msg=name)
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
    assert check(mixed_path).sound, check(mixed_path).line()
    with h5py.File(mixed_path) as file:
        assert file["/entry/late/frame"].shape == (0,)
        assert file["/entry_0000/sparse_frames/index"].maxshape == (None,)
        assert file["/entry/sparse_frames/errors"] == file["/entry/sparse_frames/background_std"]


def test_late_pixels_survive_a_stop_and_are_merged_when_the_scan_is_complete(tmp_path):
    path = tmp_path / "a.h5"
    sink = make(path)
    sink.start(scan(expected=12), (PRODUCT,))
    for index in (0, 1, 4, 5):
        sink.write(frame(index))
    sink.write(frame(2, FrameStatus.LATE))
    sink.close()
    sink = make(path)
    stored = sink.start(scan(expected=12), (PRODUCT,))
    assert stored.states[:6].tolist() == [1, 1, 3, 0, 1, 1]
    for index in (2, 3, *range(6, 12)):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", announced=12, expected=12))
    resumed, straight = contents(path), contents(written(tmp_path / "b.h5", range(12), expected=12))
    for name, array in straight.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


READER = """
import sys
sys.path.insert(0, {helpers!r})
import h5py, hdf5plugin
import numpy as np
from sink_examples import pattern
from sparse_examples import pixels
with h5py.File(sys.argv[1], "r", libver="v110", swmr=True) as file:
    group = file["/entry_0000/sparse_frames"]
    print("open", flush=True)
    for line in sys.stdin:
        wanted = int(line)
        for name in ("frame_ptr", "index", "intensity", "background_avg"):
            group[name].refresh()
        assert group["frame_ptr"].shape == (wanted + 1,), group["frame_ptr"].shape
        for index in range(max(0, wanted - 30), wanted):
            start, stop = group["frame_ptr"][index : index + 2]
            np.testing.assert_array_equal(group["index"][start:stop], pixels(index))
            np.testing.assert_array_equal(group["background_avg"][index], pattern(index))
        print(wanted, int(group["frame_ptr"][-1]), flush=True)
"""


@pytest.mark.slow
def test_a_growing_file_is_read_by_another_process_and_every_flushed_frame_is_whole(tmp_path):
    """Over the edge of a chunk of pixels (16384 elements), too."""
    path = tmp_path / "a.h5"
    sink = make(path, flush_frames=1)
    sink.start(scan(expected=300), (PRODUCT,))
    program = READER.format(helpers=os.path.dirname(sink_examples.__file__))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        total = 0
        for index in range(300):
            sink.write(frame(index))
            total += len(pixels(index))
            if index % 5 == 4:
                reader.stdin.write(f"{index + 1}\n")
                reader.stdin.flush()
                assert reader.stdout.readline().split() == [str(index + 1), str(total)]
        assert total > 16384
        reader.stdin.close()
        assert reader.wait(timeout=60) == 0
    sink.finish(ScanEnd("01-first", expected=300))


KILLED = """
import sys, time
sys.path.insert(0, {helpers!r})
from sparse_examples import PRODUCT, frame, make
from sink_examples import scan
from stream.events import FrameStatus
sink = make(sys.argv[1], flush_frames=3)
sink.start(scan(expected=100000), (PRODUCT,))
index = 0
while True:
    if index % 7 != 5:
        sink.write(frame(index))
    if index % 11 == 10 and (index - 2) % 7 == 5:
        sink.write(frame(index - 2, FrameStatus.LATE))
    index += 1
    print(index, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [4, 23, 60, 61, 62, 150])
def test_a_killed_file_has_every_flushed_frame_and_goes_on_to_the_same_result(tmp_path, after):
    path = tmp_path / "a.h5"
    program = KILLED.format(helpers=os.path.dirname(sink_examples.__file__))
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(after):
        assert writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    recover(path)
    with fabio.open(str(path)) as image:
        assert isinstance(image, SparseImage)
    sink = make(path)
    stored = sink.start(scan(expected=100000), (PRODUCT,))
    assert stored is not None and np.count_nonzero(stored.states) >= (after - 10) * 5 // 7
    last = max(after + 20, len(stored.states) + 5)
    for index in range(last):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", EndStatus.ABORTED, expected=last))
    resumed, straight = contents(path), contents(written(tmp_path / "b.h5", range(last)))
    for name, array in straight.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


def test_a_merge_that_was_interrupted_is_done_at_the_next_start(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    sink = make(path)
    sink.start(scan(expected=5), (PRODUCT,))
    for index in (0, 2, 3, 4):
        sink.write(frame(index))
    sink.write(frame(1, FrameStatus.LATE))
    with monkeypatch.context() as patch:
        patch.setattr(content, "merge_late", lambda path: 0)  # killed just before
        sink.finish(ScanEnd("01-first", announced=5, expected=5))
    assert "1 late frames wait to be moved into their places" in check(path).line()
    assert make(path).start(scan(expected=5), (PRODUCT,)).states.tolist() == [1, 3, 1, 1, 1]
    assert check(path).sound
    straight = contents(written(tmp_path / "b.h5", range(5), expected=5))
    for name, array in straight.items():
        np.testing.assert_array_equal(array, contents(path)[name], err_msg=name)


@pytest.fixture
def real(tmp_path):
    """A finished file of real results: (path, images, product)."""
    images = crystal((120, 130), count=6)
    product, frames = sparsified(images, poni=poni(tmp_path, (120, 130)), bins=60, cutoff_peak=4.0)
    path = tmp_path / "scan.h5"
    sink = make(path, beamline="ID99")
    sink.start(scan_of(images, expected=6), (product,))
    for number, one in enumerate(frames):
        if number != 2:
            sink.write(one)
    sink.tick(Counters())
    sink.finish(ScanEnd("uid", announced=6, expected=6))
    return path, images, product, frames


def _lower(file):
    file["/entry/sparse_frames/frame_ptr"][4] = 0


def _lose_pixels(file):
    file["/entry/sparse_frames/index"].resize((300,))


def _lose_pointers(file):
    file["/entry/sparse_frames/frame_ptr"].resize((5,))


def _shift(file):
    pointer = file["/entry/sparse_frames/frame_ptr"]
    pointer[4] = pointer[4] - 1


def _leave_the_image(file):
    file["/entry/sparse_frames/index"][200] = SHAPE[0] * SHAPE[1]


def _lose_a_background(file):
    file["/entry/sparse_frames/background_avg"][3] = np.nan


def _garble(file):
    dataset = file["/entry/sparse_frames/intensity"]
    dataset.id.write_direct_chunk((0,), b"\xff" * 100, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lower, "frame 3: sparse_frames/frame_ptr goes back"),
        (_lose_pixels, "frame_ptr reaches 370, index has only 300 elements"),
        (_lose_pointers, "frame 4: sparse_frames/frame_ptr does not reach it, though the frame was received"),
        (_shift, "frame 3: sparse_frames/frame_ptr gives it 110 pixels, counts/picked 111"),
        (_leave_the_image, "frame 3: sparse_frames/index has a pixel outside of the image"),
        (_lose_a_background, "frame 3: sparse_frames/background_avg is all NaN"),
        (_garble, "sparse_frames/intensity does not decode"),
    ],
)
def test_check_finds_what_is_wrong_with_the_pixels(tmp_path, spoil, words):
    path = written(tmp_path / "a.h5", range(5), expected=6)
    assert check(path).sound, check(path).line()
    with h5py.File(path, "r+") as file:
        spoil(file)
    verdict = check(path)
    assert any(words in problem for problem in verdict.problems), verdict.problems


def test_check_finds_sound_a_scan_with_few_of_absurdly_many_frames(tmp_path):
    sink = make(tmp_path / "a.h5")
    sink.start(scan(expected=10**8), (PRODUCT,))
    sink.write(frame(3))
    sink.finish(ScanEnd("01-first", EndStatus.ABORTED, announced=10**8, expected=10**8))
    assert check(tmp_path / "a.h5").sound, check(tmp_path / "a.h5").problems


def test_fabio_opens_the_file_and_restores_the_frames_within_the_noise(real):
    path, images, _, frames = real
    with fabio.open(str(path)) as stack:
        assert isinstance(stack, SparseImage)
        assert stack.nframes == 6
        assert stack.cutoff == 3.0
        for number in (0, 1, 3, 4, 5):
            dense = stack.getframe(number).data
            found = frames[number].results["sparsify"]
            assert dense.dtype == images[number].dtype
            np.testing.assert_array_equal(
                dense.ravel()[found["index"]], images[number].ravel()[found["index"]].astype(dense.dtype)
            )
            difference = dense.astype(float) - images[number]
            assert abs(difference).max() < 30 and abs(difference.mean()) < 0.5 and difference.std() < 5
        assert not stack.getframe(2).data.any(), "a missing frame is zeros"


def test_the_layout_is_that_of_pyfai(real, shared):
    """Same groups, datasets and attributes as sparsify-Bragg's own file, but for its misspelt monochromator."""
    path = real[0]
    with h5py.File(shared / "golden" / "stack_sparse.h5") as theirs, h5py.File(path) as ours:
        assert ours.attrs["default"] in ours
        missing = []
        entry, mine = theirs["entry_0000"], ours["entry_0000"]

        def compare(name, item):
            name = name.replace("monchromator", "monochromator")
            if name not in mine:
                missing.append(name)
            elif isinstance(item, h5py.Dataset):
                assert mine[name].dtype.kind in {"O": "S"}.get(item.dtype.kind, item.dtype.kind + "u"), name
            for key, value in item.attrs.items():
                if key not in ("long_name", "unit"):
                    assert np.all(mine[name].attrs[key] == value), (name, key)
                assert key in mine[name].attrs, (name, key)

        entry.visititems(compare)
        assert missing == []
        assert ours[ours.attrs["default"]].attrs["pyFAI_sparse_frames"] in ours
        told = json.loads(mine["sparsify/configuration/data"][()])
        assert set(told["sparsify"]) >= set(json.loads(entry["sparsify/configuration/data"][()])["sparsify"])
        import pyFAI

        assert pyFAI.load(told["geometry"]).dist == pytest.approx(0.1)
        assert mine["sparse_frames/frame_ptr"].dtype == np.uint64


def test_silx_plots_the_background_by_default(real):
    import silx.io
    from silx.io.nxdata import get_default

    with silx.io.open(str(real[0])) as file:
        data = get_default(file)
        assert data is not None and data.is_valid
        assert data.signal_dataset_name == "background_avg"
        assert data.axes_dataset_names[-1] == "radius"


@pytest.mark.slow
def test_densify_bragg_restores_the_file_unchanged(real, tmp_path):
    path, images, _, frames = real
    tool = os.path.join(os.path.dirname(sys.executable), "densify_Bragg")
    done = subprocess.run([tool, "-N", "0", str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with fabio.open(str(tmp_path / "scan_dense.h5")) as dense:
        found = frames[4].results["sparsify"]["index"]
        np.testing.assert_array_equal(dense.getframe(4).data.ravel()[found], images[4].ravel()[found])


def test_frame_ptr_holds_more_than_32_bits(tmp_path):
    """pyFAI's uint32 overflows at 4.29e9 picked pixels."""
    path = written(tmp_path / "a.h5", range(3))
    with h5py.File(path) as file:
        assert file["/entry/sparse_frames/frame_ptr"].dtype == np.uint64
    narrow = written(tmp_path / "b.h5", range(3), frame_ptr_bits=32)
    with h5py.File(narrow) as file:
        assert file["/entry/sparse_frames/frame_ptr"].dtype == np.uint32


def test_a_frame_without_results_is_a_hole_that_may_be_filled(tmp_path):
    sink = make(tmp_path / "a.h5")
    sink.start(scan(), (PRODUCT,))
    sink.write(frame(0))
    sink.write(hole(1, FrameStatus.CORRUPT, "cut"))
    sink.write(replace(frame(2), results={}, status=FrameStatus.FAILED, problem="sparsify: bad"))
    sink.write(frame(3))
    sink.write(frame(1, FrameStatus.LATE))
    sink.finish(ScanEnd("01-first", expected=4))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["/entry/ledger/status"][:].tolist() == [1, 3, 5, 1]
        group = file["/entry/sparse_frames"]
        expected = np.cumsum([0, len(pixels(0)), len(pixels(1)), 0, len(pixels(3))])
        np.testing.assert_array_equal(group["frame_ptr"][:], expected)
        assert np.isnan(group["background_avg"][2]).all() and not np.isnan(group["background_avg"][1]).any()
        assert file["/entry/counts/picked"][2] == 2**32 - 1


def through_the_pipeline(folder, images, sinks, arrivals, **run):
    """A scan of these images through workers, order stage and sinks; arrivals are frame numbers as they come."""
    config = sparsify.Config(poni=poni(folder, images[0].shape), bins=60, cutoff_peak=4.0, hit_peaks=5)
    chains = [Chain([Step("sparsify", sparsify.create(config))]) for _ in range(2)]
    pipeline = Pipeline(chains, {name: (sink, True) for name, sink in sinks.items()}, RunOptions(**run))
    try:
        pipeline.put(scan_of(images, expected=len(images)))
        for number in arrivals:
            pipeline.put(frame_of(images[number], number))
        pipeline.put(ScanEnd("uid", announced=len(images)))
    finally:
        report = pipeline.close()
    return report


@pytest.mark.slow
def test_lost_late_and_repeated_frames_of_a_live_scan_leave_everything_else_in_place(tmp_path):
    images = crystal((120, 130), count=3) * 7
    arrivals = [0, 1, 2, 4, 5, 6, 7, 8, 8, 9, 10, 3, 11, 12, 13, 15, 16, 17, 18, 19]
    sink = make(tmp_path / "live.h5")
    report = through_the_pipeline(tmp_path, images, {"sparse": sink}, arrivals, reorder_frames=2)
    (scanned,) = report.scans
    assert scanned.counts[FrameStatus.MISSING] == 2, "14 and 20"
    assert scanned.counts[FrameStatus.LATE] == 1 and scanned.counts[FrameStatus.DUPLICATE] == 1
    straight = make(tmp_path / "straight.h5")
    through_the_pipeline(tmp_path, images, {"sparse": straight}, range(21))
    with h5py.File(tmp_path / "live.h5") as live, h5py.File(tmp_path / "straight.h5") as whole:
        ours, theirs = (file["entry_0000/sparse_frames"] for file in (live, whole))
        assert ours["frame_ptr"].shape == (22,)
        for number in range(21):
            one, other = (slice(*group["frame_ptr"][number : number + 2]) for group in (ours, theirs))
            if number in (14, 20):
                assert one.start == one.stop and np.isnan(ours["background_avg"][number]).all()
                continue
            for name in ("index", "intensity"):
                np.testing.assert_array_equal(ours[name][one], theirs[name][other])
            np.testing.assert_array_equal(ours["background_avg"][number], theirs["background_avg"][number])
    assert check(tmp_path / "live.h5").sound


def test_picked_pixels_peaks_and_hit_rate_are_live_on_the_monitor(tmp_path):
    images = crystal((120, 130), count=4)
    product, frames = sparsified(images, poni=poni(tmp_path, (120, 130)), bins=60, cutoff_peak=4.0, hit_peaks=5)
    watch = Driven(monitor.create(monitor.Config(endpoint="tcp://127.0.0.1:0", pattern="push", rate_hz=100)))
    try:
        watch.start(scan_of(images), (product,))
        with karabo_bridge.Client(watch.service.address, sock="PULL", timeout=20) as client:
            watch.write(frames[2])
            data, _ = client.next()
            while "inbeam/sparsify" not in data:
                data, _ = client.next()
    finally:
        watch.close()
    seen, found = data["inbeam/sparsify"], frames[2].results["sparsify"]
    assert (seen["picked"], seen["peaks"]) == (len(found["index"]), len(found["peak_index"]))
    assert (seen["hit"], seen["hit_rate"]) == (1, 1.0)
    np.testing.assert_array_equal(seen["background_avg"], found["background_avg"])
    np.testing.assert_array_equal(seen["peak_pos0"], found["peak_pos0"])


def test_a_chain_without_sparsify_is_told(tmp_path):
    with pytest.raises(SinkFailed, match=r"needs exactly one `sparsify` processor in the chain, there are 0 .*azint"):
        make(tmp_path / "a.h5").start(scan(), (sink_examples.PRODUCT,))
    with pytest.raises(SinkFailed, match="named 'other'"):
        make(tmp_path / "a.h5", product="other").start(scan(), (PRODUCT,))


def test_another_recipe_makes_another_file(tmp_path):
    path = tmp_path / "a.h5"
    sink = make(path)
    sink.start(scan(expected=4), (PRODUCT,))
    sink.write(frame(0))
    sink.close()
    sharper = replace(PRODUCT, sparse=SparseFrames({"dist": 0.1}, {"cutoff_pick": 4.0}))
    sink = make(path)
    assert sink.start(scan(expected=4), (sharper,)).empty
    assert sink.path == tmp_path / "a_2.h5"
    sink.close()


def test_a_frame_costs_little(tmp_path):
    """Measured: a quarter of a millisecond of CPU per frame; the bound leaves room for a busy machine."""
    sink = make(tmp_path / "a.h5")
    sink.start(scan(), (PRODUCT,))
    frames = [frame(index) for index in range(200)]
    before = time.process_time()
    for one in frames:
        sink.write(one)
    sink.finish(ScanEnd("01-first", expected=200))
    assert (time.process_time() - before) / 200 < 0.01
