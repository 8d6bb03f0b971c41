"""From a pattern to the name of a scan's file."""

import itertools
import time
from pathlib import Path

import pytest
from sink_examples import scan

from sinks.file.naming import check_pattern, earlier, file_name, numbered

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


@pytest.mark.parametrize("pattern", ["{scan", "{nothing}", "", "{scan.name.nothing}"])
def test_a_wrong_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_pattern(pattern)
