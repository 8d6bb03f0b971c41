"""HDF5 files: which datasets are frames, and how to read them."""
