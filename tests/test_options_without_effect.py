"""An option that would do nothing where it is given is refused, with what to do, before anything is begun."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import configuration, recorded

from stream.commands.main import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path, "scan_0001.h5", 3)
    recorded(tmp_path, "scan_0002.h5", 3)
    configuration(tmp_path, "correct")
    (tmp_path / "d.poni").write_text("poni_version: 2.1\n")
    (tmp_path / "one.cbor").write_bytes(b"\x81\x01")
    (tmp_path / "job.ini").write_text("")
    for name in ("im_0001.edf", "im_0002.edf", "nameless.edf"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "images").mkdir()
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["data"] = np.zeros(3)
    return tmp_path


MAP = "diff-map -p d.poni -o out.h5 -t 2"
TOMO = "diff-tomo -p d.poni -o out.h5 -t 2"
BRAGG = "sparsify-bragg -p d.poni scan_0001.h5"
DATA = "recon3d-getdata images im - - 5,5 2,2 out array"


@pytest.mark.parametrize(
    ("line", "option", "words"),
    [
        ("process pipeline.yaml scan_0001.h5 --parts 4", "--parts", "name these with --dask"),
        (f"{MAP} scan_0001.h5 scan_0002.h5 --first 2", "--first", "image files that all have a number"),
        (f"{TOMO} scan_0001.h5 --first 2", "--first", "image files that all have a number"),
        (f"{MAP} scan_0001.h5 --number name", "--number name", "image files that all have a number"),
        (f"{MAP} nameless.edf im_0001.edf --first 1", "--first", "image files that all have a number"),
        (f"{MAP} im_0001.edf im_0002.edf --first 1 --number position", "--first", "or --number position"),
        (f"{MAP} images --watch --number position", "--number", "counts by the numbers in the names"),
        (f"{MAP} im_0001.edf -P im -e edf", "-P/--prefix", "no FILE is one"),
        (f"{BRAGG} --engine cpu --device 0 0", "--device", "leave out --engine cpu"),
        (f"{BRAGG} --engine cpu --device-type gpu", "--device-type", "leave out --engine cpu"),
        (f"{BRAGG} --engine cpu --workgroup 32", "--workgroup", "leave out --engine cpu"),
        (f"{BRAGG} --peak-patch-size 5", "--peak-patch-size", "give --cutoff-peak too"),
        (f"{BRAGG} --peak-connected 3", "--peak-connected", "give --cutoff-peak too"),
        ("export map.h5 --vtk --frames 3", "--frames", "a volume is exported whole"),
        ("export map.h5 --vtk --name {scan}", "--name", "a volume is exported whole"),
        ("export map.h5 --vtk --unit q_A^-1", "--unit", "a volume is exported whole"),
        ("replay one.cbor --series 3", "--series", "sent as it was"),
        ("replay one.cbor --header-detail all", "--header-detail", "sent as it was"),
        ("replay scan_0001.h5 --seed 3", "--seed", "say which with --faults"),
        ("simulate --seed 3", "--seed", "say which with --faults"),
        ("simulate --scans 3", "--scans", "say how long each is with --frames"),
        ("recon3d job.ini --iterations 5", "--iterations", "--method sirt"),
        ("recon3d job.ini --subsets 5 -m moments", "--subsets", "--method sirt"),
        (f"{DATA} --least-area 5", "--least-area", "give that too"),
        (f"{DATA} --tilt2 a --gamma a,b,0,0", "--tilt2", "leave one out"),
        ("stitch images --reading att --step 2", "--step", "leave one out"),
    ],
)
def test_an_option_without_effect_is_refused_with_what_to_do(
    line: str, option: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert main(line.split()) == 2
    told = capsys.readouterr().err
    assert any(row.strip().startswith(f"{option}:") and words in row for row in told.splitlines()), told
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("sparsify-bragg -p d.poni -m none.edf scan_0001.h5", "--mask"),
        ("sparsify-bragg -p d.poni --dark a.edf none.edf -- scan_0001.h5", "--dark"),
        ("diff-map -p d.poni -o out.h5 -t 2 images --watch", "-p/--poni"),
        ("process pipeline.yaml scan_0001.h5 none.h5", "FILES"),
        ("process pipeline.yaml scan_0001.h5 --changes none.h5", "--changes"),
        ("run pipeline.yaml --scans 0", "--scans"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_the_option_that_was_typed(
    line: str, option: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also what is found out only when the pipeline is about to begin."""
    assert main(line.split()) == 2
    told = capsys.readouterr().err
    assert f"  {option}: " in told and "processors" not in told and "stream." not in told and "run." not in told


@pytest.mark.parametrize("name", ["frames.npy", "frames.npz"])
def test_an_array_of_numpy_given_as_frames_is_called_that(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A .npy begins with a byte that CBOR has too, and was told as a capture that was cut short."""
    np.save(name, np.zeros((3, 4, 8), "u2")) if name.endswith(".npy") else np.savez(name, a=np.zeros((3, 4, 8)))
    words = "is an array of NumPy, which frames are not read from: save it as a dataset of an HDF5 file"
    for line in (f"process --quiet pipeline.yaml {name}", f"validate pipeline.yaml {name}", f"replay {name}"):
        assert main(line.split()) in (1, 2)
        told = "".join(capfd.readouterr())
        assert f"{name} {words}" in told and "cut short" not in told, line
