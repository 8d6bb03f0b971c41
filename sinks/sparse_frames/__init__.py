"""Sparse files: layout, writing, reading back, checking."""
