"""Compressed payloads: sizes, headers, decoders."""
