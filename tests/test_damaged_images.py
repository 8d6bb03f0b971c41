"""Image files that are damaged: whatever their reader raises, the run goes on and says which file it was."""

import random
from pathlib import Path

import numpy as np
import pytest
from image_writers import WRITERS

from stream.errors import BadMessage
from stream.events import Frame, FrameStatus, Note, ScanStart
from stream.formats.images.file import Damaged, Image, ImageFile
from stream.formats.images.header import describe, time_of
from stream.sources import files, watch

PIXELS = np.random.default_rng(1).integers(0, 300, (60, 50)).astype("u2")


def written(folder: Path, kind: str) -> Path:
    path = folder / f"img_1.{kind}"
    WRITERS[kind](data=PIXELS).write(str(path))
    return path


def damaged(whole: bytes, seed: int) -> bytes:
    """Cut off, or with a few other bytes, most of them in the header."""
    chance = random.Random(seed)
    if seed % 3 == 0:
        return whole[: chance.randrange(min(len(whole), 3000))]
    data = bytearray(whole)
    for _ in range(chance.choice((1, 2, 5))):
        data[chance.randrange(min(len(data), 1500 if seed % 3 == 1 else len(data)))] = chance.randrange(256)
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_image_of_any_format_is_refused_or_read_and_raises_nothing_else(tmp_path: Path, kind: str) -> None:
    whole = written(tmp_path, kind).read_bytes()
    path = tmp_path / f"damaged.{kind}"
    outcomes = set()
    for seed in range(150):
        path.write_bytes(damaged(whole, seed))
        try:
            for image in ImageFile(str(path), part=bool(seed % 2)):
                assert isinstance(image, Image | Damaged)
                if isinstance(image, Image):
                    describe(image.header)
                    time_of(image.header)
        except BadMessage as error:
            assert str(path) in str(error)
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert "refused" in outcomes


def packed_cbf(folder: Path) -> Path:
    """A CBF whose pixels are packed in a way that fabio answers with a bare Exception."""
    path = written(folder, "cbf")
    path.write_bytes(path.read_bytes().replace(b"x-CBF_BYTE_OFFSET", b"x-CBF_PACKED"))
    return path


def test_an_image_whose_reader_raises_a_bare_exception_never_ends_the_watch_over_later_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    bad = packed_cbf(tmp_path / "a")
    source = watch.create(watch.Config(folder=str(tmp_path), events="poll", settle_s=1.0, give_up_s=10.0))
    found = list(source.begin(source.folder.look(), 0.0)) + list(source.step([], 2.0)) + list(source.step([], 4.0))
    assert found == []
    (tmp_path / "b").mkdir()
    written(tmp_path / "b", "tif")
    for now in (5.0, 7.0, 9.0, 20.0):
        found += list(source.step(source.folder.look(), now))
    assert [event.name for event in found if isinstance(event, ScanStart)] == ["img"]
    (note,) = [event for event in found if isinstance(event, Note)]
    assert f"set aside: {bad}" in note.text and not note.harmless


def test_an_image_whose_reader_raises_a_bare_exception_is_a_corrupt_frame_among_files(tmp_path: Path) -> None:
    bad = packed_cbf(tmp_path)
    good = tmp_path / "img_2.cbf"
    WRITERS["cbf"](data=PIXELS).write(str(good))
    frames = [
        event for event in files.create(files.Config(files=(str(tmp_path),))).events() if isinstance(event, Frame)
    ]
    assert {frame.index: frame.status for frame in frames} == {0: FrameStatus.CORRUPT, 1: FrameStatus.RECEIVED}
    assert str(bad) in next(frame.problem for frame in frames if frame.index == 0)


@pytest.mark.parametrize(
    "header",
    [
        {"title": "# Count_cutoff 1e999 counts"},
        {"title": "# Silicon sensor, thickness " + "1" * 100_000 + " um"},
        {"Date": "0001-01-01 00:00:00+23:00", "time_of_day": "1e999"},
        {"Date": "9999-12-31 23:59:59-23:00"},
        {"Center_1": "1e999", "WaveLength": "nan", "PSize_1": "-inf"},
    ],
)
def test_a_header_of_absurd_values_is_described_without_an_error(header: dict[str, str]) -> None:
    assert describe(header).saturation_value is None
    assert np.isnan(time_of(header)) or abs(time_of(header)) < 1e12
