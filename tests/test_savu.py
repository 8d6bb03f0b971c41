"""Savu's process lists as configurations of ours: what is the same, and what has no counterpart and is named."""

import json
import shlex
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from processors.projections.options import Config
from stream import config
from stream.commands.main import main, parser
from stream.commands.savu import command
from stream.commands.tomography.savu import mapped, plugins_of

LIST: list[tuple[str, dict[str, Any]]] = [
    ("NxtomoLoader", {"preview": []}),
    ("DarkFlatFieldCorrection", {"lower_bound": None}),
    ("MedianFilter", {"kernel_size": [1, 3, 3]}),
    ("PaganinFilter", {"Ratio": 250.0, "Energy": 53.0, "Distance": 1.0, "Resolution": 1.28}),
    ("DownsampleFilter", {"bin_size": 2, "mode": "mean"}),
    ("AstraReconCpu", {"algorithm": "SIRT", "n_iterations": 20, "log": False, "centre_of_rotation": 86, "ratio": 0.9}),
    ("TiffSaver", {}),
]


def written(path: Path, plugins: list[tuple[str, dict[str, Any]]], place: str = "plugin", first: int = 1) -> Path:
    with h5py.File(path, "w") as file:
        for number, (name, parameters) in enumerate(plugins, first):
            group = file.create_group(f"entry/{place}/{number:4d} ")
            group["name"] = np.array([name.encode()])
            group["data"] = np.array([json.dumps(parameters).encode()])
            group["id"] = np.array([f"savu.plugins.{name.lower()}".encode()])
            if place != "processing":  # Mantid's have none
                group["active"] = np.array([True])
    return path


@pytest.mark.parametrize(("place", "first"), [("plugin", 1), ("process", 1), ("processing", 0)])
def test_every_place_that_a_list_may_lie_in_is_read(tmp_path: Path, place: str, first: int) -> None:
    found = mapped(plugins_of(written(tmp_path / "list.nxs", LIST, place, first)))
    assert found.lacking == [] and len(found.told) == len(LIST)
    phase = {"pixel_m": 1.28e-6, "distance_m": 1.0, "energy_kev": 53.0, "delta_beta": 250.0}
    assert found.steps == {"from_scan": True, "median": 3, "phase": phase, "logarithm": True, "scale_down": 2}
    assert found.centre == 86.0


def test_plugins_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "list.nxs", [("NoProcessPlugin", {})] * 12)
    with h5py.File(path, "a") as file:
        file.move("entry/plugin/  12 ", "entry/plugin/12")  # sorts before all that begin with a space, or behind
    assert [each.number for each in plugins_of(path)] == list(range(1, 13))


def test_the_line_of_tomo_reconstruct_is_one_that_it_takes(tmp_path: Path) -> None:
    line = command(mapped(plugins_of(written(tmp_path / "list.nxs", LIST))))
    options = parser(("tomo-reconstruct",)).parse_args(shlex.split(line)[1:])
    assert (options.algorithm, options.num_iter, options.cor, options.scale_down) == ("sirt", 20, 86.0, 2)
    assert (options.circular_mask, options.median_filter_size, options.phase) == (0.9, 3, "1.28e-06,1,53,250")


def test_the_configuration_is_valid_and_says_where_each_plugin_went(tmp_path: Path) -> None:
    target = tmp_path / "savu.yaml"
    assert main(["savu", str(written(tmp_path / "list.nxs", LIST)), "-o", str(target)]) == 0
    text = target.read_text()
    made = config.validate(yaml.safe_load(text))
    assert isinstance(made.processors[0], Config) and made.processors[0].from_scan
    for number, (name, _) in enumerate(LIST, 1):
        assert f"#   {number} {name}: " in text
    assert main(["savu", str(tmp_path / "list.nxs"), "-o", str(target)]) == 2


@pytest.mark.parametrize(
    ("plugin", "parameters", "words"),
    [
        ("RavenFilter", {}, "no counterpart"),
        ("Dezinger", {"outlier_mu": 0.1}, "no counterpart"),
        ("MedianFilter", {"kernel_size": 3, "kernel_dimension": "3D"}, "not between them"),
        ("DarkFlatFieldCorrection", {"upper_bound": 2.0}, "without upper_bound"),
        ("AstraReconGpu", {"algorithm": "BP_CUDA"}, "no counterpart for the algorithm BP_CUDA"),
        ("AstraReconCpu", {"algorithm": "FBP", "centre_of_rotation": "60;62;64"}, "several axes"),
        ("RemoveAllRings", {"snr": 3.0}, "one of its three steps"),
        ("NxtomoLoader", {"preview": [":", "mid", ":"]}, "preview"),
        ("DownsampleFilter", {"bin_size": 2, "flip_updown": True}, "flip_updown"),
    ],
)
def test_what_has_no_counterpart_is_named(
    tmp_path: Path, plugin: str, parameters: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["savu", str(written(tmp_path / "list.nxs", [(plugin, parameters)]))]) == 1
    told = capsys.readouterr().err
    assert f"1 {plugin}: " in told and words in told


def test_a_plugin_that_is_switched_off_does_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "list.nxs", [("RavenFilter", {}), ("MedianFilter", {"kernel_size": 5})])
    with h5py.File(path, "a") as file:
        for number in (1, 2):
            file[f"entry/plugin/{number:4d} /active"][0] = False
    found = mapped(plugins_of(path))
    assert found.lacking == [] and found.steps == {}


def test_an_axis_that_the_list_searches_is_searched(tmp_path: Path) -> None:
    plugins = [("VoCentering", {}), ("SimpleRecon", {"centre_of_rotation": 86, "log": True})]
    found = mapped(plugins_of(written(tmp_path / "list.nxs", plugins)))
    assert found.centre is None and found.offline["--algorithm"] == "fbp"


@pytest.mark.parametrize(
    ("plugin", "method"),
    [
        ("RingRemovalSorting", "sorting"),
        ("RingRemovalWaveletfft", "wavelet-fourier"),
        ("RingRemovalRegularization", "titarenko"),
    ],
)
def test_rings_are_removed_live_too(
    tmp_path: Path, plugin: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["savu", str(written(tmp_path / "list.nxs", [(plugin, {}), ("SimpleRecon", {})]))]) == 1
    text = capsys.readouterr().out
    made = config.validate(yaml.safe_load(text))
    assert made.processors[1].rings == method and f"--remove-stripes {method}" in text


def test_a_file_without_a_list_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "empty.nxs", "w"):
        pass
    assert main(["savu", str(tmp_path / "empty.nxs")]) == 1
    assert "holds no process list of Savu" in capsys.readouterr().err


def test_a_real_list_is_read(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["savu", str(shared / "tomo" / "savu_24737_processed.nxs")]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["processors"][0] == {"type": "projection", "from_scan": True}
