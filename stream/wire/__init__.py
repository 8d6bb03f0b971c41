"""Bytes and blocks: CBOR, compressed payloads, captures."""
