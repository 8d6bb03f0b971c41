"""Results files of `roi`, made by the pipeline itself from frames and a list of edits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import yaml

from stream.commands.main import main

SHAPE = (20, 30)
IMAGES = np.random.default_rng(2).poisson(9, (12, *SHAPE)).astype("u2")
START = {"a": {"kind": "rectangle", "x": [0, 10], "y": [0, 10]}}


def processed(
    folder: Path,
    name: str = "results.h5",
    changes: "Sequence[dict[str, Any]] | Path" = (),
    images: Any = IMAGES,
    **options: Any,
) -> Path:
    """The file of `inbeam process` with the processor `roi`, whose options these are."""
    raw = folder / "raw.h5"
    with h5py.File(raw, "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, *images.shape[1:]), **hdf5plugin.Bitshuffle())
    document = {
        "stream": {"type": "files", "files": [str(raw)]},
        "processors": [{"type": "roi", "regions": START, "most": 3, **options}],
        "sinks": [{"type": "hdf5", "path": str(folder / name)}],
    }
    if document["processors"][0].get("regions_file"):
        del document["processors"][0]["regions"]
    (folder / "one.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    command = ["process", "--quiet"]
    if isinstance(changes, Path):
        command += ["--changes", str(changes)]
    elif changes:
        (folder / "edits.yaml").write_text(yaml.safe_dump(list(changes)))
        command += ["--changes", str(folder / "edits.yaml")]
    assert main([*command, str(folder / "one.yaml"), str(raw)]) == 0
    return folder / name
