"""The versions of installed packages, each looked up once: reading what an installation says of itself takes 1 ms."""

from functools import cache
from importlib import metadata


@cache
def version(name: str) -> str:
    """Of a distribution. Raises importlib.metadata.PackageNotFoundError."""
    return metadata.version(name)
