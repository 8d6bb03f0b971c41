"""`inbeam sparsify-bragg` and `inbeam densify`, as a user types them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
from bragg_frames import crystal, poni
from fabio.sparseimage import densify as fabio_densify

from stream.commands.main import main

SHAPE = (120, 130)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INBEAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def lima(path, images):
    """A Lima file of these frames."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"creator": "LIMA-1.9.7", "default": "entry_0000"})
        entry = file.create_group("entry_0000")
        entry.attrs["NX_class"] = "NXentry"
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        entry["instrument"].attrs["NX_class"] = "NXinstrument"
        stack = np.stack(images)
        detector.create_dataset("data", data=stack, chunks=(1, *stack.shape[1:]), **hdf5plugin.Bitshuffle())
        entry.create_group("measurement")["data"] = h5py.SoftLink("/entry_0000/instrument/detector/data")
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with two scans and a geometry."""
    monkeypatch.chdir(tmp_path)
    lima(tmp_path / "one.h5", crystal(SHAPE, count=4, seed=1))
    lima(tmp_path / "two.h5", crystal(SHAPE, count=3, seed=2))
    poni(tmp_path, SHAPE)
    return tmp_path


def sparse_frames(path):
    with h5py.File(path) as file:
        group = file["entry_0000/sparse_frames"]
        return {name: group[name][()] for name in ("frame_ptr", "index", "intensity", "background_avg")}


def test_the_golden_command_line_gives_the_golden_pixels(shared, tmp_path, monkeypatch, capsys):
    """The very words that made the golden file, but for --device: 19222 pixels, the same sets, the same peaks."""
    monkeypatch.chdir(tmp_path)
    golden = shared / "golden"
    words = ["-p", str(golden / "t.poni"), "-m", str(golden / "mask.edf"), "-b", "ID99", "--cutoff-peak", "4"]
    assert main(["sparsify-bragg", *words, str(golden / "stack_dense.h5")]) == 0
    assert "14 frames, 19222 pixels, 473 peaks" in capsys.readouterr().out
    ours = sparse_frames(tmp_path / "stack_dense_sparse.h5")
    theirs = sparse_frames(golden / "stack_sparse.h5")
    np.testing.assert_array_equal(ours["frame_ptr"], theirs["frame_ptr"])
    np.testing.assert_allclose(ours["background_avg"], theirs["background_avg"], rtol=1e-5)
    for start, stop in zip(ours["frame_ptr"][:-1], ours["frame_ptr"][1:], strict=True):
        order = np.argsort(theirs["index"][start:stop])
        np.testing.assert_array_equal(ours["index"][start:stop], theirs["index"][start:stop][order])
        np.testing.assert_array_equal(ours["intensity"][start:stop], theirs["intensity"][start:stop][order])
    with h5py.File(tmp_path / "stack_dense_sparse.h5") as file:
        assert "ID99/Detector/distance" in file["entry_0000"]


@pytest.mark.slow
def test_every_option_of_the_original_is_taken_and_written_down(folder):
    words = (
        "-v --debug --profile -o {basename}_kept.nxs --save-source -b ID11 -p 120x130.poni --dummy 3 --delta-dummy 0.5 "
        "--radial-range 0.5 6 -P 0.99 -A --bins 70 --unit r_mm --cycle 4 --cutoff-clip 2.5 --cutoff-pick 3.5 "
        "--error-model 5*I+8 --noise 2 --cutoff-peak 4 --peak-patch-size 5 --peak-connected 3 --device-type all one.h5"
    )
    assert main(["sparsify-bragg", *words.split()]) == 0
    with h5py.File(folder / "one_kept.nxs") as file:
        entry = file["entry_0000"]
        told = json.loads(entry["sparsify/configuration/data"][()])["sparsify"]
        expected = {
            "dummy": 3.0,
            "delta_dummy": 0.5,
            "polarization_factor": 0.99,
            "correctSolidAngle": True,
            "bins": 70,
            "unit": "r_mm",
            "cycle": 4,
            "cutoff_clip": 2.5,
            "cutoff_pick": 3.5,
            "error_model": "5*I+8",
            "noise": 2.0,
            "cutoff_peak": 4.0,
            "patch_size": 5,
            "connected": 3,
        }
        assert {key: told[key] for key in expected} == expected
        assert told["radial_range"] == pytest.approx([0.5e-3, 6e-3])
        assert entry["sparse_frames/radius"].shape == (70,)
        assert entry["sparse_frames/normalization"].shape == SHAPE
        assert entry["sparse_frames/dummy"][()] == 3
        assert "ID11" in entry


def test_every_scan_of_one_input_has_a_file_and_a_line(folder, capsys):
    os.mkdir("both")
    for name in ("one.h5", "two.h5"):
        os.rename(name, f"both/{name}")
    assert main(["sparsify-bragg", "-p", "120x130.poni", "both"]) == 0
    told = capsys.readouterr().out
    for name, frames in (("both_sparse.h5", 4), ("both_sparse_2.h5", 3)):
        assert len(sparse_frames(name)["frame_ptr"]) == frames + 1
        assert f"both -> {name}: {frames} frames" in told


def test_save_source_links_lima_files(folder):
    """pyFAI crashes on Lima files ('numpy.ndarray' object has no attribute 'file') and still exits with 0."""
    os.mkdir("out")
    words = ["-p", "120x130.poni", "--save-source", "-o", "out/{basename}_sparse.h5", "one.h5"]
    assert main(["sparsify-bragg", *words]) == 0
    with h5py.File(folder / "out/one_sparse.h5") as file, h5py.File(folder / "one.h5") as source:
        linked = file["entry_0000/data/data_0001"]
        np.testing.assert_array_equal(linked[2], source["entry_0000/measurement/data"][2])
        assert file["entry_0000/sparsify/source"][0].decode().startswith(str(folder / "one.h5"))


@pytest.mark.slow
def test_each_input_has_its_own_output_and_patterns_are_filled_in(folder):
    assert main(["sparsify-bragg", "-p", "120x130.poni", "-o", "_s", "????h5", "o*.h5"]) == 2, "one.h5 twice"
    assert main(["sparsify-bragg", "-p", "120x130.poni", "-o", "_s", "*.h5"]) == 0
    assert sorted(name for name in os.listdir() if "_s" in name) == ["one_s.h5", "two_s.h5"]
    assert main(["sparsify-bragg", "-p", "120x130.poni", "-o", "sub/named", "one.h5"]) == 0
    assert os.listdir("sub") == ["named.h5"]
    assert len(sparse_frames("one_s.h5")["frame_ptr"]) == 5
    assert len(sparse_frames("two_s.h5")["frame_ptr"]) == 4


@pytest.mark.slow
def test_a_finished_result_is_replaced_and_kept_if_there_is_no_new_one(folder, capsys):
    words = ["sparsify-bragg", "-p", "120x130.poni", "one.h5"]
    assert main(words) == 0
    first = sparse_frames("one_sparse.h5")
    lima(folder / "one.h5", crystal(SHAPE, count=5, seed=7))
    assert main(words) == 0
    second = sparse_frames("one_sparse.h5")
    assert len(second["frame_ptr"]) == 6 and len(first["frame_ptr"]) == 5
    (folder / "one.h5").write_bytes(b"no longer a file of frames")
    assert main(words) == 1
    assert len(sparse_frames("one_sparse.h5")["frame_ptr"]) == 6
    assert [name for name in os.listdir() if name.startswith(".")] == []
    capsys.readouterr()


def test_arguments_that_cannot_be_used_exit_with_2_and_say_why(folder, capsys):
    for words, text in (
        (["-p", "120x130.poni"], "no input file"),
        (["one.h5"], "geometry is mandatory"),
        (["-p", "120x130.poni", "nothing.h5"], "no such file: nothing.h5"),
        (["-p", "120x130.poni", "--error-model", "exec(I)", "one.h5"], "error-model"),
        (["-p", "120x130.poni", "--cutoff-peak", "4", "--peak-patch-size", "4", "one.h5"], "peak-patch-size"),
        (["-p", "120x130.poni", "--delta-dummy", "4", "one.h5"], "delta_dummy without dummy"),
        (["-p", "120x130.poni", "-o", "same.h5", "-o", "{basename}", "one.h5", "one.h5"], "written twice"),
    ):
        assert main(["sparsify-bragg", *words]) == 2, words
        assert text in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["sparsify-bragg", "-V"])
    assert stopped.value.code == 0
    assert not [name for name in os.listdir() if "sparse" in name]


def test_a_file_that_cannot_be_written_is_an_error_before_the_start(folder, capsys):
    """pyFAI's writer thread dies unseen and the program exits with 0."""
    (folder / "closed").write_bytes(b"a file where a folder is needed")
    words = ["sparsify-bragg", "-p", "120x130.poni", "-o", "closed/{basename}.h5", "one.h5"]
    assert main(words) == 2
    assert "closed is not a folder: choose another" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wrong_geometry_is_an_error_with_exit_code_1(folder, caplog):
    poni(folder, (50, 60))
    assert main(["sparsify-bragg", "-p", "50x60.poni", "one.h5"]) == 1
    assert "is for a detector (Detector) of (50, 60) pixels" in caplog.text


def test_verbose_tells_of_each_frame(folder, capsys):
    assert main(["sparsify-bragg", "-v", "--profile", "-p", "120x130.poni", "--cutoff-peak", "4", "one.h5"]) == 0
    told = capsys.readouterr().out
    pointer = sparse_frames("one_sparse.h5")["frame_ptr"]
    for number in range(4):
        assert f"one.h5 frame #{number:04d}, found {pointer[number + 1] - pointer[number]:6d} intense pixels /" in told
    assert "ms per frame" in told


@pytest.mark.slow
def test_the_cbf_frames_of_a_beamline_are_taken_one_by_one(shared, tmp_path, monkeypatch):
    """A compressed CBF, its detector known to pyFAI by name; the result opens in fabio."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.poni").write_text(
        "poni_version: 2.1\nDetector: Pilatus6M\nDetector_config: {}\nDistance: 0.351\n"
        f"Poni1: {1306.96 * 172e-6}\nPoni2: {1261.61 * 172e-6}\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 0.96859e-10\n"
    )
    name = shared / "single_crystal" / "thaumatin_grid" / "thau_3_2_0014.cbf.bz2"
    assert main(["sparsify-bragg", "-p", "p.poni", "--cutoff-peak", "4", "-o", "{basename}_s.h5", str(name)]) == 0
    (made,) = (path for path in os.listdir() if path.endswith("_s.h5"))
    with fabio.open(made) as image, fabio.open(str(name)) as source:
        dense = image.data.astype(float)
        inside = np.isfinite(image.mask) & (source.data >= 0)
        difference = (dense - source.data)[inside]
        assert abs(difference).max() < 20 and abs(difference.mean()) < 1 and difference.std() < 3  # pyFAI's own bounds


@pytest.mark.slow
def test_densify_restores_what_was_sparsified(folder):
    images = crystal(SHAPE, count=4, seed=1)
    assert main(["sparsify-bragg", "-p", "120x130.poni", "--cutoff-peak", "4", "one.h5"]) == 0
    assert main(["densify", "-N", "0", "one_sparse.h5"]) == 0
    kept = sparse_frames("one_sparse.h5")
    with h5py.File("one_sparse.h5") as file:
        group = file["entry_0000/sparse_frames"]
        mask, radius = group["mask"][()], group["radius"][()]
    with fabio.open("one_sparse_dense.h5") as dense:
        assert dense.nframes == 4
        for number, image in enumerate(images):
            restored = dense.getframe(number).data
            assert restored.dtype == np.uint16
            inside = slice(*kept["frame_ptr"][number : number + 2])
            index, intensity = kept["index"][inside], kept["intensity"][inside]
            np.testing.assert_array_equal(restored.ravel()[index], image.ravel()[index])
            theirs = fabio_densify(mask, radius, index, intensity, 0, kept["background_avg"][number])
            np.testing.assert_array_equal(restored, theirs)
    with h5py.File("one_sparse_dense.h5") as file:
        assert file["entry_0000/instrument/peaks/nPeaks"].shape == (4,)


@pytest.mark.slow
def test_densify_puts_the_noise_of_the_background_back(folder):
    """Also below the cutoff of picking, which fabio forgets: no invented Bragg peaks."""
    images = crystal(SHAPE, count=4, seed=1)
    assert main(["sparsify-bragg", "-p", "120x130.poni", "one.h5"]) == 0
    assert main(["densify", "one_sparse.h5"]) == 0
    assert main(["densify", "-N", "0", "-o", "smooth.h5", "one_sparse.h5"]) == 0
    with fabio.open("one_sparse_dense.h5") as noisy, fabio.open("smooth.h5") as smooth:
        rough, even = (stack.getframe(1).data.astype(float) for stack in (noisy, smooth))
    kept = sparse_frames("one_sparse.h5")
    index = kept["index"][kept["frame_ptr"][1] : kept["frame_ptr"][2]]
    np.testing.assert_array_equal(rough.ravel()[index], images[1].ravel()[index])
    background = np.ones(rough.size, bool)
    background[index] = False
    with h5py.File("one_sparse.h5") as file:
        group = file["entry_0000/sparse_frames"]
        deviation = np.interp(group["mask"][()], group["radius"][()], group["background_std"][1]).ravel()[background]
    added = (rough - even).ravel()[background]
    strong = even.ravel()[background] > 4 * deviation
    assert strong.sum() > 1000
    assert (added / deviation)[strong].std() == pytest.approx(1, abs=0.05)
    assert (added <= 3 * deviation + 1).all()
    assert (added[deviation > 2] > 2.5 * deviation[deviation > 2]).any()


@pytest.mark.slow
@pytest.mark.parametrize(("source", "more"), [("one_sparse.h5", []), ("one_master.h5", ["-O", "eiger"])])
def test_densify_never_replaces_what_it_reads(folder, capsys, source, more):
    assert main(["sparsify-bragg", "-p", "120x130.poni", "-o", source, "one.h5"]) == 0
    before = Path(source).read_bytes()
    target = "one_000001.h5" if more else source
    assert main(["densify", "-o", target, *more, source]) == 1
    assert f"{source} is what is to be restored" in capsys.readouterr().err
    assert Path(source).read_bytes() == before


def test_densify_writes_eiger_files_with_a_master(folder):
    assert main(["sparsify-bragg", "-p", "120x130.poni", "--dummy", "7", "one.h5"]) == 0
    assert main(["densify", "-O", "eiger", "-N", "0", "-D", "9", "one_sparse.h5"]) == 0
    assert sorted(name for name in os.listdir() if name.startswith("one_s")) == [
        "one_sparse.h5",
        "one_sparse_000001.h5",
        "one_sparse_master.h5",
    ]
    with fabio.open("one_sparse_master.h5") as master:
        assert master.nframes == 4
    with h5py.File("one_sparse_master.h5") as master:
        assert master["entry/data/data_000001"].shape == (4, *SHAPE)
        assert master["entry/instrument/detector/x_pixel_size"][()] == pytest.approx(1e-4)


def test_densify_opens_pyfais_own_files_and_masks_with_the_dummy(shared, tmp_path):
    made = tmp_path / "dense.h5"
    words = ["-N", "0", "-D", "60000", "-o", str(made), str(shared / "golden" / "stack_sparse.h5")]
    assert main(["densify", *words]) == 0
    with h5py.File(made) as dense, h5py.File(shared / "golden" / "stack_dense.h5") as source:
        mask = fabio.open(str(shared / "golden" / "mask.edf")).data != 0
        restored = dense["entry_0000/measurement/data"][5].astype(float)
        assert (restored[mask] == 60000).all()
        difference = (restored - source["entry_0000/instrument/detector/data"][5])[~mask]
        assert abs(difference).max() < 40 and abs(difference.mean()) < 0.5


def test_densify_takes_a_file_without_a_background(shared, tmp_path):
    """fabio looks for the shape of a radius that is not there (`radius.shape`) and crashes."""
    stripped = tmp_path / "stripped.h5"
    with h5py.File(shared / "golden" / "stack_sparse.h5") as source, h5py.File(stripped, "w") as target:
        target.attrs.update(source.attrs)
        source.copy("entry_0000", target)
        for name in ("radius", "background_avg", "background_std", "errors"):
            del target[f"entry_0000/sparse_frames/{name}"]
        group = source["entry_0000/sparse_frames"]
        start, stop = group["frame_ptr"][4:6]
        index, counts = group["index"][start:stop], group["intensity"][start:stop]
    assert main(["densify", str(stripped)]) == 0
    with h5py.File(tmp_path / "stripped_dense.h5") as dense:
        frame = dense["entry_0000/measurement/data"][4]
    np.testing.assert_array_equal(frame.ravel()[index], counts)
    assert frame.sum() == counts.sum(dtype=np.int64)


def test_densify_tells_of_a_damaged_file(shared, tmp_path, capsys):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes((shared / "golden" / "stack_sparse.h5").read_bytes())
    with h5py.File(damaged, "r+") as file:
        file["entry_0000/sparse_frames/index"][2000] = 400 * 500
    assert main(["densify", str(damaged)]) == 1
    assert "damaged.h5 is damaged: frame 1 has pixels outside the image" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["damaged.h5"]


def test_the_help_says_what_the_options_do(capsys):
    """pyFAI's says "precision for dummy value" of --cycle, pixels of --radial-range, and 3 of --peak-connected (2)."""
    with pytest.raises(SystemExit):
        main(["sparsify-bragg", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "most cycles of clipping (5)" in told
    assert "radii considered, in UNIT" in told
    assert "intense pixels needed in the patch (2)" in told
    assert "each gives its own output file" in told


@pytest.mark.slow
def test_densify_lists_tries_and_refuses(folder, capsys):
    assert main(["densify", "-l"]) == 0
    assert "lima, eiger" in capsys.readouterr().out
    assert main(["densify", "one.h5"]) == 1, "not sparse"
    assert "one.h5 is not a file of sparse frames: it lacks what such a file has" in capsys.readouterr().err
    assert main(["densify"]) == 2
    assert main(["densify", "-O", "tiff", "one.h5"]) == 2
    assert main(["sparsify-bragg", "-p", "120x130.poni", "one.h5"]) == 0
    before = sorted(os.listdir())
    assert main(["densify", "--dry-run", "one_sparse.h5"]) == 0
    assert sorted(os.listdir()) == before


@pytest.mark.slow
def test_ctrl_c_exits_with_2_and_the_next_run_goes_on(folder):
    """The interrupted file is valid; started again, it ends up as if nothing had happened."""
    images = crystal(SHAPE, count=3, seed=4)
    with h5py.File("long.h5", "w") as file:
        stack = np.stack([images[number % 3] for number in range(4500)])
        file.create_dataset("entry/data/data", data=stack, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
    words = ["sparsify-bragg", "-p", "120x130.poni", "--workers", "1", "long.h5"]
    command = [sys.executable, "-m", "stream.commands.main", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    until = time.monotonic() + 60  # the file is made by another process, which says nothing of it
    while not os.path.exists("long_sparse.h5") and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(2)
    process.communicate(timeout=60)
    assert process.returncode == 2
    interrupted = sparse_frames("long_sparse.h5")
    assert 0 < np.count_nonzero(~np.isnan(interrupted["background_avg"][:, 0])) < 4500
    assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120).returncode == 0
    whole = sparse_frames("long_sparse.h5")
    assert len(whole["frame_ptr"]) == 4501
    sizes = np.diff(whole["frame_ptr"].astype(int))
    np.testing.assert_array_equal(sizes, np.tile(sizes[:3], 1500))
    assert not np.isnan(whole["background_avg"]).any()


@pytest.mark.slow
def test_an_unfinished_file_of_other_options_is_not_taken_for_the_result(folder):
    """Nor gone on with: its frames would have been picked at another threshold."""
    options = ["-p", "120x130.poni", "one.h5", "--bins", "60"]
    assert main(["sparsify-bragg", *options, "--cutoff-pick", "20", "-o", "a.h5"]) == 0
    with h5py.File("a.h5", "r+") as file:
        file["entry/ledger/finished"][0] = 0
    assert main(["sparsify-bragg", *options, "-o", "a.h5"]) == 0
    assert main(["sparsify-bragg", *options, "-o", "b.h5"]) == 0
    assert sorted(path.name for path in folder.glob("[ab]*.h5")) == ["a.h5", "b.h5"]
    for name, values in sparse_frames("b.h5").items():
        np.testing.assert_array_equal(sparse_frames("a.h5")[name], values)
