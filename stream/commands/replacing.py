"""A result of an earlier time in the way of a new one, for commands that write over it as pyFAI's do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

LEDGER = "/entry/ledger"


@contextmanager
def replacing(path: Path) -> Iterator[None]:
    """A finished result of an earlier time is replaced, as pyFAI does, once there is a new one; an unfinished one of
    ours is gone on with."""
    aside = path.with_name(f".{path.name}.before")
    if not path.exists() or _unfinished(path):
        yield
        return
    os.replace(path, aside)
    try:
        yield
    finally:
        if path.exists():
            aside.unlink()
        else:
            os.replace(aside, path)


def _unfinished(path: Path) -> bool:
    try:
        with h5py.File(path, "r", libver="v110", swmr=True) as file:
            return not int(file[f"{LEDGER}/finished"][0])
    except (OSError, KeyError, ValueError, RuntimeError):
        return False
