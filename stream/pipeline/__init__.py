"""The machinery between source and sinks: bounded inbox, workers, ordering, lanes, runner."""
