"""A terminal as small as the tests need one: it breaks long lines into rows, and anew when its width changes."""

import io
import re


class Screen(io.StringIO):
    """What is written to it shows in `lines`. Knows text, CR, LF, one row up and erase the rest of a row; no more."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.lines = [""]
        self._line, self._at = 0, 0
        self._wrote = False

    def write(self, text: str) -> int:
        for up, erase, character in re.findall(r"(\x1b\[A)|(\x1b\[K)|([\s\S])", text):
            if up:
                self._up()
            elif erase:
                line, end = self.lines[self._line], self._at - self._at % self.columns + self.columns
                self.lines[self._line] = (line[: self._at] + " " * (end - self._at) + line[end:]).rstrip()
            elif character == "\r":  # behind a full row it is still in that row
                self._at -= self._at % self.columns or (self.columns if self._wrote else 0)
            elif character == "\n":
                self._line, self._at = self._line + 1, 0
                if self._line == len(self.lines):
                    self.lines.append("")
            else:
                assert character.isprintable(), f"{character!r} reached the terminal"
                line = self.lines[self._line].ljust(self._at)
                self.lines[self._line] = line[: self._at] + character + line[self._at + 1 :]
                self._at += 1
            self._wrote = character.isprintable() and bool(character)
        return len(text)

    def _up(self) -> None:
        if self._at >= self.columns:
            self._at -= self.columns
        elif self._line:
            self._line -= 1
            self._at += (max(len(self.lines[self._line]) - 1, 0) // self.columns) * self.columns
