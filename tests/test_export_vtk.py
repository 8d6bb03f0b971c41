"""`inbeam export --vtk`: a volume for ParaView, read back from its own bytes, and by VTK where it is installed."""

import re
import xml.etree.ElementTree as tree
from pathlib import Path

import h5py
import numpy as np
import pytest
from recon3d_files import INI, getdata, recorded_scan

from stream.commands.main import main


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorded = recorded_scan(tmp_path_factory.mktemp("recorded"))
    folder = tmp_path_factory.mktemp("volume")
    assert getdata(recorded, folder) == 0
    text = INI.replace("PATH", str(folder / "array")).replace("[0,0,0]\ngrain_dim", "[1,2,3]\ngrain_dim")
    (folder / "job.ini").write_text(re.sub(r"grain_steps .*", "grain_steps [10, 11, 12]", text))
    assert main(["recon3d", str(folder / "job.ini"), "-o", str(folder / "grain.h5")]) == 0
    return folder / "grain.h5"


def arrays(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """What a .vti file says of its image, and its cells: raw, behind the XML, each with its length before it."""
    content = path.read_bytes()
    start = content.index(b"<AppendedData")
    raw = content.index(b"_", start) + 1
    root = tree.fromstring(content[:start].decode() + "</VTKFile>")
    image = root.find("ImageData")
    assert image is not None and root.attrib["byte_order"] == "LittleEndian"
    found = {}
    for each in image.iter("DataArray"):
        begin = raw + int(each.attrib["offset"])
        kind = {"Float32": "<f4", "Float64": "<f8"}[each.attrib["type"]]
        length = int(
            np.frombuffer(content, {"UInt32": "<u4", "UInt64": "<u8"}[root.attrib["header_type"]], 1, begin)[0]
        )
        skip = 4 if root.attrib["header_type"] == "UInt32" else 8
        found[each.attrib["Name"]] = np.frombuffer(content, kind, length // np.dtype(kind).itemsize, begin + skip)
    return dict(image.attrib), found


def test_a_volume_becomes_an_image_whose_cells_are_its_voxels(volume: Path, tmp_path: Path) -> None:
    assert main(["export", str(volume), "--vtk", "-o", str(tmp_path)]) == 0
    image, cells = arrays(tmp_path / "grain_topotomo_volume.vti")
    assert [int(each) for each in image["WholeExtent"].split()] == [0, 10, 0, 11, 0, 12]
    with h5py.File(volume) as file:
        group = file["entry/topotomo_volume"]
        axes = [group[name][()] for name in "xyz"]
        assert sorted(cells) == ["completeness", "density", "gamma", "mu"]
        for name, values in cells.items():
            np.testing.assert_array_equal(values, group[name][()].ravel(order="F"))
    pitch = np.array([each[1] - each[0] for each in axes])
    assert [float(each) for each in image["Spacing"].split()] == pytest.approx(pitch.tolist(), rel=1e-6)
    corner = [each[0] for each in axes] - pitch / 2
    assert [float(each) for each in image["Origin"].split()] == pytest.approx(corner.tolist(), rel=1e-6)


def test_vtk_reads_it(volume: Path, tmp_path: Path) -> None:
    xml = pytest.importorskip("vtkmodules.vtkIOXML")
    convert = pytest.importorskip("vtkmodules.util.numpy_support").vtk_to_numpy
    assert main(["export", str(volume), "--vtk", "-o", str(tmp_path)]) == 0
    reader = xml.vtkXMLImageDataReader()
    reader.SetFileName(str(tmp_path / "grain_topotomo_volume.vti"))
    reader.Update()
    image = reader.GetOutput()
    with h5py.File(volume) as file:
        group = file["entry/topotomo_volume"]
        for name in ("density", "mu", "gamma", "completeness"):
            found = convert(image.GetCellData().GetArray(name))
            np.testing.assert_array_equal(found, group[name][()].ravel(order="F"))
        middle = image.GetCell(3, 5, 7).GetBounds()
        wanted = [group[name][place] for name, place in zip("xyz", (3, 5, 7), strict=True)]
    assert [(middle[2 * k] + middle[2 * k + 1]) / 2 for k in range(3)] == pytest.approx(wanted, rel=1e-6)


def test_what_is_no_volume_is_refused_and_nothing_is_written_over(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(volume), "--vtk", "-o", str(tmp_path)]) == 0
    assert main(["export", str(volume), "--vtk", "-o", str(tmp_path)]) == 1
    assert "exists and is left alone" in capsys.readouterr().err
    assert main(["export", str(volume), "--vtk", "-o", str(tmp_path), "-p", "frames"]) == 1
    assert "choose --product among its volumes (there is: topotomo_volume)" in capsys.readouterr().err
    assert main(["export", str(volume), "--vtk", "-o", str(tmp_path), "-f", "xy"]) == 2
    with h5py.File(volume) as file, h5py.File(tmp_path / "bent.h5", "w") as other:
        file.copy("entry", other)
        other["entry/topotomo_volume/x"][3] += 0.1
    assert main(["export", str(tmp_path / "bent.h5"), "--vtk", "-o", str(tmp_path)]) == 1
    assert "x of topotomo_volume has no equal, ascending steps" in capsys.readouterr().err
