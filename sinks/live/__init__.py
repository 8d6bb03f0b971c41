"""What every sink with a socket needs."""
