"""Results files are what their `definition` says: by the field's validator, and by the words of the NXDL files."""

import ast
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import h5py
import nexusformat
import numpy as np
import pytest
from nexusformat.nexus.validate import validate_application
from product_examples import CAKE, REGIONS, SPARSE
from silx.io.nxdata import get_default
from sink_examples import PRODUCT, frame, make, scan

from sinks.check import check
from sinks.file.product import TAKEN, group_names
from stream.events import ScanEnd, ScanStart
from stream.products import Field, Product

DEFINITIONS = Path(nexusformat.__file__).parent / "definitions"
NXDL = "{http://definition.nexusformat.org/nxdl/3.1}"
PATTERN = replace(PRODUCT, constants={"norm": np.ones(PRODUCT.fields[0].shape, np.float32)})
CAKES = replace(
    CAKE, constants={"norm": np.ones(CAKE.fields[0].shape, np.float32)}, parameters={**PRODUCT.parameters, "npt": 90}
)
FINER = replace(PATTERN, name="finer", fields=(*PATTERN.fields, Field("sum", (), np.dtype("f8"))))
CATEGORIES = {
    "NX_PER_LENGTH": ("1/nm", "1/angstrom"),
    "NX_PER_LENGHT": ("1/nm", "1/angstrom"),
    "NX_WAVENUMBER": ("1/nm", "1/angstrom"),
    "NX_ANGLE": ("degrees", "rad"),
}


def written(folder: Path, *products: Product, link: bool = False, begin: ScanStart | None = None) -> Path:
    """A complete file of three frames, with its archive beside it."""
    begin = begin or scan()
    archive = make("archive", folder / "frames.h5")
    results = make("hdf5", folder / "results.h5", **({"link": str(folder / "frames.h5")} if link else {}))
    for sink in (archive, results):
        sink.start(begin, products)
        for index in range(3):
            given = {
                product.name: {
                    field.name: np.ones([length or 2 for length in field.shape], field.dtype)
                    for field in product.fields
                }
                for product in products
            }
            payload = next(iter(frame(index).payloads.values()))
            sink.write(frame(index, results=given, payloads=dict.fromkeys(begin.channels, payload)))
        sink.finish(ScanEnd("01-first", expected=3))
        sink.close()
    return folder / "results.h5"


def definition(product: Product) -> str:
    return product.reduction.definition if product.reduction is not None else ""


def assert_valid(path: Path, where: str, wanted: str) -> None:
    assert validate_application(str(path), path=where, application=wanted) == (0, 0)
    with h5py.File(path) as file:
        entry = file[where]
        assert entry["definition"].asstr()[()] == wanted
        xml = ElementTree.parse(DEFINITIONS / "applications" / f"{wanted}.nxdl.xml")
        rules = xml.find(f".//{NXDL}group[@type='NXdata']")
        assert rules is not None
        data = entry["data"]
        assert data.attrs["NX_class"] == "NXdata"
        assert_words(rules, data)
        for rule in rules.findall(f"{NXDL}field"):
            assert rule.get("name") in data or rule.get("optional") == "true"
            if rule.get("name") in data:
                assert_words(rule, data[rule.get("name")])


def assert_words(rule: ElementTree.Element, item: h5py.Group | h5py.Dataset) -> None:
    """Every attribute that is required is there, with one of the values that are allowed."""
    for attribute in rule.findall(f"{NXDL}attribute"):
        name = attribute.get("name")
        assert name in item.attrs or attribute.get("optional") == "true", f"{item.name}@{name}"
        if name not in item.attrs:
            continue
        allowed = [value.get("value", "") for value in attribute.iter(f"{NXDL}item")]
        words = [word for value in allowed for word in CATEGORIES.get(value, (value,))]
        found = item.attrs[name]
        if isinstance(found, np.ndarray):
            assert list(found) in [ast.literal_eval(word) for word in words]
        else:
            assert found in words, f"{item.name}@{name}"


@pytest.mark.slow
@pytest.mark.parametrize("link", [False, True], ids=["alone", "linked"])
@pytest.mark.parametrize("product", [PATTERN, CAKES], ids=lambda product: definition(product))
def test_an_integration_is_valid_with_and_without_a_link_to_its_frames(
    product: Product, link: bool, tmp_path: Path
) -> None:
    assert_valid(written(tmp_path, product, link=link), "/entry", definition(product))


def test_the_frames_of_every_channel_are_linked_and_the_file_is_valid(tmp_path: Path) -> None:
    path = written(tmp_path, PATTERN, link=True, begin=scan(channels=("threshold_1", "threshold_2")))
    assert_valid(path, "/entry", "NXazint1d")
    with h5py.File(path) as file:
        frames = file["/entry/frames"]
        assert set(frames) == {"data", "threshold_2", "frame_number"}
        assert frames["data"].shape == frames["threshold_2"].shape == (3, 64, 48)
        assert list(frames["frame_number"]) == [0, 1, 2]
    assert check(path).sound


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_an_integration_beside_other_results_is_valid_and_all_of_them_can_be_plotted(
    order: int, tmp_path: Path
) -> None:
    given = (PATTERN, REGIONS, SPARSE, CAKES, FINER)[::order]
    path = written(tmp_path, *given, link=True)
    first = next(product for product in given if definition(product))
    assert_valid(path, "/entry", definition(first))
    for product in given:
        if definition(product) and product is not first:
            assert_valid(path, f"/entry/{product.name}", definition(product))
    with h5py.File(path) as file:
        assert file["/entry/data"] == file[f"/entry/{first.name}"]
        for product, signal in ((PATTERN, "I"), (REGIONS, "sum"), (SPARSE, "count"), (CAKES, "I"), (FINER, "I")):
            group = file[f"/entry/{product.name.replace('/', '_')}"]
            plot = get_default(group)
            assert plot is not None and plot.signal_dataset_name == signal
            assert group[signal].shape[0] == 3
    assert check(path).sound, check(path).line()


def test_a_missing_row_of_a_product_beside_the_first_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, PATTERN, REGIONS)
    with h5py.File(path, "r+") as file:
        file["/entry/roi_1/sum"].resize((2,))
    assert "roi_1/sum" in check(path).line() and not check(path).sound


@pytest.mark.parametrize(
    ("unit", "wavelength"),
    [("r", 1.0), ("arcsinh(q.nm)", 1.0), ("2theta", None)],
    ids=["r", "arcsinh", "no wavelength"],
)
def test_what_no_definition_fits_does_not_claim_one(unit: str, wavelength: float | None, tmp_path: Path) -> None:
    """NXazint knows q and 2theta only, and requires the wavelength."""
    axis = replace(PATTERN.axes[0], long_name=unit)
    begin = scan()
    begin = replace(begin, detector=replace(begin.detector, wavelength_angstrom=wavelength))
    path = written(tmp_path, replace(PATTERN, axes=(axis,)), begin=begin)
    with h5py.File(path) as file:
        assert "definition" not in file["/entry"]
        assert get_default(file) is not None


def test_the_names_that_nxentry_gives_a_meaning_are_taken() -> None:
    base = ElementTree.parse(DEFINITIONS / "base_classes" / "NXentry.nxdl.xml").getroot()
    assert {rule.get("name") for rule in base if rule.tag != f"{NXDL}doc" and rule.tag != f"{NXDL}attribute"} - {
        None
    } <= TAKEN


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1], ids=["behind", "before"])
def test_a_product_may_be_called_as_anything_in_the_entry(order: int, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with h5py.File(written(tmp_path / "model", PATTERN, CAKES, link=True)) as file:
        names = [*file["/entry"], "monitor_applied", "reduction", "reduction_azint_", "provenance"]
    given = tuple(replace(REGIONS, name=name) for name in dict.fromkeys(names) if name not in ("azint", "cake"))
    assert {"title", "start_time", "end_time", "data", "frames"} <= {product.name for product in given}
    path = written(tmp_path, *(PATTERN, CAKES, *given)[::order], link=True)
    assert check(path).sound, check(path).line()
    assert_valid(path, "/entry", ("NXazint1d", "NXazint2d")[order < 0])
    groups = group_names((PATTERN, *given))
    with h5py.File(path) as file:
        entry = file["/entry"]
        assert entry["title"].asstr()[()] == "scan42"
        held = {name for name, item in entry.items() if isinstance(item, h5py.Group) and "box" in item}
    assert held == {groups[product.name] for product in given}
    assert all(product.name in groups[product.name] for product in given)
