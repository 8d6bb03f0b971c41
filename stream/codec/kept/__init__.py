"""Machine code of kernels, kept on disk and called without numba: see `stream.codec.compiler`."""
