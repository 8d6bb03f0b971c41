"""Parts of `topotomo`: where a voxel is seen on the detector, projections and their reconstruction, the volume."""
