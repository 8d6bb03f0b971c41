"""What `validate` and the start of a run find before the first frame: wrong files, and sections that do not fit."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import fabio
import h5py
import numpy as np
import pytest
import total
import yaml
from integration_frames import PONI, SHAPE, rings

from stream import registry
from stream.commands.main import main
from stream.config import validate
from stream.errors import ConfigError
from stream.pipeline.rehearsal import rehearse
from stream.preflight import Known, preflight
from stream.registry import Options

LIVE = {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"}


def pipeline(tmp_path: Path, *processors: dict[str, Any], sinks: Iterable[dict[str, Any]] = ()) -> Path:
    """A configuration with these processors."""
    path = tmp_path / "pipeline.yaml"
    sinks = list(sinks) or [{"type": "hdf5", "path": str(tmp_path / "out/{scan}.h5")}]
    path.write_text(yaml.safe_dump({"stream": LIVE, "processors": list(processors), "sinks": sinks}))
    return path


def told(path: Path, capsys: pytest.CaptureFixture[str], *files: Path, command: str = "validate") -> list[str]:
    """The lines of a refusal; nothing else happened."""
    assert main([command, str(path), *map(str, files)]) == 2
    out, err = capsys.readouterr()
    assert "valid (" not in out and not (path.parent / "out").exists()
    return [line.strip() for line in err.splitlines()[1:]]


def poni(folder: Path, *extra: str, name: str = "good.poni", without: str = "nothing") -> str:
    lines = [line for line in PONI.splitlines() if not line.startswith(without)]
    (folder / name).write_text("\n".join([*lines, *extra]) + "\n")
    return str(folder / name)


def recorded(folder: Path, image: Any, name: str = "scan.h5") -> Path:
    with h5py.File(folder / name, "w") as file:
        file["entry/data/data"] = np.stack([image, image])
    return folder / name


def saved(path: Path, image: Any) -> str:
    fabio.edfimage.EdfImage(data=np.asarray(image)).write(str(path))
    return str(path)


@pytest.mark.parametrize("command", ["validate", "run", "process"])
def test_every_file_is_looked_into_and_everything_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    garbage = tmp_path / "garbage.poni"
    garbage.write_bytes(b"\x00\x01 not a geometry")
    unreadable = tmp_path / "text.edf"
    unreadable.write_text("not an image")
    path = pipeline(
        tmp_path,
        {
            "type": "correct",
            "flat": saved(tmp_path / "flat.edf", np.full((6, 8), np.nan, np.float32)),
            "mask": [saved(tmp_path / "mask.edf", np.ones((6, 8), np.uint8)), str(unreadable)],
            "dark": saved(tmp_path / "dark.edf", np.ones((5, 8), np.float32)),
        },
        {"type": "integrate", "poni": str(garbage)},
        {"type": "integrate", "name": "nan", "poni": poni(tmp_path, "Poni1: nan", "Rot1: 1e400", name="nan.poni")},
        {"type": "sparsify", "poni": poni(tmp_path, "Detector: Nowhere", name="odd.poni"), "unit": "r_parsec"},
        sinks=[
            {"type": "hdf5", "path": str(tmp_path / "out/{scan}.h5"), "products": ["nan", "Integrate"]},
            {"type": "sparse", "path": str(tmp_path / "out/{scan}_sparse.h5"), "product": "spots"},
        ],
    )
    files = [recorded(tmp_path, rings())] if command == "process" else []
    lines = told(path, capsys, *files, command=command)
    expected = [
        ("processors[0].mask: ", "mask.edf masks every pixel"),
        ("processors[0].mask: cannot read", "text.edf"),
        ("processors[0].dark: ", "dark.edf has the shape (5, 8), but"),
        ("processors[0].flat: ", "flat.edf is NaN, 0 or negative in every pixel"),
        ("processors[1].poni: ", "garbage.poni is not a .poni file"),
        ("processors[2].poni: ", "'poni1: nan' is not a finite number"),
        ("processors[2].poni: ", "'rot1: 1e400' is not a finite number"),
        ("processors[3].poni: ", "odd.poni cannot be used: pyFAI knows no detector 'Nowhere'"),
        ("sinks[0].products: ", "no processor gives 'Integrate' (products: integrate, nan, sparsify)"),
        ("sinks[1].product: ", "no processor gives 'spots'"),
    ]
    for (place, text), line in zip(expected, lines, strict=True):
        assert line.startswith(place) and text in line, line


def test_a_good_configuration_is_valid_and_the_second_time_without_pyfai(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    mask = np.zeros(SHAPE, np.uint8)
    mask[4] = 1
    path = pipeline(
        tmp_path,
        {"type": "correct", "mask": saved(tmp_path / "mask.edf", mask)},
        {"type": "integrate", "poni": poni(tmp_path)},
    )
    assert main(["validate", str(path)]) == 0
    assert "valid (stream2, 2 processors, 1 sinks)" in capsys.readouterr().out
    monkeypatch.setattr("pyFAI.load", lambda name: pytest.fail("a geometry that has been read is read again"))
    assert main(["validate", str(path)]) == 0


def test_a_wavelength_that_only_the_header_can_say_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    blind = poni(tmp_path, name="blind.poni", without="Wavelength")
    path = pipeline(tmp_path, {"type": "integrate", "poni": blind, "unit": "q_nm^-1"})
    assert main(["validate", str(path)]) == 0
    assert "neither " in caplog.text and "the wavelength that q_nm^-1 needs: the frames' header must" in caplog.text
    capsys.readouterr()
    lines = told(path, capsys, recorded(tmp_path, rings()))
    assert len(lines) == 1 and lines[0].startswith("processors[0]: refuses scan scan: ")
    assert "integrate.wavelength_angstrom: neither poni nor header has the wavelength" in lines[0]
    path.write_text(path.read_text().replace("q_nm^-1", "2th_deg"))
    assert main(["validate", str(path), str(tmp_path / "scan.h5")]) == 0


@pytest.mark.parametrize(("keep", "valid"), [(True, 0), (False, 2)])
def test_a_formula_gives_a_product_unless_it_is_not_kept(tmp_path: Path, keep: bool, valid: int) -> None:
    sinks = [{"type": "hdf5", "path": str(tmp_path / "out/{scan}.h5"), "products": ["formula"]}]
    path = pipeline(tmp_path, {"type": "formula", "formula": "a - b", "keep": keep}, sinks=sinks)
    assert main(["validate", str(path)]) == valid


@pytest.mark.parametrize(
    ("processors", "text"),
    [
        ([], "sinks[0]: no processor gives sparse frames: add {type: sparsify, poni: ...}"),
        ([{"type": "integrate"}], "sinks[0]: no processor gives sparse frames"),
    ],
)
def test_a_sparse_file_without_sparsify_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], processors: list[dict[str, Any]], text: str
) -> None:
    path = pipeline(tmp_path, *processors, sinks=[{"type": "sparse", "path": str(tmp_path / "out/{scan}.h5")}])
    assert told(path, capsys)[0].startswith(text)


@pytest.mark.parametrize(
    ("processors", "place", "text"),
    [
        ([{"type": "correct"}, {"type": "correct"}], 1, "another `correct` before this one has all channels"),
        ([{"type": "correct", "channel": "a"}, {"type": "correct"}], 1, "before this one has the same channel"),
        (
            [{"type": "correct"}, {"type": "correct", "channel": "a"}],
            1,
            "has all channels: a channel is corrected",
        ),
        ([{"type": "correct", "channel": "a"}] * 2, 1, "has the same channel"),
        ([{"type": "integrate"}, {"type": "correct"}], 1, "stands behind integrate, which would not be corrected"),
        ([{"type": "integrate", "channel": "a"}, {"type": "correct", "channel": "a"}], 1, "stands behind integrate"),
        ([{"type": "sparsify"}, {"type": "correct"}], 1, "stands behind sparsify"),
        ([{"type": "roi"}, {"type": "correct"}], 1, "stands behind roi"),
        ([{"type": "prepare"}, {"type": "correct"}], 1, "stands behind prepared"),
        ([{"type": "formula", "formula": "a - b"}, {"type": "correct"}], 1, "stands behind formula"),
        ([{"type": "projection", "from_scan": True}, {"type": "correct"}], 1, "stands behind projection"),
    ],
)
def test_a_correct_that_would_not_be_used_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], processors: list[dict[str, Any]], place: int, text: str
) -> None:
    geometry = poni(tmp_path)
    made = [{**each, "poni": geometry} if each["type"] == "sparsify" else each for each in processors]
    (line,) = told(pipeline(tmp_path, *made), capsys)
    assert line.startswith(f"processors[{place}]: ") and text in line


def test_each_channel_may_have_a_correct_of_its_own(tmp_path: Path) -> None:
    chain = [
        {"type": "correct", "channel": "a"},
        {"type": "integrate", "name": "first", "channel": "a"},
        {"type": "correct", "channel": "b"},
        {"type": "integrate", "name": "second", "channel": "b"},
    ]
    assert main(["validate", str(pipeline(tmp_path, *chain))]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "processors", "text"),
    [
        (rings(shape=(20, 30)), [{"type": "integrate"}], "is for a detector (Detector) of (131, 149) pixels"),
        (rings(), [{"type": "integrate", "radial_range": [900, 990]}], "there is no pixel between 900 and 990 q_nm^-1"),
        (rings(), [{"type": "correct", "channel": "b"}], "has no channel 'b'"),
        (np.full(SHAPE, 65535, np.uint16), [{"type": "integrate"}], "frame 0 has no valid pixel in the range"),
    ],
)
def test_the_first_frame_of_files_shows_what_else_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image: Any, processors: list[dict[str, Any]], text: str
) -> None:
    geometry = poni(tmp_path)
    made = [{**each, "poni": geometry} if each["type"] == "integrate" else each for each in processors]
    path = pipeline(tmp_path, *made)
    assert main(["validate", str(path)]) == 0, "without a frame there is nothing to see"
    capsys.readouterr()
    (line,) = told(path, capsys, recorded(tmp_path, image))
    assert text in line


def test_a_mask_for_another_detector_shows_with_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pipeline(tmp_path, {"type": "correct", "mask": saved(tmp_path / "small.edf", np.zeros((4, 4), np.uint8))})
    assert main(["validate", str(path)]) == 0
    capsys.readouterr()
    (line,) = told(path, capsys, recorded(tmp_path, rings()))
    assert line.startswith("processors[0]: ") and "small.edf has the shape (4, 4)" in line


def test_what_the_files_give_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pipeline(tmp_path, {"type": "integrate", "poni": poni(tmp_path), "npt": 77})
    assert main(["validate", str(path), str(recorded(tmp_path, rings()))]) == 0
    assert "scan scan, 131 x 149 uint16: integrate [(77,)]" in capsys.readouterr().out
    assert not (tmp_path / "out").exists(), "nothing is written"


def test_files_without_a_frame_or_a_scan_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pipeline(tmp_path, {"type": "correct"})
    with h5py.File(tmp_path / "nothing.h5", "w") as file:
        file["entry/title"] = "empty"
    (line,) = told(path, capsys, tmp_path / "nothing.h5")
    assert line.startswith("FILES: nothing to try the configuration on in") and "nothing.h5" in line
    (line,) = told(path, capsys, tmp_path / "nowhere.h5")
    assert "nowhere.h5 is not there" in line


def test_the_products_of_a_scan_are_those_that_a_sink_may_ask_for(tmp_path: Path) -> None:
    """A third party's processor need not say beforehand what it gives: the files show it."""
    document = {
        "stream": LIVE,
        "processors": [{"type": "integrate", "poni": poni(tmp_path)}],
        "sinks": [{"type": "hdf5", "path": "out/{scan}.h5", "products": ["integrate"]}],
    }
    config = validate(document)
    _, products = rehearse(config, [str(recorded(tmp_path, rings()))])
    preflight(config, products)
    with pytest.raises(ConfigError, match=r"sinks\[0\].products: no processor gives 'integrate' \(products: none\)"):
        preflight(config, ())


def test_a_gatherer_is_tried_too_and_its_products_may_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    total.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sinks = [{"type": "hdf5", "path": str(tmp_path / "out/{scan}.h5"), "products": ["total"]}]
    path = pipeline(tmp_path, {"type": "correct"}, {"type": "total"}, sinks=sinks)
    files = recorded(tmp_path, rings())
    assert main(["validate", str(path), str(files)]) == 0
    assert "total [(131, 149), (None,), (None,)]" in capsys.readouterr().out
    monkeypatch.setattr(total.Total, "start", lambda self, scan, work: 1 / 0)
    (line,) = told(path, capsys, files)
    assert line.startswith("processors[1]: ZeroDivisionError")


class Plain(Options):
    """A third party's processor that knows nothing of all this."""

    type: Literal["plain"] = "plain"


class Careless(Options):
    """One whose own look fails."""

    type: Literal["careless"] = "careless"

    def preflight(self, known: Known) -> Iterable[tuple[str, str]]:
        raise ZeroDivisionError("of its own")


def test_plug_ins_need_not_take_part_and_their_faults_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = validate({"stream": LIVE, "sinks": [{"type": "hdf5", "path": "x.h5", "products": ["anything"]}]})
    monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN})
    plain = type(config)(config.stream, (Plain(),), config.sinks, config.run, config.document)
    assert Known(plain).product_names() is None
    preflight(plain)
    careless = type(config)(config.stream, (Careless(),), (), config.run, config.document)
    with pytest.raises(ConfigError, match=r"processors\[0\]: ZeroDivisionError: of its own"):
        preflight(careless)
