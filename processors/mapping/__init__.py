"""Parts of `map`: lines of the cube, radial regions, the source's own words about the scan, the layout."""
