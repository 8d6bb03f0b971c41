"""From a pattern to the name of a scan's file."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sink_examples import scan

from sinks.file.naming import check_pattern, earlier, file_name, missing, numbered
from stream.events import ScanStart
from stream.sources import capture

MOMENT = time.mktime((2026, 11, 20, 4, 5, 6, 0, 0, -1))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("out/{scan}.h5", "out/scan42.h5"),
        ("{date}/{scan}_{time}.h5", "20261120/scan42_040506.h5"),
        ("{uid}.h5", "01-first.h5"),
        ("{source}_{detector}.h5", "sim_Simulated_EIGER2.h5"),
        ("{scan:>8}.h5", "  scan42.h5"),
        ("plain.h5", "plain.h5"),
    ],
)
def test_a_pattern_is_filled_in(pattern: str, name: str) -> None:
    assert file_name(check_pattern(pattern), scan(received=MOMENT)) == Path(name)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("stream2 tcp://127.0.0.1:31055", "127.0.0.1_31055"),
        ("simplon tcp://detector.example.org:9999", "detector.example.org_9999"),
        ("stream2 tcp://[fe80::1%eth0]:31001", "fe80_1_eth0_31001"),
        ("stream2 tcp://eth1:0;172.31.1.1:31001", "172.31.1.1_31001"),
        ("stream2 ipc:///run/detector", "_run_detector"),
        ("stream2 /data/recorded.cbors", "recorded"),
        ("/data/scan_1.h5::/entry/data/data", "scan_1"),
        ("/data/images", "images"),
    ],
)
def test_a_source_is_named_by_its_address_or_its_file(source: str, name: str) -> None:
    assert file_name("{source}", replace(scan(), source=source)) == Path(name)


def with_user_data(**metadata: object) -> ScanStart:
    return replace(scan(), detector=replace(scan().detector, metadata=metadata))


def test_the_user_data_of_the_header_name_the_file() -> None:
    user_data = {"filename": "lyso1/dir/file", "run": 7, "sample": {"name": "LaB6"}}
    for key in ("user_data", "header_appendix"):
        made = file_name(
            check_pattern("out/{user.filename}_{user.run:04d}_{user.sample.name}.h5"),
            with_user_data(**{key: user_data}),
        )
        assert made == Path("out/lyso1_dir_file_0007_LaB6.h5")


@pytest.mark.parametrize(
    "user_data", [None, "no JSON", [1], {}, {"filename": ""}, {"filename": None}, {"filename": {}}]
)
def test_a_header_without_the_value_is_told_and_loses_nothing(user_data: object) -> None:
    start = with_user_data(user_data=user_data)
    assert file_name("out/{user.filename}.h5", start) == Path("out/unnamed.h5")
    assert missing("out/{user.filename}_{scan}.h5", start) == ["user.filename"]


@pytest.mark.parametrize(
    "hostile", ["../../etc/passwd", "/etc/passwd", "..", ".", "\0", "x" * 5000, "a\nb", "{scan}", "~"]
)
def test_user_data_cannot_leave_the_folder(hostile: str) -> None:
    made = file_name("out/{user.filename}.h5", with_user_data(user_data={"filename": hostile}))
    assert made.parent == Path("out") and made.name.isprintable() and len(made.name) < 200
    assert not made.name.startswith("..") and "{" not in made.name


@pytest.mark.shared
@pytest.mark.parametrize(
    ("recording", "pattern", "name"),
    [
        ("derived_dectris_stream2_plain.cborseq.gz", "{user.file_prefix}_{user.sample_name}", "lyso1_dir_file_lyso"),
        ("eiger_legacy_dump.zip", "{user.rotate}{user.filename}", "0unnamed"),
    ],
)
def test_recorded_headers_name_the_file(shared: Path, recording: str, pattern: str, name: str) -> None:
    config = capture.Config(type="capture", file=shared / "streams/streaming-receiver" / recording)
    start = next(event for event in capture.create(config).events() if isinstance(event, ScanStart))
    assert file_name(check_pattern(pattern), start) == Path(name)


def test_a_number_can_be_padded() -> None:
    assert file_name("run_{scan:05d}.h5", scan(name="37")) == Path("run_00037.h5")
    assert file_name("run_{scan:05d}.h5", scan(name="calibration")) == Path("run_calibration.h5")
    assert "²" in file_name("run_{scan:05d}.h5", scan(name="²")).name, "a digit, but no number"


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".", "", "\0", "x" * 5000, "a\nb"])
def test_a_name_from_the_network_cannot_leave_its_folder(hostile: str) -> None:
    made = file_name("out/{scan}.h5", scan(name=hostile))
    assert made.parent == Path("out")
    assert 4 <= len(made.name) < 200
    assert made.name.isprintable()
    assert not made.name.startswith("..")


def test_long_names_stay_different() -> None:
    first, second = (file_name("{uid}.h5", scan("file:" + "/data" * 60 + tail)) for tail in ("a", "b"))
    assert first != second


def test_taken_names_are_numbered() -> None:
    names = [str(path) for path in itertools.islice(numbered(Path("out/a.h5")), 3)]
    assert names == ["out/a.h5", "out/a_2.h5", "out/a_3.h5"]


def test_files_of_other_days_are_candidates_where_the_pattern_has_the_time(tmp_path: Path) -> None:
    pattern = str(tmp_path / "[x]" / "{date}" / "{scan}_{time}.h5")
    made = tmp_path / "[x]" / "20250101" / "scan42_120000.h5"
    again = made.with_name("scan42_120000_2.h5")
    other = made.with_name("scan43_120000.h5")
    made.parent.mkdir(parents=True)
    for path in (made, again, other):
        path.touch()
    assert set(earlier(pattern, scan(received=MOMENT))) == {made, again}
    assert earlier(str(tmp_path / "{scan}.h5"), scan()) == []


@pytest.mark.parametrize(
    "pattern", ["{scan", "{nothing}", "", "{scan.name.nothing}", "{user}", "{user.}", "{user.a[0]}", "{user.a!r:x.y}"]
)
def test_a_wrong_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_pattern(pattern)
