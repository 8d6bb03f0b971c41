"""Parts of `mosaicity`: where frames lie on the scan's motors, sums by pixel, what is made of these, colours."""
