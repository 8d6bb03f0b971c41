"""Images that have come before their start message, as happens where the messages of several senders come together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.events import Buffer

MOST_IMAGES = 64
MOST_BYTES = 256_000_000


class Early(Exception):
    """An image of a series whose start message may still come, or a start message while images of the series before
    may come from another receiver."""

    def __init__(self, series: int, unique: str | None, *, start: bool = False) -> None:
        super().__init__(series)
        self.series, self.unique, self.start = series, unique, start


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits, and the Unix time at which it came, s."""

    series: int
    unique: str | None
    parts: Sequence[Buffer]
    received: float
    start: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all its parts."""
        return sum(memoryview(part).nbytes for part in self.parts)


class Room:
    """The messages that wait, in the order in which they came; bounded in number and bytes."""

    def __init__(self) -> None:
        self.bounded = True
        """False where whoever sends is held up instead."""
        self._held: list[Held] = []
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def has_start(self) -> bool:
        """True if a start message is among them."""
        return any(held.start for held in self._held)

    @property
    def since(self) -> float:
        """When the one that waits longest came."""
        return self._held[0].received

    @property
    def full(self) -> bool:
        """True if no more may wait."""
        return self.bounded and (len(self._held) >= MOST_IMAGES or self._nbytes >= MOST_BYTES)

    def add(self, held: Held) -> None:
        """Let one more wait."""
        self._held.append(held)
        self._nbytes += held.nbytes

    def take(self, which: Callable[[Held], bool] = lambda held: True) -> list[Held]:
        """Those that `which` is true of, start messages first; they wait no more."""
        found = sorted((held for held in self._held if which(held)), key=lambda held: not held.start)
        self._held = [held for held in self._held if not which(held)]
        self._nbytes = sum(held.nbytes for held in self._held)
        return found
