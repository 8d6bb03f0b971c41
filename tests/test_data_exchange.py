"""Data Exchange files as a stream: darks, flats and projections are one scan, and say what they are."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from projected import ANGLES, CENTRE, SHAPE, SIZE, truth
from radiographs import DARKS, FLATS, SAMPLE, data_exchange, nxtomo

from processors.tomography.backprojection import seen
from stream.codec.payload import decode
from stream.commands.main import main
from stream.events import Frame, Note, ScanStart
from stream.formats.hdf5.scans import scans

PIPELINE = """
stream: {type: files, files: []}
processors:
  - {type: projection, from_scan: true}
  - {type: tomography, slices: [4], centre: 22.7, picture_s: 0, vertical: false}
sinks:
  - {type: hdf5, path: OUT}
"""


def test_darks_flats_and_projections_are_one_scan(tmp_path: Path) -> None:
    (scan,) = scans(str(data_exchange(tmp_path / "scan.h5")))
    start, *rest = scan.events()
    assert isinstance(start, ScanStart)
    assert (start.shape, start.expected) == (SHAPE, 64)
    frames = [each for each in rest if isinstance(each, Frame)]
    assert not [each for each in rest if isinstance(each, Note)]
    found = np.stack([decode(next(iter(frame.payloads.values()))) for frame in frames])
    np.testing.assert_array_equal(found, np.concatenate([DARKS, FLATS, SAMPLE]))
    assert [frame.readings["image_key"] for frame in frames] == [2, 2, 1, 1, *[0] * 60]
    assert [frame.readings.get("rotation_angle") for frame in frames] == [None] * 4 + ANGLES.tolist()
    keys = start.recorded("image_key")
    assert keys is not None and keys.sum() == 6


def test_angles_that_do_not_fit_are_no_reading(tmp_path: Path) -> None:
    path = data_exchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        del file["exchange/theta"]
        file["exchange/theta"] = ANGLES[:-1]
    start = next(iter(next(iter(scans(str(path)))).events()))
    assert isinstance(start, ScanStart)
    assert list(start.readings or ()) == ["image_key"]


def test_flats_of_another_size_are_named_and_left_out(tmp_path: Path) -> None:
    path = data_exchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        del file["exchange/data_white"]
        file["exchange/data_white"] = FLATS[:, :, :-1]
    start, *rest = next(iter(scans(str(path)))).events()
    assert isinstance(start, ScanStart) and start.expected == 62
    assert "unlike the projections" in "".join(each.text for each in rest if isinstance(each, Note))


def test_process_gives_the_same_slice_from_data_exchange_and_nxtomo(tmp_path: Path) -> None:
    found = []
    for source in (data_exchange(tmp_path / "exchange.h5"), nxtomo(tmp_path / "nxtomo.nx")):
        config, out = tmp_path / f"{source.stem}.yaml", tmp_path / f"{source.stem}_out.h5"
        config.write_text(PIPELINE.replace("OUT", str(out)))
        assert main(["process", str(config), str(source)]) == 0
        with h5py.File(out) as file:
            found.append(np.asarray(file["entry/data/slice_1"]))
    inside = seen(SIZE, SIZE, CENTRE)
    assert np.corrcoef(found[0][inside], truth(4)[inside])[0, 1] > 0.93
    assert found[0][inside].mean() == pytest.approx(truth(4)[inside].mean(), rel=0.03)
    np.testing.assert_allclose(found[0][inside], found[1][inside], atol=1e-6)
