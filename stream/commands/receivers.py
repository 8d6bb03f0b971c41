"""`inbeam run CONFIG --receivers N`: N processes, each with its own pipeline and files, and one file of each scan.

The master of a scan (see `sinks.receivers.master`) is made when all receivers have completed theirs. A receiver that
dies is started again and goes on in its file; what it had in hand is missing.
"""

import json
import logging
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stream.commands import dividing
from stream.config import Config
from stream.errors import ConfigError
from stream.pipeline.runner import worker_count
from stream.preflight import preflight
from stream.receivers.coordinator import Coordinator

log = logging.getLogger("inbeam")
STRAGGLERS_S = 60.0
"""How long a receiver that was started again may take to complete a scan of the time before."""
PATIENCE_S = 5.0
QUICK_S, MOST_QUICK = 2.0, 5
"""So many deaths in a row, each within this time: something is wrong that starting again does not mend."""


def documents(config: Config, count: int, coordinator: str) -> list[dict[str, Any]]:
    """The configuration of each receiver. Raises ConfigError for what cannot be divided."""
    problems = list(_problems(config, count))
    if problems:
        raise ConfigError(problems)
    stream = config.document["stream"]
    found = []
    for number in range(count):
        made = deepcopy(dict(config.document))
        of = stream["sources"][number] if stream["type"] == "several" else stream
        made["stream"] = {"type": "receiver", "of": of, "coordinator": coordinator, "number": number}
        made["sinks"] = dividing.part_sinks(config, number)
        run = dict(made.get("run") or {})
        run |= {"scans": None, "reorder_frames": 0, "reorder_ms": 0.0, "workers": max(1, worker_count(config) // count)}
        made["run"] = run
        found.append(made)
    return found


def _problems(config: Config, count: int) -> Iterator[tuple[str, str]]:
    stream = config.document["stream"]
    if stream["type"] not in ("stream2", "simplon", "several"):
        yield "stream.type", f"receivers share a stream2 or simplon detector, not {stream['type']}"
    elif stream["type"] == "several" and len(stream["sources"]) != count:
        yield "--receivers", f"the stream has {len(stream['sources'])} sources: give each a receiver"
    yield from dividing.problems(config)


@dataclass(slots=True)
class Child:
    """One receiver. trouble: what it said at its end."""

    number: int
    document: Mapping[str, Any]
    said: "queue.Queue[tuple[int, dict[str, Any]]]"
    process: "subprocess.Popen[bytes] | None" = None
    begun: float = 0.0
    quick: int = 0
    restarts: int = 0
    frames: int = 0
    trouble: str | None = None
    listener: threading.Thread | None = None

    def kill(self) -> None:
        """End the process, if it has not ended, and let go of what connects us."""
        if self.process is not None and self.process.stdin is not None:
            if not self.ended:
                self.process.kill()
            self.process.wait()
            with suppress(OSError):
                self.process.stdin.close()
        if self.listener is not None:
            self.listener.join()

    def start(self) -> None:
        """In a session of its own: Ctrl-C is for us, who pass it on once."""
        command = [sys.executable, "-m", "stream.commands.part_process"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=dividing.environment()
        )
        assert self.process.stdin is not None
        self.begun, self.trouble = time.monotonic(), None
        self.process.stdin.write(json.dumps(self.document, default=str).encode() + b"\n")
        self.process.stdin.flush()
        self.listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self.listener.start()

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

    @property
    def ended(self) -> bool:
        """True once the process is gone."""
        return self.process is None or self.process.poll() is not None


@dataclass(slots=True)
class Scan:
    """What the receivers have told of one. files: receiver -> of each of its file sinks, in order."""

    uid: str
    name: str
    since: float
    files: dict[int, list[str | None]] = field(default_factory=dict)


class Receivers:
    """The processes, and what is made of what they write. `stop` may be called from a signal handler."""

    def __init__(self, config: Config, count: int) -> None:
        self._config, self._count = config, count
        self._stopping = False
        self._said: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self._children: list[Child] = []
        self._coordinator: Coordinator
        self._scans: dict[str, Scan] = {}
        self._merged: set[str] = set()
        self._masters = dividing.Masters(config, count)
        self.troubles = self._masters.troubles
        self.masters: list[Path] = []

    @property
    def processes(self) -> list[int]:
        """Ids of the receivers' processes, in their order."""
        return [child.process.pid if child.process is not None else 0 for child in self._children]

    def stop(self) -> None:
        """Every receiver finishes what it has."""
        self._stopping = True

    def execute(self) -> int:
        """Run to the end; the exit code."""
        with TemporaryDirectory(prefix="inbeam-") as folder:
            endpoint = f"ipc://{folder}/coordinator"
            made = documents(self._config, self._count, endpoint)
            preflight(self._config)
            patience_s = float(self._config.document["stream"].get("patience_s", PATIENCE_S))
            coordinator = self._coordinator = Coordinator(endpoint, patience_s)
            try:
                self._children = [Child(number, document, self._said) for number, document in enumerate(made)]
                for child in self._children:
                    child.start()
                log.info("%d receivers", self._count)
                self._follow()
            finally:
                for child in self._children:
                    child.kill()
                coordinator.close()
        self._tell_shares()
        if self.troubles:
            print(f"inbeam: {'; '.join(self.troubles)}", flush=True)
        return 1 if self.troubles else 0

    def _follow(self) -> None:
        asked = False
        while True:
            try:
                self._hear(*self._said.get(timeout=0.2))
                continue  # as long as there is something to hear
            except queue.Empty:
                pass
            wanted = self._config.run.scans
            self._stopping |= wanted is not None and len(self._merged) >= wanted
            if self._stopping and not asked:
                asked = True
                for child in self._children:
                    if not child.ended and child.process is not None:
                        child.process.send_signal(signal.SIGINT)
            self._merge_due(everything=False)
            gone = [child for child in self._children if child.ended]
            if asked and len(gone) == len(self._children) and self._said.empty():
                break
            if not asked:
                for child in gone:
                    self._again(child)
        self._merge_due(everything=True)

    def _hear(self, number: int, told: dict[str, Any]) -> None:
        child = self._children[number]
        if "trouble" in told:
            child.trouble = told["trouble"]
            if told["trouble"]:
                self.troubles[f"receiver {number}: {told['trouble']}"] = None
            return
        scan = self._scans.setdefault(told["scan"], Scan(told["scan"], told["name"], time.monotonic()))
        scan.files[number] = dividing.files_of(child.document, told["files"])

    def _again(self, child: Child) -> None:
        assert child.process is not None
        child.quick = child.quick + 1 if time.monotonic() - child.begun < QUICK_S else 0
        how = child.process.returncode
        if child.quick >= MOST_QUICK:
            self.troubles[f"receiver {child.number} cannot be started (exit code {how}): see above"] = None
            self._stopping = True
            return
        child.kill()
        child.restarts += 1
        log.warning("receiver %d ended (%s): started again", child.number, how)
        self.troubles[f"receiver {child.number} ended by itself and was started again"] = None
        child.start()

    def _merge_due(self, *, everything: bool) -> None:
        now = time.monotonic()
        for uid, scan in list(self._scans.items()):
            awaited = self._coordinator.took_part(uid) - scan.files.keys()
            for number in list(awaited):
                # one that was started again may not know of the scan any more
                if self._children[number].restarts and now - scan.since > STRAGGLERS_S:
                    awaited -= {number}
            if everything or not awaited:
                del self._scans[uid]
                self._merge(scan)

    def _merge(self, scan: Scan) -> None:
        made, numbers = self._masters.make(scan.name, scan.uid, scan.files)
        self._merged.add(scan.uid)
        self.masters += made
        if made:
            self._tell(scan, made, numbers)

    def _tell(self, scan: Scan, made: Sequence[Path], numbers: Sequence[int]) -> None:
        found = dividing.told(made[0], scan.name)
        for place, frames in found.shares.items():
            self._children[numbers[place]].frames += frames
        log.info("%s -> %s", found.line, ", ".join(map(str, made)))
        self.troubles |= dict.fromkeys(found.troubles)

    def _tell_shares(self) -> None:
        log.info("receiver | frames | started again")
        for child in self._children:
            log.info("%8d | %6d | %d", child.number, child.frames, child.restarts)
