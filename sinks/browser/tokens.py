"""The words that viewers and operators of a page show: a file of two lines that its owner alone can read."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

ROLES = ("viewer", "operator")
FEWEST = 16
"""Characters of a token."""


def read_or_make(path: Path) -> Mapping[str, str]:
    """role -> token; the file is made if it is not there. Raises OSError or ValueError."""
    try:
        return read(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.writelines(f"{role} {secrets.token_urlsafe(16)}\n" for role in ROLES)
        return read(path)


def read(path: Path) -> Mapping[str, str]:
    """role -> token. Raises ValueError, with what to do, for a file that is none or that others may read."""
    mode = path.stat().st_mode
    if mode & 0o077:
        raise ValueError(f"others may read it: chmod 600 {path}")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = {line[0]: line[1] for line in lines if len(line) == 2}
    if len(lines) != len(found) or set(found) != set(ROLES) or len(set(found.values())) != len(ROLES):
        raise ValueError("it needs a line `viewer WORD` and a line `operator OTHER-WORD`: delete it to get a new one")
    if min(map(len, found.values())) < FEWEST:
        raise ValueError(f"a word has less than {FEWEST} characters: delete it to get a new one")
    return found
