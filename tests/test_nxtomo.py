"""NXtomo files: what they hold, while they grow and after a kill; and that angles are never invented."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sink_conformance import FileSinkConformance
from sink_examples import SHAPE, frame, hole, image, payload, scan

from sinks import nxtomo
from sinks.check import check
from stream import ALONE, Context
from stream.errors import ConfigError, SinkFailed
from stream.events import Detector, Frame, FrameStatus, ScanEnd
from stream.turning import Key, Turn, Turning

READER = """
import json, sys, warnings
warnings.simplefilter("ignore")
from nxtomo.application.nxtomo import NXtomo
found = NXtomo().load(sys.argv[1], "entry", detector_data_as="as_numpy_array")
NXtomo.check_consistency(found, raises_error=True)
detector, sample = found.instrument.detector, found.sample
print(json.dumps({
    "shape": detector.data.shape,
    "sum": int(detector.data.sum()),
    "keys": [int(each.value) for each in detector.image_key_control],
    "angles": sample.rotation_angle.to("degree").magnitude.tolist(),
    "count_time_s": detector.count_time.to("second").magnitude.tolist(),
    "numbers": [
        detector.distance.to("m").magnitude,
        detector.x_pixel_size.to("m").magnitude,
        sample.x_pixel_size.to("m").magnitude,
        found.instrument.beam.incident_energy.to("keV").magnitude,
    ],
    "half": bool(detector.half_acquisition),
    "title": found.title,
}))
"""
"""What ESRF's own package finds in a file, in a process of its own."""
STEP = 0.5
EVENLY = {"angles": {"first": 10, "step": STEP}}


def sink_at(path: object, context: Context = ALONE, **options: Any) -> Any:
    given = {"turn": EVENLY, **options}
    return nxtomo.create(nxtomo.Config(path=str(path), **given), context)


@pytest.mark.slow
class TestNXtomoConforms(FileSinkConformance):
    kind = "archive"

    def at(self, path: object, **options: Any) -> Any:
        return sink_at(path, **options)


def turned(index: int, key: float | None = None, angle: float | None = None, **changes: Any) -> Frame:
    readings = {"image_key": key, "rotation_angle": angle, "monitor": 5.0 + index}
    return frame(index, readings={name: value for name, value in readings.items() if value is not None}, **changes)


KEYS = [2, 1, 1, 0, 0, 0, -1, 1]
ANGLES = [0, 0, 0, 0, 60, 120, 0, 120]


def written(path: Path, frames: Any, *, told: list[str] | None = None, start: Any = None, **options: Any) -> Path:
    sink = sink_at(path, Context("sinks.0", trouble=(told if told is not None else []).append), **options)
    frames = list(frames)
    sink.start(start or scan(expected=len(frames)), ())
    for each in frames:
        sink.write(each)
    sink.finish(ScanEnd("01-first", announced=len(frames), expected=len(frames)))
    sink.close()
    return path


def by_readings(**options: Any) -> dict[str, Any]:
    return {"turn": {}, **options}


def test_each_frame_is_there_with_what_it_is_at_which_angle_and_how_long(tmp_path: Path) -> None:
    frames = [
        turned(i, key, angle, exposure_s=0.1 + i) for i, (key, angle) in enumerate(zip(KEYS, ANGLES, strict=True))
    ]
    path = written(tmp_path / "a.nx", frames, **by_readings(), sample="tooth", energy_kev=20, pixel_size_m=(1e-6, 2e-6))
    with h5py.File(path) as file:
        detector, sample = file["entry/instrument/detector"], file["entry/sample"]
        assert detector["image_key"][()].tolist() == [2, 1, 1, 0, 0, 0, 0, 1]
        assert detector["image_key_control"][()].tolist() == KEYS
        assert sample["rotation_angle"][()].tolist() == ANGLES and sample["rotation_angle"].attrs["units"] == "degree"
        np.testing.assert_allclose(detector["count_time"][()], 0.1 + np.arange(8))
        assert file["entry/definition"].asstr()[()] == "NXtomo" and file["entry/title"].asstr()[()] == "scan42"
        assert sample["name"].asstr()[()] == "tooth" and detector["field_of_view"].asstr()[()] == "Full"
        assert sample["x_pixel_size"][()] == 1e-6 and detector["x_pixel_size"][()] == 75e-6
        assert detector["distance"][()] == 0.2 and file["entry/instrument/beam/incident_energy"][()] == 20
        np.testing.assert_array_equal(file["entry/control/data"][()], 5.0 + np.arange(8))
        assert file["entry/data/rotation_angle"] == sample["rotation_angle"]
        assert file["entry/data/image_key"] == detector["image_key"] and detector["data"] == file["entry/data/data"]
        for index in range(8):
            np.testing.assert_array_equal(detector["data"][index], image(index))
        mask, stored = detector["data"].id.read_direct_chunk((3, 0, 0))
        assert bytes(stored) == bytes(payload(image(3)).data) and not mask
    assert check(path).sound, check(path).problems


def test_a_frame_number_without_data_is_invalid_and_shifts_no_angle(tmp_path: Path) -> None:
    frames = [
        turned(0),
        hole(2, FrameStatus.CORRUPT, "cut off"),
        turned(3),
        turned(1, status=FrameStatus.LATE),
        turned(5),
    ]
    path = written(tmp_path / "a.nx", frames, start=scan(expected=7))
    with h5py.File(path) as file:
        assert file["entry/instrument/detector/image_key"][()].tolist() == [0, 0, 3, 0, 3, 0]
        angles = file["entry/sample/rotation_angle"][()]
        np.testing.assert_array_equal(angles, 10 + STEP * np.array([0, 1, np.nan, 3, np.nan, 5]))
        assert len(file["entry/data/data"]) == 6


def test_a_projection_without_an_angle_is_invalid_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    frames = [turned(0, 1, 0.0), turned(1, 0, 0.0), turned(2, 0), turned(3, 0, 2.0)]
    with h5py.File(written(tmp_path / "a.nx", frames, told=told, **by_readings())) as file:
        assert file["entry/instrument/detector/image_key"][()].tolist() == [1, 0, 3, 0]
        assert b"no angle" in file["entry/ledger/notes"][0]
    assert len(told) == 1 and "1 projections have no angle, and are marked as invalid, first frame 2" in told[0]


def turn(given: dict[str, Any], start: Any = None) -> Turning:
    return Turning(Turn(**given), start or scan(expected=6), "nxtomo.turn")


def test_angles_that_go_by_projection_pass_over_what_is_named_as_flat_or_dark() -> None:
    known = turn({"angles": [5.0, 6.0, 7.0], "darks": [0], "flats": [1, "5-9"]})
    kinds = [known.key(frame(index)) for index in range(6)]
    assert kinds == [Key.DARK, Key.FLAT, Key.PROJECTION, Key.PROJECTION, Key.PROJECTION, Key.FLAT]
    np.testing.assert_array_equal([known.angle(frame(index)) for index in range(6)], [np.nan, np.nan, 5, 6, 7, np.nan])
    assert known.projections == 3


def test_an_excluded_projection_keeps_its_angle_from_the_others() -> None:
    known = turn({"angles": [0.0, 1.0, 2.0, 3.0, 4.0], "flats": [0], "exclude": [2]})
    assert [known.key(frame(index)) for index in (0, 1, 2, 3)] == [
        Key.FLAT,
        Key.PROJECTION,
        Key.INVALID,
        Key.PROJECTION,
    ]
    np.testing.assert_array_equal([known.angle(frame(index)) for index in (1, 2, 3)], [0, np.nan, 2])


def test_a_list_as_long_as_all_frames_goes_by_frame_number() -> None:
    known = turn({"angles": [9.0, 0.0, 1.0, 2.0, 3.0, 9.0], "flats": [0, 5]})
    assert [known.angle(frame(index)) for index in range(6)] == [9, 0, 1, 2, 3, 9]


def test_a_file_of_angles_is_read(tmp_path: Path) -> None:
    (tmp_path / "angles.txt").write_text("# golden\n0\n111.246\n222.492\n333.738\n84.984\n196.230\n")
    known = turn({"angles": str(tmp_path / "angles.txt")})
    assert known.angle(frame(4)) == 84.984


def test_what_a_recording_says_of_its_frames_is_known_before_they_come() -> None:
    keys = np.array([2.0, 1, 0, 0, 0, -1])
    start = scan(expected=6, readings={"image_key": ""}, recorded=lambda name: keys if name == "image_key" else None)
    known = turn({"angles": {"first": 0, "step": 2}}, start)
    assert known.projections == 3
    assert [known.angle(turned(index, keys[index])) for index in (2, 3, 4)] == [0, 2, 4]


def test_the_header_of_a_detector_may_say_how_it_turns() -> None:
    newer = Detector(
        metadata={"goniometer": {"omega": {"start": 3.0, "increment": 0.25}, "chi": {"start": 1.0, "increment": 0.0}}}
    )
    older = Detector(metadata={"omega_start": 3.0, "omega_increment": 0.25, "chi_start": 0.0, "chi_increment": 0.0})
    for detector in (newer, older):
        assert turn({"angles": "metadata"}, scan(detector=detector)).angle(frame(4)) == 4.0


@pytest.mark.parametrize(
    ("given", "start", "words"),
    [
        ({"angles": [1.0, 2.0]}, {}, "nxtomo.turn.angles: 2 angles for 6 projections of 6 frames"),
        ({"angles": [1.0, float("nan")]}, {}, "must be finite numbers"),
        ({"angles": "angle.txt"}, {}, "angle.txt is neither `readings`, `metadata` nor a file"),
        ({}, {"readings": {"phi": "deg"}}, r"no reading is called 'rotation_angle' .there are: phi"),
        ({"motor": "phi"}, {"readings": {"phi": "mrad"}}, "angles are in degrees, 'phi' is in 'mrad'"),
        ({"angles": "metadata"}, {}, "the detector's header says of no single axis that it turns"),
        (EVENLY, {"readings": {"image_key": ""}}, "name the frames in `flats` and `darks`"),
    ],
)
def test_angles_that_are_not_known_are_refused(given: dict[str, Any], start: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        turn(given, scan(expected=6, **start))


@pytest.mark.parametrize(("count", "wrong"), [(6, False), (8, True), (4, True)])
def test_a_list_that_turns_out_to_be_of_another_length_is_told(count: int, wrong: bool, tmp_path: Path) -> None:
    """Ten angles of flats before those of the projections: every one would be that of another projection."""
    told: list[str] = []
    turn = {"angles": [float(number) for number in range(count)]}
    sink = sink_at(tmp_path / "a.nx", Context("sinks.0", trouble=told.append), turn=turn)
    sink.start(scan(), ())
    for index in range(6):
        sink.write(turned(index))
    sink.finish(ScanEnd("01-first", expected=6))
    assert any(f"{count} angles for 6 projections: each may be that of another one" in text for text in told) == wrong


def test_projections_that_cannot_be_counted_any_more_have_no_angle() -> None:
    """A detector that says with the frame only that it is a flat: whoever counts frames has shifted every angle."""
    known = turn(EVENLY)
    assert known.angle(turned(0, 0)) == 10
    assert np.isnan(known.angle(turned(1, 1))) and np.isnan(known.angle(turned(2, 0)))
    assert "frame 1 is a flat by its reading" in known.confused


@pytest.mark.parametrize("given", ["5-", "a", "7-3", "0-2000000"])
def test_a_range_of_frames_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="frame"):
        Turn(flats=(given,))


def test_an_unknown_angle_stops_the_sink_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, SinkFailed), match="no reading is called"):
        sink_at(tmp_path / "a.nx", turn={}).start(scan(readings={"phi": "deg"}), ())


def test_the_image_key_is_flushed_when_everything_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the growing file, and finds a key, finds the frame, its angle and its time."""
    from sinks.file.columns import Rows

    order: list[str] = []
    real = Rows.flush

    def flush(self: Rows) -> None:
        if self._dirty or self._held:
            order.append(self.dataset.name)
        real(self)

    monkeypatch.setattr(Rows, "flush", flush)
    sink = sink_at(tmp_path / "a.nx", flush_frames=1)
    sink.start(scan(), ())
    sink.write(turned(0))
    names = [name.rpartition("/")[2] for name in order if "ledger" not in name]
    assert names[-1] == "image_key" and {"data", "rotation_angle", "count_time", "image_key_control"} <= set(names)
    sink.close()


def test_a_reader_of_the_growing_file_finds_all_columns_of_one_length(tmp_path: Path) -> None:
    sink = sink_at(tmp_path / "a.nx", flush_frames=1)
    sink.start(scan(), ())
    for with_data, index in enumerate((0, 1, 4, 5), 1):
        sink.write(turned(index))
        with h5py.File(tmp_path / "a.nx", "r", swmr=True) as file:
            detector = file["entry/instrument/detector"]
            lengths = {len(detector[name]) for name in ("data", "image_key", "image_key_control", "count_time")}
            assert lengths == {len(file["entry/sample/rotation_angle"])} == {index + 1}
            assert (detector["image_key"][()] == 0).sum() == with_data
    sink.finish(ScanEnd("01-first", expected=6))


@pytest.mark.slow
def test_esrfs_nxtomo_reads_the_file_while_it_grows_and_when_it_is_complete(tmp_path: Path) -> None:
    pytest.importorskip("nxtomo", reason="pip install nxtomo")

    def look() -> dict[str, Any]:
        command = [sys.executable, "-c", READER, str(tmp_path / "a.nx")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    sink = sink_at(tmp_path / "a.nx", flush_frames=1, turn={}, pixel_size_m=(1e-6, 1e-6), energy_kev=20)
    sink.start(scan(expected=8), ())
    for number in (5, 8):
        for index in range(number):
            sink.write(turned(index, KEYS[index], ANGLES[index]))
        if number == 8:
            sink.finish(ScanEnd("01-first", announced=8, expected=8))
        found = look()
        assert found["shape"] == [number, *SHAPE]
        assert found["sum"] == sum(int(image(index).sum(dtype=int)) for index in range(number))
        assert found["keys"] == KEYS[:number] and found["angles"] == ANGLES[:number]
        assert found["count_time_s"] == [0.01] * number and found["numbers"] == [0.2, 75e-6, 1e-6, 20]
        assert found["title"] == "scan42" and not found["half"]


def test_a_stopped_scan_goes_on_with_its_keys_and_angles(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    for begun in (range(3), range(3, 8)):
        sink = sink_at(path, turn={})
        sink.start(scan(expected=8), ())
        for index in begun:
            sink.write(turned(index, KEYS[index], ANGLES[index]))
        if begun.stop == 8:
            sink.finish(ScanEnd("01-first", announced=8, expected=8))
        sink.close()
    with h5py.File(path) as file:
        assert file["entry/instrument/detector/image_key_control"][()].tolist() == KEYS
        assert file["entry/sample/rotation_angle"][()].tolist() == ANGLES
    assert check(path).sound


@pytest.mark.slow
def test_angles_that_were_corrected_go_into_another_file(tmp_path: Path) -> None:
    """An unfinished file is not gone on with by other angles."""
    for step, name in ((0.5, "a.nx"), (0.25, "a_2.nx")):
        sink = sink_at(tmp_path / "a.nx", turn={"angles": {"step": step}})
        sink.start(scan(), ())
        sink.write(turned(0))
        sink.close()
        assert sink.path == tmp_path / name


@pytest.mark.slow
def test_a_writer_that_is_killed_again_and_again_loses_no_frame_no_key_and_no_angle() -> None:
    """Viewers look at the growing file meanwhile: none finds a key without its frame and angle."""
    harness = Path(__file__).parent / "helpers" / "kill_harness.py"
    command = [sys.executable, str(harness), "--kills", "6", "--seed", "20261127", "--json", "--sinks", "nxtomo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (tally,) = json.loads(done.stdout)
    assert tally["kills"] == 6 and tally["flushed"] == tally["present"] > 0
    assert tally["lost"] == tally["holes"] == tally["duplicates"] == tally["unsound"] == tally["misled"] == 0
