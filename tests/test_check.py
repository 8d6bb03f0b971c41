"""`inbeam check`: a flipped bit is found, and whatever else does not agree with the ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sink_examples import PRODUCT, frame, hole, make, scan

from sinks.check import check
from stream.codec.payload import decode
from stream.commands.main import main
from stream.events import FrameStatus, ScanEnd


def written(kind: str, path: Path, *, end: bool = True) -> Path:
    """Six frames of eight expected: one missing, one corrupt."""
    sink = make(kind, path)
    sink.start(scan(expected=8), (PRODUCT,))
    for index in (0, 1, 2, 4, 5, 6):
        sink.write(frame(index))
    sink.write(hole(7, FrameStatus.CORRUPT, "block 2 is cut off"))
    if end:
        sink.finish(ScanEnd("01-first", announced=8, expected=8))
    sink.close()
    return path


def test_a_sound_file_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [written(kind, tmp_path / f"{kind}.h5") for kind in ("archive", "hdf5")]
    before = [path.read_bytes() for path in files]
    assert main(["check", *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "sound: 8 frames of 8 announced (1 missing, 6 received, 1 corrupt)" in line
    assert "6 stored images decode and are the bytes that came" in lines[0]
    assert [path.read_bytes() for path in files] == before


def test_any_flipped_bit_of_the_stored_pixels_is_found(tmp_path: Path) -> None:
    path = written("archive", tmp_path / "scan.h5")
    with h5py.File(path, "r") as file:
        info = file["/entry/data/data"].id.get_chunk_info_by_coord((4, 0, 0))
    good = path.read_bytes()
    dice = np.random.default_rng(11)
    undetected_by_decoding = 0
    for _ in range(40):
        raw = bytearray(good)
        place = info.byte_offset + int(dice.integers(0, info.size))
        raw[place] ^= 1 << int(dice.integers(0, 8))
        path.write_bytes(raw)
        verdict = check(path)
        assert not verdict.sound
        assert "frame 4, channel threshold_1" in verdict.line()
        undetected_by_decoding += "checksum differs" in verdict.line()
    assert undetected_by_decoding > 0, "the checksum would not be needed"


def test_a_flipped_bit_decodes_without_an_error_but_for_the_checksum() -> None:
    payload = frame(3).payloads["threshold_1"]
    raw = bytearray(payload.data)
    raw[-2] ^= 1
    changed = type(payload)(bytes(raw), payload.encoding, payload.shape, payload.dtype)
    assert not np.array_equal(decode(changed), decode(payload))


def _shorten(file: Any) -> None:
    file["/entry/ledger/status"].resize(7, axis=0)


def _miscount(file: Any) -> None:
    file["/entry/ledger/counts"][1] = 7


def _lose_a_row(file: Any) -> None:
    file["/entry/data/I"][5] = np.nan


def _lose_rows(file: Any) -> None:
    file["/entry/data/I"].resize(6, axis=0)


def _lose_an_image(file: Any) -> None:
    file["/entry/data/data"].resize(6, axis=0)


def _claim_more(file: Any) -> None:
    file["/entry/ledger/announced"][0] = 9


@pytest.mark.parametrize(
    ("kind", "spoil", "words"),
    [
        ("archive", _shorten, "7 rows, but 8 frames were expected"),
        ("archive", _miscount, "counts 7 frames as received, its rows say 6"),
        ("archive", _claim_more, "announced 9 frames, the ledger expects 8"),
        ("archive", _lose_an_image, "frame 6, channel threshold_1: its image is not in the file"),
        ("hdf5", _lose_a_row, "frame 5: azint/I is all NaN, though the frame was received"),
        ("hdf5", _lose_rows, "azint/I has 6 rows, the ledger 8"),
    ],
)
def test_what_does_not_agree_with_the_ledger_is_told(
    kind: str, spoil: Callable[[Any], None], words: str, tmp_path: Path
) -> None:
    path = written(kind, tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        spoil(file)
    verdict = check(path)
    assert not verdict.sound
    assert any(words in problem for problem in verdict.problems), verdict.problems
    assert "NOT SOUND" in verdict.line()


def test_files_that_cannot_be_verified_are_told_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, cut, unfinished = tmp_path / "notes.txt", tmp_path / "cut.h5", tmp_path / "unfinished.h5"
    text.write_text("nothing")
    good = written("archive", tmp_path / "good.h5")
    shutil.copyfile(good, cut)
    with cut.open("r+b") as file:
        file.truncate(good.stat().st_size // 2)
    written("hdf5", unfinished, end=False)
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    asked = [text, cut, unfinished, foreign, tmp_path / "nothing.h5", good]
    assert main(["check", *map(str, asked)]) == 1
    lines = capsys.readouterr().out.splitlines()
    for line, words in zip(
        lines,
        (
            "is not an HDF5 file",
            "not closed properly",
            "the scan was not finished",
            "foreign.h5 is not a file of inbeam: it lacks what such a file has",
            "nothing.h5",
            "sound: 8 frames",
        ),
        strict=True,
    ):
        assert words in line


def test_verbose_tells_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written("hdf5", tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        file["/entry/data/I"][:3] = np.nan
    assert main(["check", "--verbose", str(path)]) == 1
    told = capsys.readouterr().out
    assert "(and 2 more)" in told
    for index in range(3):
        assert f"frame {index}: azint/I is all NaN" in told


@pytest.mark.parametrize("field", ["I", "I_errors"])
def test_results_that_do_not_decode_are_told_by_frame(field: str, tmp_path: Path) -> None:
    path = written("hdf5", tmp_path / "scan.h5")
    with h5py.File(path, "r") as file:
        info = file[f"/entry/azint/{field}"].id.get_chunk_info_by_coord((4, 0))
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset)
        raw.write(b"\xff" * info.size)
    verdict = check(path)
    assert not verdict.sound
    assert [problem for problem in verdict.problems if f"frame 4: azint/{field} does not decode" in problem]
    assert verdict.total == 1


def test_a_link_to_the_frames_of_another_scan_is_found(tmp_path: Path) -> None:
    raw = tmp_path / "raw.h5"
    sink = make("hdf5", tmp_path / "results.h5", link=str(raw))
    sink.start(scan(expected=1), (PRODUCT,))
    sink.write(frame(0))
    sink.finish(ScanEnd("01-first", announced=1, expected=1))
    assert check(tmp_path / "results.h5").sound
    archive = make("archive", raw)
    archive.start(scan("02-second"), ())
    archive.write(frame(0))
    archive.finish(ScanEnd("02-second", expected=1))
    assert "the linked raw.h5 holds another scan" in check(tmp_path / "results.h5").line()
