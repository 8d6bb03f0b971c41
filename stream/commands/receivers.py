"""`inbeam run CONFIG --receivers N`: N processes, each with its own pipeline and files, and one file of each scan.

The master of a scan (see `sinks.receivers.master`) is made when all receivers have completed theirs. A receiver that
dies is started again and goes on in its file; what it had in hand is missing.
"""

import logging
import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream import listening
from stream.commands import children, dividing
from stream.commands.children import Child, Crew, Crews, Said
from stream.config import Config
from stream.errors import ConfigError
from stream.preflight import preflight
from stream.receivers.coordinator import Coordinator
from stream.receivers.figures import ReceiverFigures, TogetherFigures

log = logging.getLogger("inbeam")
STRAGGLERS_S = 60.0
"""How long a receiver that was started again may take to complete a scan of the time before."""
PATIENCE_S = 5.0
QUICK_S, MOST_QUICK = 2.0, 5
"""So many deaths in a row, each within this time and before a frame was taken: starting again does not mend it."""


def document_of(config: Config, number: int, crew: Crew, endpoint: str, place: int) -> dict[str, Any]:
    """The configuration of receiver `number`. place: the first number that took from the same connection."""
    stream = config.document["stream"]
    made = deepcopy(dict(config.document))
    of = stream["sources"][place] if stream["type"] == "several" else stream
    made["stream"] = {"type": "receiver", "of": of, "coordinator": endpoint, "number": number}
    if crew.keys is not None:
        made["stream"]["coordinator_key"] = crew.keys[0].decode()
    made["sinks"] = dividing.part_sinks(config, number)
    run = dict(made.get("run") or {})
    if config.run.metrics is not None:
        run["metrics"] = listening.later(config.run.metrics, 1 + number)
    made["run"] = run | {"scans": None, "reorder_frames": 0, "reorder_ms": 0.0, "workers": crew.workers(config, place)}
    return made


def _problems(config: Config, count: int | None) -> Iterator[tuple[str, str]]:
    stream = config.document["stream"]
    if stream["type"] not in ("stream2", "simplon", "several"):
        yield "stream.type", f"receivers share a stream2 or simplon detector, not {stream['type']}"
    elif stream["type"] == "several" and len(stream["sources"]) != count:
        yield "--receivers", f"the stream has {len(stream['sources'])} sources: give each a receiver"
    if config.run.metrics is not None:
        try:
            if not listening.parts(config.run.metrics)[1]:
                raise ValueError("give a port: the receivers take those behind it")
            listening.later(config.run.metrics, count or 1)
        except ValueError as error:
            yield "run.metrics", str(error)
    yield from dividing.problems(config, live=True)


@dataclass(slots=True)
class Course:
    """How it goes with one receiver. place: see `document_of`; begun: when it was started last, s of a monotonic clock;
    quick: deaths in a row soon after a start; given_up: it is not started again."""

    child: Child
    place: int
    begun: float = 0.0
    quick: int = 0
    restarts: int = 0
    frames: int = 0
    silent: bool = False
    given_up: bool = False


@dataclass(slots=True)
class Scan:
    """What the receivers have told of one. files: receiver -> of each of its file sinks, in order."""

    uid: str
    name: str
    since: float
    files: dict[int, list[str | None]] = field(default_factory=dict)


class Receivers:
    """The processes, and what is made of what they write. `stop` may be called from a signal handler."""

    def __init__(self, config: Config, count: int | None, crews: Crews = children.local) -> None:
        """count: None leaves it to those who start them. crews: opens what does."""
        stream = config.document["stream"]
        if count is None and stream["type"] == "several":
            count = len(stream["sources"])
        self._config, self._count, self._crews = config, count, crews
        self._stopping = False
        self._said: Said = queue.Queue()
        self._courses: list[Course] = []
        self._crew: Crew
        self._coordinator: Coordinator
        self._scans: dict[str, Scan] = {}
        self._merged: set[str] = set()
        self._masters = dividing.Masters(config, 0)
        self._patience_s = float(stream.get("patience_s", PATIENCE_S))
        self.troubles = self._masters.troubles
        self.masters: list[Path] = []

    @property
    def processes(self) -> list[int]:
        """Ids of the receivers' processes, in their order; 0 where it is not known."""
        return [child.pid for child in self.children]

    @property
    def children(self) -> list[Child]:
        """The receivers, in their order."""
        return [course.child for course in self._courses]

    def stop(self) -> None:
        """Every receiver finishes what it has."""
        self._stopping = True

    def execute(self) -> int:
        """Run to the end; the exit code. Raises ConfigError for what cannot be divided, InbeamError."""
        if problems := list(_problems(self._config, self._count)):
            raise ConfigError(problems)
        preflight(self._config)
        with ExitStack() as served, self._crews(self._count, lambda: self._stopping) as crew:
            self._crew, count = crew, crew.count
            self._coordinator = Coordinator(crew.endpoint, self._patience_s, crew.keys)
            try:
                self._serve(served)
                for place in range(count):
                    self._add(place)
                log.info("%d receivers", count)
                self._follow()
            finally:
                for course in self._courses:
                    course.child.kill()
                self._coordinator.close()
        self._tell_shares()
        if self.troubles:
            print(f"inbeam: {'; '.join(self.troubles)}", flush=True)
        return 1 if self.troubles else 0

    def figures(self) -> TogetherFigures:
        """For those who watch. From any thread."""
        running = self._coordinator.running
        return TogetherFigures(
            [
                ReceiverFigures(
                    each.child.number, not (each.child.ended or each.child.silent), each.restarts, each.frames
                )
                for each in list(self._courses)
            ],
            0 if running is None else running.count,
            0 if running is None else running.expected or 0,
            len(self.masters),
            len(self.troubles),
        )

    def _serve(self, served: ExitStack) -> None:
        if self._config.run.metrics is not None:
            from stream.pipeline.metrics_server import MetricsServer
            from stream.receivers.metrics import TogetherExposition

            metrics = MetricsServer(self._config.run.metrics, TogetherExposition(self.figures))
            metrics.start()
            served.callback(metrics.close)

    def _add(self, place: int) -> None:
        number = len(self._courses)
        document = document_of(self._config, number, self._crew, self._coordinator.endpoint, place)
        course = Course(self._crew.child(number, document, self._said), place, begun=time.monotonic())
        course.child.start()
        self._courses.append(course)  # for whoever watches from another thread, who may ask it at once
        self._masters.count = len(self._courses)

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
            self._stopping |= self._nobody_starts_them()
            if self._stopping and not asked:
                asked = True
                for course in self._courses:
                    course.child.stop()
            self._merge_due(everything=False)
            self._note_silence()
            gone = [course for course in self._courses if course.child.ended]
            heard = [course for course in self._courses if not course.child.ended and not course.child.silent]
            if asked and not heard and self._said.empty():
                break
            if not asked:
                for course in gone:
                    self._again(course)
        self._merge_due(everything=True)

    def _nobody_starts_them(self) -> bool:
        """True if none could be started again, and there is no scan that would be cut off by an end."""
        if not self._crew.lost:
            return False
        if self._crew.lost not in self.troubles:
            self.troubles[self._crew.lost] = None
            log.error(
                "%s. The receivers go on until this scan is over, or silent for %g s", self._crew.lost, self._patience_s
            )
        running = self._coordinator.running
        return running is None or time.monotonic() - running.heard > self._patience_s

    def _note_silence(self) -> None:
        for course in list(self._courses):
            child = course.child
            if child.silent != course.silent:
                course.silent = child.silent
                name = f"receiver {child.number}{f' on {child.where}' if child.where else ''}"
                if child.silent:
                    log.error("%s is silent: stalled, or its machine cannot be reached. The others go on", name)
                    self.troubles[f"{name} was silent for a while"] = None
                else:
                    log.warning("%s is heard again", name)
            if child.abandoned and not course.given_up and not self._stopping:
                course.given_up = True
                log.warning("receiver %d takes the place of receiver %d", len(self._courses), child.number)
                self._add(course.place)

    def _hear(self, number: int, told: dict[str, Any]) -> None:
        child = self._courses[number].child
        if "trouble" in told:
            if told["trouble"]:
                self.troubles[f"receiver {number}: {told['trouble']}"] = None
            return
        scan = self._scans.setdefault(told["scan"], Scan(told["scan"], told["name"], time.monotonic()))
        scan.files[number] = dividing.files_of(child.document, told)

    def _again(self, course: Course) -> None:
        child = course.child
        if course.given_up:
            return
        useless = self._coordinator.gave_at(child.number) <= course.begun and time.monotonic() - course.begun < QUICK_S
        course.quick = course.quick + 1 if useless else 0
        if child.hopeless or course.quick >= MOST_QUICK:
            self.troubles[f"receiver {child.number} cannot be started ({child.how})"] = None
            self._stopping = True
            return
        if self._crew.lost:
            course.given_up = True
            self.troubles[f"receiver {child.number} ended by itself and could not be started again"] = None
            return
        course.restarts += 1
        log.warning("receiver %d ended (%s): started again", child.number, child.how)
        self.troubles[f"receiver {child.number} ended by itself and was started again"] = None
        course.begun = time.monotonic()
        child.start()

    def _merge_due(self, *, everything: bool) -> None:
        now = time.monotonic()
        for uid, scan in list(self._scans.items()):
            awaited = self._coordinator.took_part(uid) - scan.files.keys()
            for number in list(awaited):
                # one that was started again may not know of the scan any more
                course = self._courses[number]
                if (course.restarts or course.silent or course.given_up) and now - scan.since > STRAGGLERS_S:
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
        found = dividing.told_of(made, scan.name)
        for place, frames in found.shares.items():
            self._courses[numbers[place]].frames += frames
        log.info("%s -> %s", found.line, ", ".join(map(str, made)))
        self.troubles |= dict.fromkeys(found.troubles)

    def _tell_shares(self) -> None:
        log.info("receiver | frames | started again")
        for course in self._courses:
            log.info("%8d | %6d | %d", course.child.number, course.frames, course.restarts)
