"""Images that have come before their start message, as happens where the messages of several senders come together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.events import Buffer

MOST_IMAGES = 64
MOST_BYTES = 256_000_000


class Early(Exception):
    """An image of a series whose start message may still come."""

    def __init__(self, series: int, unique: str | None) -> None:
        super().__init__(series)
        self.series, self.unique = series, unique


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits, and the Unix time at which it came, s."""

    series: int
    unique: str | None
    parts: Sequence[Buffer]
    received: float

    @property
    def nbytes(self) -> int:
        """Bytes of all its parts."""
        return sum(memoryview(part).nbytes for part in self.parts)


class Room:
    """The messages that wait, in the order in which they came; bounded in number and bytes."""

    def __init__(self) -> None:
        self._held: list[Held] = []
        self._nbytes = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def since(self) -> float:
        """When the one that waits longest came."""
        return self._held[0].received

    @property
    def full(self) -> bool:
        """True if no more may wait."""
        return len(self._held) >= MOST_IMAGES or self._nbytes >= MOST_BYTES

    def add(self, held: Held) -> None:
        """Let one more wait."""
        self._held.append(held)
        self._nbytes += held.nbytes

    def take(self, which: Callable[[Held], bool] = lambda held: True) -> list[Held]:
        """Those that `which` is true of; they wait no more."""
        found = [held for held in self._held if which(held)]
        self._held = [held for held in self._held if not which(held)]
        self._nbytes = sum(held.nbytes for held in self._held)
        return found
