"""`inbeam recon3d` and `inbeam recon3d-getdata`: Recon3D's ini file, its five-dimensional array, and the volume."""
