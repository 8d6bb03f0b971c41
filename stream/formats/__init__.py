"""Recorded files: one reader per layout, all giving the same events as a live stream."""
