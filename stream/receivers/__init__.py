"""Receivers of one detector in processes of their own, and the coordinator that makes one scan of what they get."""
