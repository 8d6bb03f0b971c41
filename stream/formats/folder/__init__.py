"""A folder that fills: what changed in it, and which files make up a scan."""
