"""The loops over the pixels: compiled by numba, without the GIL, kept on disk between runs."""
