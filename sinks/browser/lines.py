"""The log of the run, for the page: kept from whatever thread it comes, handed on by the sink's."""

import logging
import queue
from collections.abc import Callable

MOST_WAITING = 500


class Lines(logging.Handler):
    """Listens to the logger of inbeam until it is closed; what does not fit between two looks is left out."""

    def __init__(self, take: Callable[[float, str, str], None]) -> None:
        super().__init__(logging.INFO)
        self._take = take
        self._waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        logging.getLogger("inbeam").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread."""
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(record)

    def drain(self) -> None:
        """Hand on what has come."""
        while not self._waiting.empty():
            record = self._waiting.get_nowait()
            self._take(record.created, record.levelname.lower(), record.getMessage())

    def close(self) -> None:
        """Listen no longer."""
        logging.getLogger("inbeam").removeHandler(self)
        super().close()
