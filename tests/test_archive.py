from sink_conformance import SinkConformance


class TestArchiveConforms(SinkConformance):
    kind = "archive"
