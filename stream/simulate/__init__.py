"""inbeam as the detector: simulated frames, recorded ones, and faults on demand."""
