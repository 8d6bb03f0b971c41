from sink_conformance import SinkConformance


class TestHdf5Conforms(SinkConformance):
    kind = "hdf5"
