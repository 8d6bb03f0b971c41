"""A symbolic link where inbeam makes a file of its own is replaced, or left: what it names is never written to."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import sparse_examples
from sink_examples import PRODUCT, frame, make, scan

from sinks.check import check
from sinks.file import superblock
from sinks.file.repair import recover
from sinks.sparse_frames.dense_layout import master_name
from sinks.sparse_frames.densify import densify
from stream.errors import SinkFailed
from stream.events import Change, FrameStatus, ScanEnd
from stream.pipeline.journal import Journal
from stream.wire.capture import Reader, Writer

PRECIOUS = b"five years of work"


def archived(folder: Path) -> None:
    sink = make("archive", folder / "x.h5")
    sink.start(scan(), (PRODUCT,))
    sink.write(frame(0))
    sink.finish(ScanEnd("01-first", expected=1))
    assert check(folder / "x.h5").sound


def killed_and_repaired(folder: Path) -> None:
    sink, original = make("archive", folder / "original.h5", flush_frames=1), folder / "original.h5"
    sink.start(scan(), (PRODUCT,))
    sink.write(frame(0))
    shutil.copyfile(original, folder / "x.h5")
    sink.close()
    assert recover(folder / "x.h5").changed


def sparse_with_a_late_frame(folder: Path) -> None:
    sink = sparse_examples.make(folder / "x.h5")
    sink.start(scan(), (sparse_examples.PRODUCT,))
    for index, status in ((0, FrameStatus.RECEIVED), (2, FrameStatus.RECEIVED), (1, FrameStatus.LATE)):
        sink.write(sparse_examples.frame(index, status))
    sink.finish(ScanEnd("01-first", expected=3))
    with h5py.File(folder / "x.h5", "r") as file:
        assert not len(file["/entry/late/frame"])
    assert check(folder / "x.h5").sound


def restored(folder: Path) -> None:
    sparse_with_a_late_frame(folder)
    assert densify(str(folder / "x.h5"), folder / "dense_000001.h5", style="eiger") == 3
    for path in (folder / "dense_000001.h5", master_name(folder / "dense_000001.h5")):
        with h5py.File(path, "r") as file:
            assert "entry" in file


def journalled(folder: Path) -> None:
    journal = Journal(folder / ".inbeam-x.journal")
    journal.begin(scan(header=((b"start",),)))
    entry = journal.read()
    assert entry is not None and entry.uid == "01-first"


def changed(folder: Path) -> None:
    with contextlib.suppress(SinkFailed):
        Journal(folder / ".inbeam-x.journal").keep(Change("01-first", 3, "processors.roi.size", 4, "me", 1, 0.0))


def captured(folder: Path) -> None:
    writer = Writer(folder / "x.cbors", "tcp://127.0.0.1:9999", overwrite=True)
    writer.write([b"one"], 0.0)
    writer.close()
    assert len(list(Reader(folder / "x.cbors"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (archived, ".x.h5.new"),
        (killed_and_repaired, "x.h5.superblock-before-repair"),
        (killed_and_repaired, ".x.h5.superblock-before-repair.new"),
        (sparse_with_a_late_frame, ".x.h5.merged"),
        (restored, ".dense_000001.h5.new"),
        (restored, "dense_000001.h5"),
        (restored, "dense_master.h5"),
        (restored, ".dense_master.h5.new"),
        (journalled, ".inbeam-x.journal"),
        (journalled, ".inbeam-x.new"),
        (journalled, ".inbeam-x.journal.new"),
        (changed, ".inbeam-x.changes"),
        (captured, "x.cbors"),
        (captured, ".x.cbors.new"),
    ],
)
@pytest.mark.parametrize("dangling", [False, True], ids=["to a file", "to nothing"])
def test_what_a_link_names_is_not_written_to(
    write: Callable[[Path], Any], name: str, dangling: bool, tmp_path: Path
) -> None:
    thesis, folder = tmp_path / "elsewhere" / "thesis.tex", tmp_path / "out"
    thesis.parent.mkdir()
    folder.mkdir()
    if not dangling:
        thesis.write_bytes(PRECIOUS)
    (folder / name).symlink_to(thesis)
    write(folder)
    assert thesis.exists() != dangling, "a link that led nowhere must not make a file there"
    if not dangling:
        assert thesis.read_bytes() == PRECIOUS


@pytest.mark.parametrize("name", ["x.h5.superblock-before-repair"])
def test_what_was_changed_is_kept_beside_the_repaired_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    killed_and_repaired(tmp_path)
    assert not (tmp_path / name).is_symlink()
    assert (tmp_path / name).stat().st_size == superblock.SIZE
    assert sorted(os.listdir(tmp_path)) == ["original.h5", "x.h5", name]
