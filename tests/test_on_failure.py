"""A file that cannot be written: the night goes on with the next scan, or the run stops, as the YAML says."""

import re
from pathlib import Path
from typing import Any

import h5py
import plug_ins
import pytest
import yaml

from sinks.check import check
from stream.commands.main import main

SOURCE = '''
from pathlib import Path
from typing import Literal
import time
import numpy as np
from stream import Detector, Encoding, Frame, Options, Payload, ScanEnd, ScanStart

class Config(Options):
    type: Literal["night"] = "night"
    folder: str
    breaks: str

class Night:
    """Three scans; something happens to the folder of the archive in the first one, and is put right behind it."""

    def __init__(self, config):
        self.folder, self.breaks, self.closed = Path(config.folder), config.breaks, False

    def events(self):
        aside = self.folder.with_name("aside")
        for scan in ("one", "two", "three"):
            if scan == "one" and self.breaks == "before":
                self.folder.write_text("a file in the place of the folder")
            (self.folder.parent / f"begun-{scan}").touch()
            yield ScanStart(scan, scan, (4, 8), np.dtype("u2"), ("data",), 4, Detector(), time.time())
            for index in range(4):
                if scan == "one" and self.breaks == "within" and index == 2:
                    self.wait(lambda: (self.folder / "one.h5").exists())
                    self.folder.rename(aside)
                payload = Payload(np.full((4, 8), index, "u2").tobytes(), Encoding.RAW, (4, 8), np.dtype("u2"))
                yield Frame(scan, index, {"data": payload}, received=time.time())
            yield ScanEnd(scan, announced=4)
            if scan == "one":
                # the sinks have done with it: this is told in a file of the other folder
                self.wait(lambda: self.closed or self.finished())
                if self.breaks == "before":
                    self.folder.unlink(missing_ok=True)

    def finished(self):
        import h5py
        try:
            with h5py.File(self.folder.parent / "other" / "one.h5", "r") as file:
                return bool(file["entry/ledger/finished"][0])
        except OSError:
            return False

    def wait(self, condition):
        limit = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < limit
            time.sleep(0.01)

    def close(self):
        self.closed = True

def create(config, context=None):
    return Night(config)
'''


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plug_ins.install(tmp_path / "plug-in", monkeypatch, "stream", "night", SOURCE)
    return tmp_path


def run(folder: Path, breaks: str, **archive: Any) -> int:
    document = {
        "stream": {"type": "night", "folder": str(folder / "frames"), "breaks": breaks},
        "sinks": [
            {"type": "archive", "path": str(folder / "frames" / "{scan}.h5"), "flush_frames": 1, **archive},
            {"type": "archive", "path": str(folder / "other" / "{scan}.h5")},
        ],
    }
    config = folder / "night.yaml"
    config.write_text(yaml.safe_dump(document))
    return main(["run", "--quiet", str(config)])


def received(path: Path) -> int:
    with h5py.File(path) as file:
        return int((file["entry/ledger/status"][:] == 1).sum())


@pytest.mark.slow
@pytest.mark.parametrize("breaks", ["before", "within"])
@pytest.mark.parametrize("options", [{}, {"on_failure": "next_scan"}, {"required": False}], ids=str)
def test_a_file_that_failed_is_tried_again_with_the_next_scan(
    breaks: str, options: dict[str, Any], night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(night, breaks, **options) == 1, "the failure is told by the exit code"
    told = capsys.readouterr().out
    assert re.search(rf"cannot (create|write) {night / 'frames' / 'one.h5'}", told)
    assert "the rest of the scan is not in it, the next one is tried again" in told
    for scan in ("two", "three"):
        assert check(night / "frames" / f"{scan}.h5").sound
        assert received(night / "frames" / f"{scan}.h5") == 4
    for scan in ("one", "two", "three"):
        assert received(night / "other" / f"{scan}.h5") == 4, "the other file misses nothing"


@pytest.mark.slow
def test_each_scan_says_which_files_have_it(night: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "inbeam"):
        assert run(night, "before") == 1
    lines = [record.message for record in caplog.records if record.message.startswith("scan ")]
    assert len(lines) == 3
    assert str(night / "frames") not in lines[0].split("->")[1].split("not in")[0] and "sinks[0]" in lines[0]
    for line, scan in zip(lines[1:], ("two", "three"), strict=True):
        assert str(night / "frames" / f"{scan}.h5") in line and "sinks[0]" not in line


@pytest.mark.parametrize("breaks", ["before", "within"])
def test_with_on_failure_stop_no_further_scan_is_taken(
    breaks: str, night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(night, breaks, on_failure="stop") == 1
    assert "the run stops" in capsys.readouterr().out
    assert sorted(path.name for path in (night / "other").glob("*.h5")) == ["one.h5"]
    assert not list((night / "frames").glob("*.h5")) if (night / "frames").is_dir() else True


@pytest.mark.slow
def test_with_on_failure_stop_a_file_that_is_not_required_is_left_out(
    night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(night, "before", on_failure="stop", required=False) == 1
    assert "the run goes on without it" in capsys.readouterr().out
    assert not (night / "frames").exists()
    assert [received(night / "other" / f"{scan}.h5") for scan in ("one", "two", "three")] == [4, 4, 4]
