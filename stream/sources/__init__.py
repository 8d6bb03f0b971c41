"""One module per source: the `type` of the section `stream`."""
