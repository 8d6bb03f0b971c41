"""Parts of `tomography`: options, layout, the projections on disk, flat fields, slices and planes that grow, the axis."""
