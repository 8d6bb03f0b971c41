"""What patterns of names may match before a name is known to the end."""

import fnmatch
import re
from collections.abc import Callable


def may_match(name: str, pattern: str) -> bool:
    """True if `fnmatch` could find the pattern in the name; NUL in the name stands for any text without a slash."""
    wanted = re.findall(r"\[!?\]?[^]]*\]|.", pattern, re.DOTALL)
    end = len(wanted)
    reached = _ahead({0}, wanted, lambda item: item == "*")
    for letter in name:
        if letter == "\0":
            reached = _ahead(reached, wanted, lambda item: item != "/")
        else:
            on = {at + 1 for at in reached if at < end and fnmatch.fnmatch(letter, wanted[at])}
            on |= {at for at in reached if at < end and wanted[at] == "*"}
            reached = _ahead(on, wanted, lambda item: item == "*")
    return end in reached


def _ahead(reached: set[int], wanted: list[str], skipped: Callable[[str], bool]) -> set[int]:
    """These places in the pattern, and those that are reached from them over items that may be skipped."""
    found: set[int] = set()
    for start in sorted(reached):
        at = start
        while at not in found:
            found.add(at)
            if at < len(wanted) and skipped(wanted[at]):
                at += 1
    return found
