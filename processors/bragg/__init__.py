"""Bragg peaks and their background: polar bins, sigma clipping, picking, on the CPU or by OpenCL."""
