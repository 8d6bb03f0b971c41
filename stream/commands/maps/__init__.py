"""What `diff-map` and `diff-tomo` have in common: input files, configuration, the run, its statistics."""
