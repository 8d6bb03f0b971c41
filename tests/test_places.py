"""Where a run may write: never over what it reads, nor where its files would be taken for input."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import yaml
from integration_frames import PONI
from sink_examples import PRODUCT, frame, make, scan

from stream.commands.main import main
from stream.events import ScanEnd
from stream.formats.folder.names import may_match
from stream.sources.watch import Config as Watched

FRAMES = np.random.default_rng(7).poisson(9, (3, 20, 30)).astype(np.uint16)
LIVE = {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"}


def recorded(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=FRAMES, chunks=(1, 20, 30), **hdf5plugin.Bitshuffle())
    return path


def pipeline(folder: Path, *sinks: Mapping[str, Any], stream: Mapping[str, Any] = LIVE, **correct: Any) -> str:
    path = folder / "pipeline.yaml"
    processors = [{"type": "correct", **correct}]
    path.write_text(yaml.safe_dump({"stream": dict(stream), "processors": processors, "sinks": [*map(dict, sinks)]}))
    return str(path)


def process(folder: Path, *sinks: Mapping[str, Any], files: list[str], **correct: Any) -> int:
    return main(["process", "--quiet", pipeline(folder, *sinks, **correct), *files])


def itself(path: Path) -> str:
    return str(path)


def relative(path: Path) -> str:
    return os.path.relpath(path)


def roundabout(path: Path) -> str:
    return f"{path.parent}/../{path.parent.name}/./{path.name}"


def soft_link(path: Path) -> str:
    path.with_name("link.h5").symlink_to(path)
    return str(path.with_name("link.h5"))


def hard_link(path: Path) -> str:
    os.link(path, path.with_name("hard.h5"))
    return str(path.with_name("hard.h5"))


def linked_folder(path: Path) -> str:
    path.parent.with_name("way").symlink_to(path.parent)
    return str(path.parent.with_name("way") / path.name)


@pytest.mark.parametrize("inside", ["", "::/entry/data/data"], ids=["file", "dataset"])
@pytest.mark.parametrize("way", [itself, relative, roundabout, soft_link, hard_link, linked_folder])
@pytest.mark.parametrize("kind", ["archive", "hdf5"])
def test_an_output_that_is_the_input_is_refused(
    kind: str, way: Callable[[Path], str], inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    raw = recorded(tmp_path / "in" / "scan.h5")
    before = raw.read_bytes()
    sink = {"type": kind, "path": way(raw), "if_exists": "overwrite"}
    assert process(tmp_path, sink, files=[str(raw) + inside]) == 2
    assert "sinks[0].path" in (told := capsys.readouterr().err) and "is read by this run" in told
    assert raw.read_bytes() == before


@pytest.mark.parametrize("output_is_link", [False, True])
def test_an_output_that_turns_out_to_be_the_input_is_refused(
    output_is_link: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name is known only with the scan; the input is an archive of ours, so that nothing else protects it."""
    archive = make("archive", tmp_path / "raw.h5")
    archive.start(scan(), ())
    for index in range(3):
        archive.write(frame(index))
    archive.finish(ScanEnd("01-first", expected=3))
    given = tmp_path / "raw.h5"
    if output_is_link:
        given = tmp_path / "given.h5"
        given.symlink_to("raw.h5")
    before = given.read_bytes()
    sink = {"type": "hdf5", "path": str(tmp_path / "{scan}.h5"), "if_exists": "overwrite"}
    assert process(tmp_path, sink, files=[str(given)]) == 1
    assert f"{given} is what scan {given.stem} is read from" in capsys.readouterr().out
    assert given.read_bytes() == before


def test_the_archive_that_linked_frames_lie_in_is_not_overwritten(tmp_path: Path) -> None:
    archive = make("archive", tmp_path / "raw.h5")
    results = make("hdf5", tmp_path / "results.h5", link=str(tmp_path / "raw.h5"))
    for sink in (archive, results):
        sink.start(scan(), (PRODUCT,))
    for sink in (archive, results):
        sink.write(frame(0))
        sink.finish(ScanEnd("01-first", expected=1))
    before = (tmp_path / "raw.h5").read_bytes()
    sink = {"type": "archive", "path": str(tmp_path / "raw.h5"), "if_exists": "overwrite"}
    assert process(tmp_path, sink, files=[f"{tmp_path / 'results.h5'}::/entry/instrument/detector/data"]) == 1
    assert (tmp_path / "raw.h5").read_bytes() == before


def test_what_inbeam_did_not_write_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The data file of a master, which is not among the files given."""
    data, master = recorded(tmp_path / "scan_data_000001.h5"), tmp_path / "scan_master.h5"
    with h5py.File(master, "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink(data.name, "/entry/data/data")
    before = data.read_bytes()
    sink = {"type": "archive", "path": str(data), "if_exists": "overwrite"}
    assert process(tmp_path, sink, files=[str(master)]) in (0, 1)
    assert data.read_bytes() == before
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["x"] = 1
    before = (tmp_path / "own.h5").read_bytes()
    sink["path"] = str(tmp_path / "own.h5")
    assert process(tmp_path, sink, files=[str(master)]) == 0
    assert (tmp_path / "own.h5").read_bytes() == before
    with h5py.File(tmp_path / "own_2.h5") as file:
        np.testing.assert_array_equal(file["entry/data/data"], FRAMES)


@pytest.mark.parametrize("option", ["mask", "dark", "flat"])
def test_an_output_that_a_processor_reads_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = recorded(tmp_path / "scan.h5")
    np.save(tmp_path / "image.npy", np.eye(20, 30))
    before = (tmp_path / "image.npy").read_bytes()
    sink = {"type": "hdf5", "path": str(tmp_path / "." / "image.npy"), "if_exists": "overwrite"}
    assert process(tmp_path, sink, files=[str(raw)], **{option: str(tmp_path / "image.npy")}) == 2
    assert "sinks[0].path" in (told := capsys.readouterr().err) and "is read by this run" in told
    assert (tmp_path / "image.npy").read_bytes() == before


def test_beside_its_input_a_file_gets_a_number(tmp_path: Path) -> None:
    raw = recorded(tmp_path / "scan.h5")
    before = raw.read_bytes()
    assert process(tmp_path, {"type": "archive", "path": str(tmp_path / "{scan}.h5")}, files=[str(raw)]) == 0
    assert raw.read_bytes() == before
    with h5py.File(tmp_path / "scan_2.h5") as file:
        np.testing.assert_array_equal(file["entry/data/data"], FRAMES)


@pytest.mark.parametrize(
    ("path", "include", "refused"),
    [
        ("{scan}.h5", ["*"], True),
        ("{scan}.nxs", ["raw_*"], True),
        ("results.h5", ["raw_*"], False),
        ("out/{date}/{scan}.h5", ["*"], True),
        ("out/{scan}.h5", ["raw/*", "*.cbf"], False),
        ("out/{scan}.h5", ["o*t/s*.h5"], True),
        ("{scan}.h5", ["*.h[0-4]"], False),
        ("{scan}.results", ["*"], False),
        ("../elsewhere/{scan}.h5", ["*"], False),
        ("../link/{scan}.h5", ["*"], True),
        ("../incoming_too/{scan}.h5", ["*"], False),
    ],
)
def test_an_output_in_the_watched_folder_is_refused(
    path: str, include: list[str], refused: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    stream = {"type": "watch", "folder": str(folder), "include": include}
    config = pipeline(tmp_path, {"type": "hdf5", "path": f"{folder}/{path}"}, stream=stream)
    assert main(["validate", config]) == (2 if refused else 0)
    told = capsys.readouterr()
    assert ("sinks[0].path" in told.err and "would be taken for input" in told.err) == refused


def test_the_watched_folder_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "incoming").mkdir()
    for folder in ("~/incoming", str(tmp_path / "incoming")):
        for path in ("~/incoming/x.h5", str(tmp_path / "incoming" / "x.h5")):
            stream = {"type": "watch", "folder": folder}
            assert main(["validate", pipeline(tmp_path, {"type": "hdf5", "path": path}, stream=stream)]) == 2


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a.h5", "*.h5", True),
        ("a.h5", "a.h5", True),
        ("a.h5", "b*", False),
        ("\0.h5", "b*", True),
        ("\0.h5", "b*.cbf", False),
        ("x_\0.h5", "[xy]_?????.h5", True),
        ("x_\0.h5", "[!xy]*", False),
        ("\0", "", True),
        ("", "**", True),
        ("", "?", False),
        ("a\0c\0", "*b", True),
        ("\0.h5", "a/*", False),
        ("a/\0", "a/b[0-9]", True),
        ("a" * 4000 + "\0", "*a*a*b", True),
    ],
)
def test_a_name_with_gaps_is_compared_with_a_pattern(name: str, pattern: str, expected: bool) -> None:
    assert may_match(name, pattern) == expected


def test_the_source_sees_the_same_names_as_its_configuration_foretells(tmp_path: Path) -> None:
    config = Watched(folder=str(tmp_path), include=("raw/*.h5", "*.cbf"))
    for name, taken in (("raw/a.h5", True), ("a.h5", False), ("deep/b.cbf", True), ("raw/.c.h5", False)):
        assert config.follows(str(tmp_path / name)) == taken


def test_two_sinks_with_one_file_and_a_link_to_no_archive_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "{scan}.h5")
    config = pipeline(
        tmp_path,
        {"type": "archive", "path": out},
        {"type": "hdf5", "path": f"{tmp_path}/./" + "{scan}.h5", "link": str(tmp_path / "frames.h5")},
        {"type": "hdf5", "path": str(tmp_path / "other.h5"), "link": out},
    )
    assert main(["validate", config]) == 2
    told = capsys.readouterr().err
    assert "sinks[1].path" in told and "is the file of an earlier sink too" in told
    assert "sinks[1].link" in told and f"no archive sink has the `path` '{tmp_path / 'frames.h5'}'" in told
    assert "sinks[0]" not in told and "sinks[2]" not in told


@pytest.mark.parametrize("output", ["scan_master.h5", "scan_data_000001.h5", "detector.poni", "dark.h5"])
def test_sparsify_bragg_refuses_to_replace_what_it_reads(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recorded(tmp_path / "scan_data_000001.h5")
    recorded(tmp_path / "dark.h5")
    (tmp_path / "detector.poni").write_text(PONI)
    with h5py.File(tmp_path / "scan_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink(data.name, "/entry/data/data")
    (tmp_path / "link.h5").symlink_to(output)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    options = ["-p", str(tmp_path / "detector.poni"), "--dark", str(tmp_path / "dark.h5")]
    options += ["-o", str(tmp_path / "link.h5")]
    assert main(["sparsify-bragg", *options, str(tmp_path / "scan_master.h5")]) == 2
    assert "link.h5 is what is to be read" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_report_of_a_replay_does_not_replace_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = recorded(tmp_path / "scan.h5")
    before = raw.read_bytes()
    assert main(["replay", str(raw), "--report", f"{tmp_path}/./scan.h5"]) == 1
    assert "give the report another name" in capsys.readouterr().err
    assert raw.read_bytes() == before
