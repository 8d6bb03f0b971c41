"""Image files: EDF, CBF, TIFF and what else fabio reads."""
