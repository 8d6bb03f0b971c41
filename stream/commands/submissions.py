"""Jobs that a live scan submits when it has ended (`run.on_end`), in a thread of their own: a queue takes time."""

import logging
import re
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from queue import SimpleQueue

from stream.commands.jobs import job_name, submit_line, understood
from stream.config import Config, JobAfter
from stream.errors import ConfigError, InbeamError
from stream.events import EndStatus
from stream.jobs import resources
from stream.jobs.resources import Batch, Local
from stream.pipeline.lanes import Completed
from stream.pipeline.report import ScanReport

log = logging.getLogger("inbeam")
PLACE = re.compile(r"\{([^{}]*)\}")
SINK = re.compile(r"sinks\[(\d+)\]")


class Submissions:
    """`ended` may be called from any thread and does not wait; `close` waits for what it has begun."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError for a job that could never be submitted."""
        self._types = [str(getattr(options, "type", "")) for options in config.sinks]
        self._found = resources.load(config.run.resources, None)
        self._jobs = [self._checked(place, job) for place, job in enumerate(config.run.on_end)]
        self._done: set[tuple[str, int]] = set()
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._failures: list[str] = []
        self._thread: threading.Thread | None = None

    def ended(self, scan: ScanReport, completed: Completed) -> None:
        """Submit what this scan has deserved: each job once, also if the scan ends a second time."""
        for place, (job, where) in enumerate(self._jobs):
            if (job.when == "complete" and not whole(scan, completed)) or (scan.uid, place) in self._done:
                continue
            if scan.status is EndStatus.SILENT or not any(completed.files):
                continue  # it may go on; it was there already
            self._done.add((scan.uid, place))
            self._waiting.put(lambda job=job, where=where: self._submit(job, where, scan, completed))  # type: ignore[misc]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="inbeam-jobs", daemon=True)
                self._thread.start()

    def close(self) -> Sequence[str]:
        """What could not be submitted, in words."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
        return self._failures

    def _work(self) -> None:
        while (act := self._waiting.get()) is not None:
            act()

    def _submit(self, job: JobAfter, where: Local | Batch, scan: ScanReport, completed: Completed) -> None:
        root = self._found.folder
        try:
            words = [self._filled(word, scan.name, completed) for word in shlex.split(job.submit)]
            made = submit_line(root, words, where, job.resource, job.name)
        except (InbeamError, ConfigError, OSError, SystemExit) as error:
            self._failures.append(f"scan {scan.name}: {job.submit!r} could not be submitted: {error}")
            log.error("%s", self._failures[-1])
            return
        log.info("scan %s: job %d (%s) on %s, see `inbeam jobs list`", scan.name, made.id, made.name, job.resource)

    def _filled(self, word: str, scan: str, completed: Completed) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] == "scan":
                return scan
            file = completed.files[self._sink(match[1])]
            if file is None:
                raise InbeamError(f"{{{match[1]}}} has no file of this scan")
            return str(file.absolute())

        return PLACE.sub(value, word)

    def _sink(self, name: str) -> int:
        """Which sink a place in a command means. Raises LookupError, in words."""
        numbered = SINK.fullmatch(name)
        if numbered is not None and int(numbered[1]) < len(self._types):
            return int(numbered[1])
        if self._types.count(name) == 1:
            return self._types.index(name)
        usable = [kind if self._types.count(kind) == 1 else f"sinks[{place}]" for place, kind in enumerate(self._types)]
        raise LookupError(
            f"{{{name}}} is no sink: use {{scan}} or one of {', '.join(f'{{{each}}}' for each in usable)}"
        )

    def _checked(self, place: int, job: JobAfter) -> tuple[JobAfter, Local | Batch]:
        path = f"run.on_end[{place}]"
        try:
            where = self._found.find(job.resource)
        except ConfigError as error:
            raise ConfigError([(f"{path}.resource", text) for _, text in error.problems]) from error
        said = StringIO()
        try:
            words = shlex.split(job.submit)
            for name in (found for word in words for found in PLACE.findall(word) if found != "scan"):
                self._sink(name)
            job_name(words, job.name)
            with redirect_stderr(said):
                understood([PLACE.sub("x", word) for word in words], where)
        except (ValueError, LookupError) as error:
            text = str(error.args[0])
        except ConfigError as error:
            text = "; ".join(text for _, text in error.problems)
        except SystemExit:
            text = said.getvalue().strip().rpartition("\n")[2]
        else:
            return job, where
        raise ConfigError([(f"{path}.submit", text)])


def whole(scan: ScanReport, completed: Completed) -> bool:
    """True if nothing of the scan is missing, in any sink."""
    taken = scan.status in (EndStatus.COMPLETE, EndStatus.DISARMED)
    return taken and not scan.lost and not completed.failed
