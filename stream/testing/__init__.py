"""Conformance suites for the roles: the tests of a plug-in inherit them, and so do those of all that inbeam brings.

    class TestMySource(SourceConformance): ...

They need pytest (its fixture `tmp_path`). For errors in full, write `pytest.register_assert_rewrite("stream.testing")`
into conftest.py, before the first import.
"""

from stream.testing.gatherers import GathererConformance
from stream.testing.processors import ProcessorConformance
from stream.testing.sinks import SinkConformance
from stream.testing.sources import RestorableConformance, SourceConformance

__all__ = [
    "GathererConformance",
    "ProcessorConformance",
    "RestorableConformance",
    "SinkConformance",
    "SourceConformance",
]
