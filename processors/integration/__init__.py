"""Azimuthal integration: from the matrix of pyFAI to our kernels, on CPU and OpenCL."""
