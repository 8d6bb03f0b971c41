"""A package of somebody else, installed for one test: a module and its entry point."""

import sys
from pathlib import Path

import pytest


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, section: str, name: str, source: str) -> None:
    """Make `type: name` of a section known, by the module text `source`; gone again after the test."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{name}_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[inbeam.{section}]\n{name} = {name}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)


PROCESSOR = """
from typing import Literal
import numpy as np
from stream import Field, Options, Product

class Config(Options):
    type: Literal["{name}"] = "{name}"

class Processor:
    def start(self, scan, work):
        self.scan = scan
        {start}
        return [Product("{name}", (Field("sum", (), np.dtype("f8")),), signal="sum")]

    def process(self, work):
        image = work.image()
        {process}
        work.results["{name}"] = {{"sum": np.float64(image.sum())}}

    def finish(self, end):
        {finish}

def create(config, context=None):
    return Processor()
"""


def processor(name: str, *, start: str = "pass", process: str = "pass", finish: str = "pass") -> str:
    """The text of a processor's module that does something odd in one place."""
    return PROCESSOR.format(name=name, start=start, process=process, finish=finish)
