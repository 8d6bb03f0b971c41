"""What several processors need: geometry, corrections, images, cache, devices."""
