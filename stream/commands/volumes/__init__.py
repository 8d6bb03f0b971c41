"""`inbeam reconstruct`: what is read of a finished map, and the file of the volume."""
