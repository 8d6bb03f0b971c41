"""Parallel-beam tomography, numpy in and numpy out: angles and their weights, filters, back-projection, the centre of
rotation, repair of sinograms, slices that grow with every projection.

Conventions of all modules: a sinogram is (angles, columns), or (angles, columns, slices). The line of angle w (degrees)
and column t goes through the points x cos w + y sin w = t - centre; `centre` is the column of the rotation axis,
counted from 0, whole in the middle of a column. In a picture (rows, columns) of `size` x `size` pixels, one per column
of the sinogram, x = column - (size - 1) / 2 and y = row - (size - 1) / 2: the axis is in the middle of the picture.
"""
