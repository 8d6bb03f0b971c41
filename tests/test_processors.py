"""Every processor of ours does what every processor must do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from bragg_frames import crystal
from bragg_frames import poni as write_poni

from processors.shared.correction import Corrections
from stream import registry
from stream.events import Frame
from stream.roles import Processor
from stream.testing import ProcessorConformance, examples
from stream.work import Work


def processor(kind: str, **options: Any) -> Processor:
    """As the runner makes it."""
    config = registry.module("processors", kind).Config.model_validate({"type": kind, **options})
    made: Processor = registry.create("processors", config)
    return made


class TestCorrect(ProcessorConformance):
    def make(self) -> Processor:
        return processor("correct", saturation=7)

    def answer(self, work: Work) -> Mapping[str, Any]:
        left = work.get(Corrections)
        assert left is not None
        signal, bad = left.by_channel[examples.CHANNEL].apply(work.image())
        return {"signal": signal, "bad": bad}


class TestFormula(ProcessorConformance):
    def make(self) -> Processor:
        return processor("formula", formula=f"{examples.CHANNEL} * 2 - 0.5", name="twice")

    def earlier(self) -> Sequence[Processor]:
        return (processor("correct", saturation=7),)

    def answer(self, work: Work) -> Mapping[str, Any]:
        return {**super().answer(work), "channel": work.image("twice")}


class TestIntegrate(ProcessorConformance):
    def make(self) -> Processor:
        return processor("integrate", npt=40, error_model="poisson", device="cpu")

    def earlier(self) -> Sequence[Processor]:
        return (processor("correct"),)


class TestIntegrateInTwoDimensions(ProcessorConformance):
    def make(self) -> Processor:
        return processor("integrate", npt=20, npt_azimuthal=8, splitting="bbox", error_model="azimuthal", device="cpu")


class TestSparsify(ProcessorConformance):
    @pytest.fixture(autouse=True)
    def geometry(self, tmp_path: Path) -> None:
        self.poni = write_poni(tmp_path, examples.SHAPE)

    def make(self) -> Processor:
        return processor("sparsify", poni=self.poni, bins=20, cutoff_peak=3.0)

    def frame(self, index: int) -> Frame:
        """Every other one is a hit."""
        pixels = examples.image(index) if index % 2 else crystal(examples.SHAPE, count=1, seed=index)[0]
        return examples.frame(index, payloads={examples.CHANNEL: examples.payload(pixels)})

    def answer(self, work: Work) -> Mapping[str, Any]:
        """All but the rate of hits: it is of the last frames of one worker, and named so."""
        found = dict(super().answer(work))
        assert 0 <= found.pop("sparsify.hit_rate") <= 1
        return found

    def test_the_frames_of_this_suite_are_hits_and_no_hits(self) -> None:
        answers = self._answers(self._begun()[0], range(2))
        assert [int(answers[index]["sparsify.hit"]) for index in range(2)] == [1, 0]


class TestRoi(ProcessorConformance):
    def make(self) -> Processor:
        regions = {
            "peak": {
                "kind": "rectangle",
                "x": [10, 30],
                "y": [20, 50],
                "angle": 10,
                "background": "all",
                "fit": "linear",
            },
            "beside": {"kind": "rectangle", "x": [0, 9], "y": [0, 64], "role": "background"},
            "ring": {"kind": "ring", "radius": [0.5, 2], "unit": "2th_deg"},
            "gone": None,
            "off": {"kind": "ellipse", "center": [100, 100], "radii": [3, 4]},
        }
        return processor("roi", regions=regions, most=6, profiles=360, normalize_by="monitor", compat="sp2014")

    def earlier(self) -> Sequence[Processor]:
        return (processor("correct", saturation=9),)

    def frame(self, index: int) -> Frame:
        return examples.frame(index, readings={"monitor": 1.0 + index} if index != 4 else {})


class TestPrepare(ProcessorConformance):
    def make(self) -> Processor:
        return processor("prepare", median="bad", background={"x": [0, 10], "y": [0, 12]})

    def earlier(self) -> Sequence[Processor]:
        return (processor("correct", saturation=9),)

    def answer(self, work: Work) -> Mapping[str, Any]:
        return {**super().answer(work), "channel": work.image("prepared")}
