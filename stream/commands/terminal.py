"""A line at the bottom of the terminal that is kept up to date, below the messages that scroll by.

It is never longer than the terminal is wide. Where the terminal has become narrower since, it has broken the line into
several rows (all terminals in common use do so), and all of them are taken back.
"""

import logging
import os
import unicodedata
from contextlib import AbstractContextManager, suppress
from typing import Any, TextIO

ERASE, UP = "\r\x1b[K", "\x1b[A"


class StatusLine(logging.Handler):
    """Writes log messages, and the line below them. Called from any thread; a terminal that is gone is left alone."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._text = ""
        self._drawn = 0
        """Cells that the line takes on the terminal."""

    def show(self, text: str) -> None:
        """Put `text` into the line. Raises OSError if the terminal is gone."""
        with self._guard():
            self._text = printable(text)
            self._write(self._erasing() + self._line())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message above the line."""
        with suppress(OSError, ValueError):
            message = "\n".join(printable(line) for line in self.format(record).splitlines())
            self._write(f"{self._erasing()}{message}\n{self._line()}")

    def close(self) -> None:
        """Take the line away."""
        with self._guard(), suppress(OSError, ValueError):
            self._text = ""
            self._write(self._erasing())
        super().close()

    def _guard(self) -> AbstractContextManager[Any]:
        assert self.lock is not None
        return self.lock

    def _line(self) -> str:
        line = fitting(self._text, self._columns() - 1)
        self._drawn = cells(line)
        return line

    def _erasing(self) -> str:
        rows = max(-(-self._drawn // self._columns()), 1)
        self._drawn = 0
        return UP.join([ERASE] * rows)  # not "all below", which some terminals keep a copy of

    def _columns(self) -> int:
        try:
            return max(os.get_terminal_size(self._terminal.fileno()).columns, 2)
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()


def printable(text: str) -> str:
    """Without control characters: names come from the network, and must not steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return sum(_width(character) for character in text)


def fitting(text: str, width: int) -> str:
    """As much of `text` as fits into so many cells, with an ellipsis if that is not all."""
    if cells(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _width(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
