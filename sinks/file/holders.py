"""Who has a file open, for people: from /proc, as far as this user may look. Empty elsewhere."""

import os
from collections.abc import Iterator
from pathlib import Path

MOST_NAMED = 3


def holders(path: Path) -> str:
    """Such as "pid 4711, python view.py"; "" where nobody is found. This process is left out."""
    found = sorted(set(_open_in(path)) or set(_locked_by(path)))
    named = [f"pid {pid}{_command(pid)}" for pid in found[:MOST_NAMED]]
    return " and ".join(named) + (f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else "")


def _open_in(path: Path) -> Iterator[int]:
    """Processes with a descriptor of the file; those of other users show theirs to root alone."""
    try:
        wanted = path.stat()
        processes = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return
    for pid in processes:
        if pid == os.getpid():
            continue
        try:
            with os.scandir(f"/proc/{pid}/fd") as descriptors:
                if any(_is(descriptor, wanted) for descriptor in descriptors):
                    yield pid
        except OSError:
            continue


def _is(descriptor: "os.DirEntry[str]", wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), wanted)
    except OSError:
        return False


def _locked_by(path: Path) -> Iterator[int]:
    """Processes with a lock on the file, also those of other users: `1: FLOCK ADVISORY READ 4711 fe:00:2148420 0 EOF`.
    Some file systems give the lock another device than the file: only the number of the file is compared."""
    try:
        number = str(path.stat().st_ino)
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            lines = [line.split() for line in locks]
    except OSError:
        return
    for words in lines:
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == number:
            pid = int(words[4])
            if pid > 0 and pid != os.getpid():
                yield pid


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    text = " ".join(word.decode("utf-8", "replace") for word in words)
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return f", {plain[:60]}" if plain else ""
