"""What the processor `prepare` is made of."""
