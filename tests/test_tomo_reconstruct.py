"""`inbeam tomo-reconstruct`: volumes of a sample that is known, from every kind of input, and what is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image
from projected import ANGLES, CENTRE, DARK, ROWS, SIZE, counts, lines, truth
from radiographs import DARKS, FLATS, SAMPLE, data_exchange, diamond, folder, imat, nxtomo

from processors.projections import pixels
from processors.tomography.backprojection import seen
from stream.commands.main import main
from stream.commands.tomography.writing import CONFIGURATION, README, VOLUME
from stream.events import ScanStart
from stream.formats.hdf5.scans import scans

INSIDE = seen(SIZE, SIZE, CENTRE) & (np.hypot(*np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]) < 0.9)
PLAIN = ("--median-filter-size", "0", "--out-img-format", "none", "--threads", "1")


def volume(folder: Path) -> np.ndarray:
    with h5py.File(folder / VOLUME) as file:
        return np.asarray(file["entry/data/data"][()])


def close(found: np.ndarray) -> None:
    """Every slice is the true one, as far as some 60 angles tell."""
    assert found.shape == (ROWS, SIZE, SIZE)
    for row in range(ROWS):
        assert np.corrcoef(found[row][INSIDE], truth(row)[INSIDE])[0, 1] > 0.93
        assert found[row][INSIDE].mean() == pytest.approx(truth(row)[INSIDE].mean(), rel=0.03)


def reconstructed(source: Path, target: Path, *more: str, code: int = 0) -> np.ndarray:
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(target), *PLAIN, *more]) == code
    return volume(target)


def test_every_kind_of_input_gives_the_same_volume(tmp_path: Path) -> None:
    found = reconstructed(nxtomo(tmp_path / "scan.nx"), tmp_path / "one")
    close(found)
    same = reconstructed(data_exchange(tmp_path / "scan.h5"), tmp_path / "two")
    np.testing.assert_array_equal(same, found)
    angles = tmp_path / "angles.txt"
    np.savetxt(angles, np.concatenate([[0, 0, 0, 0], ANGLES]))
    by_folder = reconstructed(imat(tmp_path / "imat"), tmp_path / "three", "--angles", str(angles))
    np.testing.assert_array_equal(by_folder, found)


def test_pictures_are_read_in_grey_and_not_in_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = reconstructed(imat(tmp_path / "png", "png"), tmp_path / "one", "--angles", "0+3", "--cor", "22.7")
    same = reconstructed(imat(tmp_path / "tif"), tmp_path / "two", "--angles", "0+3", "--cor", "22.7")
    np.testing.assert_array_equal(found, same)
    with Image.open(tmp_path / "png" / "sample" / "raw_7.png") as picture:
        picture.convert("RGB").save(tmp_path / "png" / "sample" / "raw_7.png")
    source = str(tmp_path / "png" / "sample")
    assert main(["tomo-reconstruct", "-i", source, "-o", str(tmp_path / "no"), *PLAIN, "--angles", "0+3"]) == 2
    assert "in colour" in capsys.readouterr().err and not (tmp_path / "no" / VOLUME).exists()


def test_a_detector_that_is_called_as_the_camera_is_found_and_angles_lie_where_the_user_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = diamond(tmp_path / "k11-1.nxs")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "no"), *PLAIN]) == 2
    assert "does not say the angles" in capsys.readouterr().err
    found = reconstructed(source, tmp_path / "made", "--angles", "::/entry/imaging/gts_theta_value")
    np.testing.assert_allclose(found, reconstructed(nxtomo(tmp_path / "scan.nx"), tmp_path / "same"), atol=1e-6)
    arguments = [
        "tomo-reconstruct",
        "-i",
        str(source),
        "-o",
        str(tmp_path / "no"),
        *PLAIN,
        "--angles",
        "::/entry/theta",
    ]
    assert main(arguments) == 2
    assert "cannot be read" in capsys.readouterr().err
    (scan,) = scans(str(source))
    start = next(iter(scan.events()))
    assert isinstance(start, ScanStart)
    keys = start.recorded("image_key")
    assert keys is not None and keys.tolist() == [1, 1, *[0] * 60, 2, 2]


def test_readme_and_configuration_lie_beside_the_volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reconstructed(nxtomo(tmp_path / "scan.nx"), tmp_path / "made", "--cor", "22.7", "-v")
    assert "flats, darks: 2, 2 (mean)" in capsys.readouterr().out
    text = (tmp_path / "made" / README).read_text()
    assert "60 angles cover 180.0 of 180 degrees" in text and "column 22.700" in text and "2, 2 (mean)" in text
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())
    assert told["angles_deg"] == ANGLES.tolist() and told["reconstruction"]["algorithm"] == "gridrec"
    with h5py.File(tmp_path / "made" / VOLUME) as file:
        assert file["entry/definition"][()] == b"NXtomoproc"
        assert yaml.safe_load(file["entry/reconstruction/parameters/configuration"][()]) == told


def test_the_axis_is_found_where_it_is_not_given(tmp_path: Path) -> None:
    reconstructed(nxtomo(tmp_path / "scan.nx"), tmp_path / "made", "--region-of-interest", "[2,0,46,6]")
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())
    assert told["axis"]["of_the_input"] == pytest.approx(CENTRE, abs=0.1)
    assert told["axis"]["column"] == pytest.approx(CENTRE - 2, abs=0.1)


def test_an_axis_that_the_search_contradicts_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The only pair half a turn apart is of no use: the sample had moved."""
    moved = np.roll(counts(lines([180.0])), 6, axis=2)
    sample = folder(tmp_path / "scan" / "sample", np.concatenate([SAMPLE, moved]))
    folder(tmp_path / "scan" / "flat", FLATS)
    folder(tmp_path / "scan" / "dark", DARKS)
    reconstructed(sample, tmp_path / "made", "--angles", "0:180", code=1)
    assert "the search finds the axis elsewhere" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "algorithm", "rounds"),
    [
        ("inbeam", "fbp", 1),
        ("inbeam", "cgls", 15),
        ("inbeam", "sirt", 100),
        ("astra", "FBP", 1),
        ("astra", "CGLS", 15),
        ("tomopy", "gridrec", 1),
    ],
)
def test_every_algorithm_gives_the_same_slice(tmp_path: Path, tool: str, algorithm: str, rounds: int) -> None:
    if tool != "inbeam":
        pytest.importorskip(tool)
    source = nxtomo(tmp_path / "scan.nx")
    wanted = reconstructed(source, tmp_path / "grid", "--slices", "2:3", "--cor", "22.7")[0]
    more = ("--slices", "2:3", "--cor", "22.7", "-t", tool, "-a", algorithm, "-n", str(rounds))
    found = reconstructed(source, tmp_path / algorithm, *more)[0]
    assert np.corrcoef(found[INSIDE], wanted[INSIDE])[0, 1] > 0.97
    assert found[INSIDE].mean() == pytest.approx(wanted[INSIDE].mean(), rel=0.02)


def test_steps_are_applied_in_the_order_of_the_original(tmp_path: Path) -> None:
    turned = np.ascontiguousarray(np.rot90(SAMPLE, 1, axes=(1, 2)))
    for name, images in (("flat", FLATS), ("dark", DARKS)):
        folder(tmp_path / name, np.ascontiguousarray(np.rot90(images, 1, axes=(1, 2))))
    source = folder(tmp_path / "sample", turned)
    more = ("--angles", "0:177", "--cor", "22.7", "--rotation", "1", "--air-region", "[0,0,2.000000,6]")
    found = reconstructed(source, tmp_path / "made", *more, "--region-of-interest", "[1,1,47,5]", "--pre-processed")
    assert found.shape == (4, 46, 46)
    with Image.open(tmp_path / "made" / "pre_processed" / "out_preproc_proj_image000007.tiff") as image:
        ready = np.asarray(image)
    clear = SAMPLE[7].astype(float) - DARK
    clear /= FLATS[0] - DARK
    wanted = -np.log(clear / clear[:, :2].mean())[1:5, 1:47]
    np.testing.assert_allclose(ready, wanted, atol=1e-5)


def test_the_whole_line_that_mantids_window_sends_is_taken(tmp_path: Path) -> None:
    source = imat(tmp_path / "imat")
    made = tmp_path / "processed" / "reconstruction"
    line = (
        "--tool=inbeam --algorithm=gridrec --num-iter=5 --region-of-interest=[2.000000,1.000000,46.000000,5.000000] "
        "--air-region=[0.000000,0.000000,3.000000,6.000000] --median-filter-size=3 --cor=22.700000 --rotation=0 "
        "--max-angle=177.000000 --scale-down=0 --circular-mask=0.940000 --cut-off=0.000000 --out-img-format=png"
    )
    places = [f"--input-path={source}", f"--input-path-flat={tmp_path}/imat/Flat_Before"]
    places += [f"--input-path-dark={tmp_path}/imat/dark", f"--output={made}"]
    assert main(["tomo-reconstruct", *line.split(), *places]) == 0
    assert volume(made).shape == (4, 44, 44) and len(list((made / "reconstructed").glob("*.png"))) == 4
    told = yaml.safe_load((made / CONFIGURATION).read_text())
    assert told["axis"] == {"column": 20.7, "of_the_input": 22.7, "how": "axis at column 20.700 (given)"}
    assert told["angles_deg"][-1] == 177 and told["steps"]["air"] == {"x": [0, 3], "y": [0, 6]}
    assert told["steps"]["crop"] == {"x": [2, 46], "y": [1, 5]} and told["steps"]["median"] == 3


@pytest.mark.slow
def test_slices_are_cut_off_and_masked_as_the_original_says(tmp_path: Path) -> None:
    source = nxtomo(tmp_path / "scan.nx")
    bare = reconstructed(source, tmp_path / "bare", "--circular-mask", "0", "--cor", "22.7")
    found = reconstructed(source, tmp_path / "cut", "--circular-mask", "0.8", "--cut-off", "0.4", "--cor", "22.7")
    inside = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2)) < 0.8 * SIZE / 2
    inside &= seen(SIZE, SIZE, CENTRE)
    low, high = float(bare[:, inside].min()), float(bare[:, inside].max())
    assert np.isnan(found[:, ~inside]).all()
    np.testing.assert_allclose(found[:, inside], pixels.cut_off(bare, 0.4, low, high)[:, inside], rtol=1e-6)


@pytest.mark.slow
def test_slices_are_written_as_images_too(tmp_path: Path) -> None:
    source = nxtomo(tmp_path / "scan.nx")
    for kind in ("tiff", "png"):
        found = reconstructed(source, tmp_path / kind, "--out-img-format", kind, "--slices", "1:3")
        names = sorted(each.name for each in (tmp_path / kind / "reconstructed").iterdir())
        assert names == [f"out_recon_slice_{row:06d}.{kind}" for row in (1, 2)]
        with Image.open(tmp_path / kind / "reconstructed" / names[0]) as image:
            pixels_of = np.asarray(image)
        if kind == "tiff":
            np.testing.assert_array_equal(pixels_of, found[0])
        else:
            assert pixels_of.dtype == np.uint16 or pixels_of.max() > 255


@pytest.mark.slow
def test_a_bad_flat_is_excluded_by_its_number(tmp_path: Path) -> None:
    wanted = reconstructed(nxtomo(tmp_path / "good.nx"), tmp_path / "good", "--cor", "22.7")
    frames = np.concatenate([DARKS, FLATS, SAMPLE[:20], SAMPLE[:1], SAMPLE[20:]])
    frames[3] = 100
    source = nxtomo(tmp_path / "bad.nx", frames=frames)
    spoiled = reconstructed(source, tmp_path / "spoiled", "--cor", "22.7")
    found = reconstructed(source, tmp_path / "mended", "--cor", "22.7", "--exclude", "3")
    np.testing.assert_array_equal(found, wanted)
    assert np.nanmax(np.abs(spoiled - wanted)) > 0.001


def test_a_projection_that_is_excluded_goes_with_its_angle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = imat(tmp_path / "imat")
    (source / "raw_30.tif").write_bytes((source / "raw_30.tif").read_bytes()[:200])
    more = ("--angles", "0+3", "--cor", "22.7")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "no"), *PLAIN, *more]) == 2
    assert "raw_30.tif" in capsys.readouterr().err
    found = reconstructed(source, tmp_path / "made", *more, "--exclude", "34")  # two darks, two flats come first
    close(found)
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())["angles_deg"]
    assert told == [angle for angle in ANGLES.tolist() if angle != 90]


@pytest.mark.parametrize(("name", "number"), [("sample/raw_30.tif", 34), ("dark/raw_1.tif", 1)])
def test_an_image_that_is_cut_off_is_told_with_the_number_that_leaves_it_out(
    name: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = imat(tmp_path / "imat")
    broken = source.parent / name
    broken.write_bytes(broken.read_bytes()[:150])
    more = ("--angles", "0:177", "--cor", "22.7")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN, *more]) == 2
    told = capsys.readouterr().err
    assert str(broken) in told and f"--exclude {number}" in told
    close(reconstructed(source, tmp_path / "made", *more, "--exclude", str(number)))


@pytest.mark.slow
def test_the_monitor_takes_out_what_the_beam_has_lost(tmp_path: Path) -> None:
    frames = np.concatenate([DARKS, FLATS, SAMPLE[:20], SAMPLE[:1], SAMPLE[20:]]).astype(float)
    beam = np.linspace(1.0, 0.5, len(frames))
    beam[:4] = 1.0
    frames = (frames - DARK) * beam[:, None, None] + DARK
    source = nxtomo(tmp_path / "scan.nx", frames=frames, monitor=beam)
    close(reconstructed(source, tmp_path / "made", "--monitor", "--cor", "22.7"))


@pytest.mark.slow
def test_the_nearest_flats_are_taken_where_the_beam_fades(tmp_path: Path) -> None:
    """Full before, half behind: the mean of both is wrong for all projections."""
    faded = DARK + (SAMPLE[30:] - DARK) * 0.5
    frames = np.concatenate([DARKS, FLATS, SAMPLE[:30], faded, DARK + (FLATS - DARK) * 0.5])
    keys = np.array([2, 2, 1, 1, *[0] * 60, 1, 1])
    angles = np.concatenate([np.zeros(4), ANGLES, np.zeros(2)])
    source = nxtomo(tmp_path / "scan.nx", frames=frames, keys=keys, angles=angles)
    nearest = reconstructed(source, tmp_path / "nearest", "--which-flats", "nearest", "--cor", "22.7")
    close(nearest)
    mean = reconstructed(source, tmp_path / "mean", "--cor", "22.7")
    assert np.abs(mean - nearest)[4][INSIDE].max() > 0.2 * truth(4).max()
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "no"), *PLAIN, "--exclude", "2-65"]) == 2


@pytest.mark.slow
def test_half_acquisition_shows_all_of_the_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The axis lies near an edge: 32 of 48 columns, over a full turn. NXtomo says so, or the user."""
    angles = np.arange(0, 360, 3.0)
    whole = lines(angles)[:, :, 16:]
    frames = np.concatenate([FLATS[:, :, 16:], counts(lines(angles))[:, :, 16:]])
    keys, turned = np.array([1, 1, *[0] * len(whole)]), np.concatenate([[0, 0], angles])
    given = {"frames": frames, "keys": keys, "angles": turned}
    source = nxtomo(tmp_path / "scan.nx", **given, field_of_view="Half")
    arguments = ["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "no"), *PLAIN]
    assert main(arguments) == 2
    assert "near an edge" in capsys.readouterr().err
    assert main([*arguments, "--cor", "6.7", "-a", "sirt"]) == 2
    assert "needs gridrec" in capsys.readouterr().err
    found = reconstructed(source, tmp_path / "made", "--cor", "6.7", "--circular-mask", "0")
    again = reconstructed(nxtomo(tmp_path / "silent.nx", **given), tmp_path / "again", "--cor", "6.7",
                          "--circular-mask", "0", "--half-acquisition")  # fmt: skip
    np.testing.assert_array_equal(found, again)
    middle = (found.shape[1] - SIZE) / 2
    picture = found[4][round(middle) : round(middle) + SIZE, round(middle) : round(middle) + SIZE]
    inside = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2)) < 0.85 * SIZE / 2
    assert np.corrcoef(picture[inside], truth(4)[inside])[0, 1] > 0.93
    assert picture[inside].mean() == pytest.approx(truth(4)[inside].mean(), rel=0.05)


@pytest.mark.slow
def test_what_our_own_nxtomo_holds_is_reconstructed_as_what_it_was_made_of(tmp_path: Path) -> None:
    source, config = nxtomo(tmp_path / "scan.nx"), tmp_path / "archive.yaml"
    config.write_text(f"stream: {{type: files, files: []}}\nsinks:\n  - {{type: nxtomo, path: {tmp_path}/ours.nx}}\n")
    assert main(["process", str(config), str(source)]) == 0
    wanted = reconstructed(source, tmp_path / "one", "--cor", "22.7")
    np.testing.assert_array_equal(reconstructed(tmp_path / "ours.nx", tmp_path / "two", "--cor", "22.7"), wanted)


def test_without_a_flat_there_is_a_preview_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder(tmp_path / "sample", SAMPLE)
    arguments = ["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN, "--angles", "0:177"]
    assert main(arguments) == 2
    assert "has no flat field" in capsys.readouterr().err
    assert main([*arguments, "--raw"]) == 1
    assert "no absorption" in capsys.readouterr().err
    assert "no absorption" in (tmp_path / "made" / README).read_text()


@pytest.mark.parametrize("option", [("--raw",), ("--in-img-format", "fits"), ("--which-flats", "nearest")])
def test_an_option_that_the_input_leaves_without_effect_is_refused(
    option: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source: Path = nxtomo(tmp_path / "scan.nx")
    if option[0] == "--which-flats":
        source = folder(tmp_path / "sample", SAMPLE)
        option = (*option, "--angles", "0:177", "--raw")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN, *option]) == 2
    told = capsys.readouterr().err
    assert f"{option[0]}: " in told and "leave it out" in told
    assert not (tmp_path / "made" / VOLUME).exists()


def test_angles_are_never_invented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = imat(tmp_path / "imat")
    for more, words in (
        ((), "does not say the angles"),
        (("--angles", "angles.txt"), "neither FIRST:LAST"),
        (("--angles", "0:177", "--max-angle", "180"), "leave one of them out"),
    ):
        assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN, *more]) == 2
        assert words in capsys.readouterr().err
    short = tmp_path / "short.txt"
    np.savetxt(short, ANGLES[:-1])
    more = ("--angles", str(short))
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN, *more]) == 2
    assert "59 angles for 60 projections" in capsys.readouterr().err
    by_step = reconstructed(source, tmp_path / "step", "--angles", "0+3", "--cor", "22.7")
    by_part = tmp_path / "long.txt"
    np.savetxt(by_part, np.concatenate([[5, 5], ANGLES, [9]]))
    found = reconstructed(source, tmp_path / "part", "--angles", f"{by_part}[2:62]", "--cor", "22.7")
    np.testing.assert_array_equal(found, by_step)


@pytest.mark.slow
def test_the_original_ends_with_the_largest_angle(tmp_path: Path) -> None:
    reconstructed(imat(tmp_path / "imat"), tmp_path / "made", "--max-angle", "360")
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())["angles_deg"]
    assert len(told) == 60 and told[0] == 0 and told[-1] == 360


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-t", "tomopy"), "tomopy is not installed"),
        (("-a", "gridreck"), "inbeam has no 'gridreck'"),
        (("-a", "sirt", "--window", "hann"), "sirt does not filter"),
        (("--mcp-corrections", "yes"), "shutter"),
        (("--region-of-interest", "[0,0,10.5,4]"), "whole numbers"),
        (("--region-of-interest", "[0,0,99,4]"), "--region-of-interest: reaches beyond"),
        (("--air-region", "[5,5,2,2]"), "--air-region: x: must be two numbers"),
        (("--scale-down", "1000"), "--scale-down: "),
        (("--air-region", "[1,2,3]"), "needs four numbers"),
        (("--cor", "200"), "outside of the region"),
        (("--slices", "9:12"), "none of the 6 rows"),
        (("--exclude", "a"), "no frame number"),
        (("--exclude", "3,999"), "--exclude: there is no frame 999"),
        (("--exclude", "9-7"), "ends before its first frame"),
        (("--circular-mask", "-1"), "must be from 0"),
        (("--phase", "1e-6,0.1"), "needs 4 numbers"),
        (("--monitor",), "no reading of the beam"),
        (("--input-path-flat", "nowhere"), "neither a folder nor a file"),
    ],
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "tomopy" in more:
        try:
            import tomopy  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("tomopy is installed here")
    source = nxtomo(tmp_path / "scan.nx")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN, *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "made" / VOLUME).exists()


def test_a_volume_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = nxtomo(tmp_path / "scan.nx")
    reconstructed(source, tmp_path / "made")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN]) == 2
    assert "holds a volume already" in capsys.readouterr().err


def test_a_folder_without_room_or_permission_is_told(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    large = np.full((60, 200, 200), 500, np.uint16)
    folder(tmp_path / "large", large)
    arguments = ["tomo-reconstruct", "-i", str(tmp_path / "large"), *PLAIN, "--angles", "0+3", "--raw", "-o"]
    assert main([*arguments, str(small_disk / "out")]) == 2
    assert "no room for the projections" in capsys.readouterr().err
    assert list((small_disk / "out").iterdir()) == []
    assert main([*arguments, str(tmp_path / "file" / "out")]) == 2
    assert "cannot be made" in capsys.readouterr().err


@pytest.mark.slow
def test_angles_in_another_unit_are_turned_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    degrees = np.concatenate([np.zeros(4), ANGLES[:20], [0.0], ANGLES[20:]])
    source = nxtomo(tmp_path / "radian.nx", angles=np.deg2rad(degrees), unit="rad")
    close(reconstructed(source, tmp_path / "made"))
    source = nxtomo(tmp_path / "steps.nx", unit="steps")
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "no"), *PLAIN]) == 2
    assert "not in degrees" in capsys.readouterr().err


def test_the_tooth_has_its_axis_where_it_is(shared: Path, tmp_path: Path) -> None:
    source = shared / "tomo" / "tomopy_tooth.h5"
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN]) == 0
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())
    assert told["axis"]["of_the_input"] == pytest.approx(295.58, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("rings", [None, "sorting", "wavelet-fourier", "titarenko"])
def test_process_makes_of_savus_folder_what_tomo_reconstruct_does(
    rings: str | None, shared: Path, tmp_path: Path
) -> None:
    series = shared / "tomo" / "savu_24737_tiff"
    angles = tmp_path / "angles.txt"
    np.savetxt(angles, np.loadtxt(series / "angles.txt")[10:101])
    config = {
        "stream": {"type": "files", "files": []},
        "processors": [
            {"type": "projection", "flat": str(series / "flat_00001.tiff"), "dark": str(series / "dark_00001.tiff")},
            {
                "type": "tomography",
                "slices": [76],
                "centre": 85.85,
                "vertical": False,
                "turn": {"angles": str(angles)},
                "rings": rings,
            },
        ],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "out.h5")}],
    }
    (tmp_path / "savu.yaml").write_text(yaml.safe_dump(config))
    assert main(["process", str(tmp_path / "savu.yaml"), str(series / "tiffs")]) == 0
    more = ("--angles", str(angles), "--cor", "85.85", "--slices", "76:77", "--circular-mask", "0")
    more += ("--remove-stripes", rings or "none")
    wanted = reconstructed(series / "tiffs", tmp_path / "made", *more)[0]
    with h5py.File(tmp_path / "out.h5") as file:
        found = np.asarray(file["entry/data/slice_1"])
    known = np.isfinite(found)
    assert known.sum() > 10_000
    assert np.abs(found - wanted)[known].max() <= 1e-3 * np.abs(wanted).max()


@pytest.mark.slow
def test_savus_series_has_its_axis_where_it_is(shared: Path, tmp_path: Path) -> None:
    series = shared / "tomo" / "savu_24737_tiff"
    arguments = ["tomo-reconstruct", "-i", str(series / "tiffs"), "-o", str(tmp_path / "made"), *PLAIN]
    assert main([*arguments, "--angles", str(series / "angles.txt")]) == 2  # 111 lines for 91 projections
    assert main([*arguments, "--angles", f"{series / 'angles.txt'}[10:101]", "--slices", "60:64"]) == 0
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())
    assert told["axis"]["of_the_input"] == pytest.approx(85.85, abs=0.1)
