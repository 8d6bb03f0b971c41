"""Parts of `tomography`: options, layout, projections on disk, flat fields, slices and planes, the axis."""
