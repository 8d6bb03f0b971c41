"""Parts of `diffraction_tomography`: options, layout, sinograms out of a map's images, readings, slices that grow."""
