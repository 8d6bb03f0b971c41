"""The processes of `inbeam run --receivers`: one for each receiver, beside us."""

import json
import logging
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeAlias

from stream.commands import dividing
from stream.config import Config
from stream.pipeline.runner import worker_count

log = logging.getLogger("inbeam")
Said: TypeAlias = "queue.Queue[tuple[int, dict[str, Any]]]"
"""What the receivers tell of their scans, each with the number of who said it: see `stream.commands.part_process`."""


class Child(Protocol):
    """One receiver, wherever it runs."""

    number: int

    @property
    def document(self) -> Mapping[str, Any]:
        """Its configuration."""
        ...

    @property
    def pid(self) -> int:
        """Its process, on the machine where it runs; 0 if that is not known (yet)."""
        ...

    @property
    def where(self) -> str:
        """The machine that it runs on; "" for this one."""
        ...

    @property
    def ended(self) -> bool:
        """True once it is gone."""
        ...

    @property
    def silent(self) -> bool:
        """True if nothing has been heard of it for longer than can be, though it has not ended."""
        ...

    @property
    def abandoned(self) -> bool:
        """True if it is silent and whoever started it is gone, too: another shall take its place."""
        ...

    @property
    def how(self) -> str:
        """How it ended, in words."""
        ...

    @property
    def hopeless(self) -> bool:
        """True if it ended by what starting it again cannot mend."""
        ...

    def start(self) -> None:
        """Start it, for the first time or again."""
        ...

    def stop(self) -> None:
        """It shall finish what it has, and end. Does not wait."""
        ...

    def kill(self) -> None:
        """End it, if it has not ended, and let go of what connects us."""
        ...


class Crew(Protocol):
    """Who starts the receivers, and how many. endpoint, keys: where the coordinator listens, and its CURVE keys, if it
    has some."""

    count: int
    endpoint: str
    keys: tuple[bytes, bytes] | None

    def workers(self, config: Config, place: int) -> int:
        """How many threads process the frames of a receiver."""
        ...

    def child(self, number: int, document: Mapping[str, Any], said: Said) -> Child:
        """A receiver that has not been started."""
        ...

    @property
    def lost(self) -> str:
        """Why none can be started any more, and what to do; "" as long as they can."""
        ...


class LocalCrew:
    """Processes of this machine."""

    keys: tuple[bytes, bytes] | None = None
    lost = ""

    def __init__(self, folder: str, count: int) -> None:
        self.endpoint = f"ipc://{folder}/coordinator"
        self.count = count

    def workers(self, config: Config, place: int) -> int:
        """Those of a run are shared."""
        return max(1, worker_count(config) // self.count)

    def child(self, number: int, document: Mapping[str, Any], said: Said) -> Child:
        """See `Crew`."""
        return LocalChild(number, document, said)


@contextmanager
def local(count: int | None, stopped: Callable[[], bool]) -> Iterator[Crew]:
    """A crew of this machine, for so many receivers."""
    with TemporaryDirectory(prefix="inbeam-") as folder:
        yield LocalCrew(folder, count or 1)


Crews = Callable[[int | None, Callable[[], bool]], AbstractContextManager[Crew]]
"""Called with how many receivers there are to be, and what tells that nobody wants them any more."""


@dataclass(slots=True)
class LocalChild:
    """A process of this machine."""

    number: int
    document: Mapping[str, Any]
    said: Said
    where: str = ""
    silent: bool = False
    abandoned: bool = False
    hopeless: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    listener: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """See `Child`."""
        return self.process.pid if self.process is not None else 0

    @property
    def ended(self) -> bool:
        """See `Child`."""
        return self.process is None or self.process.poll() is not None

    @property
    def how(self) -> str:
        """See `Child`."""
        return f"exit code {self.process.returncode}" if self.process is not None else ""

    def start(self) -> None:
        """In a session of its own: Ctrl-C is for us, who pass it on once."""
        self.kill()
        command = [sys.executable, "-m", "stream.commands.part_process"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=dividing.environment()
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.document, default=str).encode() + b"\n")
        self.process.stdin.flush()
        self.listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self.listener.start()

    def stop(self) -> None:
        """See `Child`."""
        if not self.ended and self.process is not None:
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """See `Child`."""
        if self.process is not None and self.process.stdin is not None:
            if not self.ended:
                self.process.kill()
            self.process.wait()
            with suppress(OSError):
                self.process.stdin.close()
        if self.listener is not None:
            self.listener.join()

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:
                    log.warning("receiver %d: %s", self.number, line.decode("utf-8", "replace").rstrip())
                    continue
                self.said.put((self.number, told))
