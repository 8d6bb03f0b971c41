"""Scans of one sample put one behind the other in time, and the changes of the attenuator taken out."""
