"""What `energy_bands` is made of."""
