"""A run: the source feeds the pipeline until it ends, is stopped, or something required fails."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from stream import registry
from stream.config import Config, RunOptions
from stream.errors import ConfigError, SourceLost
from stream.events import EndStatus, ScanEnd, ScanStart
from stream.pipeline.assembly import Assembly
from stream.pipeline.control import RunControl
from stream.pipeline.figures import Figures
from stream.pipeline.journal import Journal
from stream.pipeline.lanes import Completed
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.recorded import recorded_changes
from stream.pipeline.report import Report, ScanReport
from stream.pipeline.revisions import OptionSet
from stream.preflight import preflight
from stream.roles import Connected, Counters, Finite, Restorable, Source

log = logging.getLogger("inbeam")
LONGEST_PAUSE_S = 30.0
PROGRESS_S = 0.25
READ_AHEAD_MB = 32.0
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Run:
    """One run of a configuration. `stop` may be called from anywhere, also from a signal handler in the thread of
    `execute`: the source has a thread of its own, so that no lock can be held by the interrupted code."""

    def __init__(
        self,
        config: Config,
        *,
        reopen: bool,
        ended: Callable[[ScanReport, Completed], None] = lambda scan, completed: None,
    ) -> None:
        """`reopen`: a lost source is opened again (live); otherwise losing it is an error (recorded scans).

        `ended`: called when every sink has completed a scan, again if one goes on that had been silent; must not wait.
        """
        self._config = config
        self._told = ended
        self._reopen = reopen
        self._stop = threading.Event()
        self._asked = False
        self._journal = Journal.of(config)
        self._source: Source | None = None
        self._pipeline: Pipeline | None = None
        self._control: RunControl | None = None
        self._restarts = 0

    def stop(self) -> None:
        """The user has had enough: finish the frames in hand, close the files, end."""
        self._asked = True
        self._halt()

    def _halt(self) -> None:
        self._stop.set()
        if self._source is not None:
            self._source.close()

    def counters(self) -> Counters:
        """A snapshot of the running pipeline."""
        source, found = self._source, self._pipeline.counters() if self._pipeline is not None else Counters()
        if isinstance(source, Finite):
            done, files = source.done
            found = replace(found, file=min(done + 1, files), files=files)
        return replace(found, connection=source.connection) if isinstance(source, Connected) else found

    def figures(self) -> Figures:
        """The same and more, for who watches over it for weeks."""
        source, pipeline = self._source, self._pipeline
        connected = not isinstance(source, Connected) or not source.connection
        found = pipeline.figures() if pipeline is not None else Figures()
        return replace(found, connected=connected, restarts=self._restarts)

    def report(self) -> Report:
        """What has gone wrong so far."""
        return self._pipeline.report if self._pipeline is not None else Report()

    def execute(self, progress: Callable[[Counters], None] = lambda counters: None) -> Report:
        """Run to the end, calling `progress` about four times a second.

        Raises ConfigError before anything is opened if the configuration cannot be used.
        """
        config = self._config
        preflight(config)
        repeat = recorded_changes(config.run.changes) if config.run.changes is not None else ()
        control = self._control = RunControl(OptionSet.of(config), keep=self._journal.keep, repeat=repeat)
        with TemporaryDirectory(prefix="inbeam-") as scratch:
            assembly = Assembly(config, control, self._trouble, Path(scratch))
            pipeline = self._pipeline = Pipeline(
                assembly.chains(worker_count(config)),
                assembly.sinks(),
                config.run if self._reopen else reading_ahead(config.run),
                retried=assembly.retried(live=self._reopen),
                linked=assembly.linked,
                gatherings=lambda made: assembly.gatherings(made.emit),
                control=control,
                spare=assembly.chain,
                failed=self._halt,
                ended=self._ended,
                expired=self._count,
            )
            with ExitStack() as served:
                try:
                    self._serve(served, control)
                except ConfigError:
                    pipeline.close()
                    raise
                self._follow(pipeline, progress)
        return pipeline.report

    def _serve(self, served: ExitStack, control: RunControl) -> None:
        """Open what others may ask while the run goes on. Raises ConfigError."""
        run = self._config.run
        if run.control is not None:
            from stream.pipeline.remote import Remote  # its authentication imports asyncio, which files do without

            remote = Remote(run.control, control, secret_key=run.control_secret_key, clients=run.control_clients)
            remote.start()
            served.callback(remote.close)
        if run.metrics is not None:
            from stream.pipeline.metrics import Exposition
            from stream.pipeline.metrics_server import MetricsServer

            metrics = MetricsServer(run.metrics, Exposition(self.figures))
            metrics.start()
            served.callback(metrics.close)

    def _trouble(self, text: str) -> None:
        """A role has something to tell that the exit code must not hide."""
        if self._pipeline is not None:
            self._pipeline.report.trouble(text)

    def _follow(self, pipeline: Pipeline, progress: Callable[[Counters], None]) -> None:
        """Feed the pipeline to the end of the source."""
        thread = threading.Thread(target=self._run, args=(pipeline,), name="inbeam-source", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(PROGRESS_S)
                try:
                    progress(self.counters())
                except OSError:  # the terminal, or `tee`, is gone: that must not cost the frames in hand
                    progress = lambda counters: None  # noqa: E731
        finally:
            if thread.is_alive():
                self._halt()
                thread.join()

    def _run(self, pipeline: Pipeline) -> None:
        try:
            self._feed(pipeline)
        except BaseException as error:  # a thread that ends by SystemExit ends in silence
            pipeline.report.run_failed(error)
            self._end_open_scan(pipeline)
        finally:
            pipeline.close()

    def _end_open_scan(self, pipeline: Pipeline) -> None:
        """The source is gone in mid-scan: what has come is completed."""
        if pipeline.open_scan is not None:
            status = EndStatus.STOPPED if self._stop.is_set() else EndStatus.ABORTED
            pipeline.put(ScanEnd(pipeline.open_scan, status))

    def _note_start(self, scan: ScanStart) -> None:
        """Keep what a restart needs. Without it the run goes on; the sinks say what is wrong with the folder."""
        try:
            if self._control is not None:
                self._control.remember(scan.uid, self._journal.changes(scan.uid))
            self._journal.begin(scan)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): a restart in mid-scan will not know this scan",
                self._journal.path,
                error.strerror,
            )

    def _ended(self, scan: ScanReport, completed: Completed) -> None:
        """Every sink has completed the scan. One that is not over can be resumed: its journal stays."""
        self._told(scan, completed)
        end = completed.end
        if end.status not in (EndStatus.STOPPED, EndStatus.SILENT):
            self._journal.end(end.scan)

    def _feed(self, pipeline: Pipeline) -> None:
        pause = 0.5
        entry = self._journal.read()
        if entry is not None:
            log.info("going on with scan %s, which was open when inbeam last ended", entry.uid)
        while not self._stop.is_set():
            source = self._source = registry.create("stream", self._config.stream)
            if self._stop.is_set():
                source.close()
            if entry is not None and isinstance(source, Restorable):
                source.restore(entry.uid, entry.header)
            try:
                for event in source.events():
                    pause, entry = 0.5, None
                    if isinstance(event, ScanStart):
                        if self._stop.is_set():
                            break
                        self._note_start(event)
                    elif isinstance(event, ScanEnd):
                        event = self._stopped(event)
                    pipeline.put(event)
                    if isinstance(event, ScanEnd) and self._count():
                        break
                ended = True
            except SourceLost as error:
                if not self._reopen:
                    raise
                log.warning("%s; trying again in %.1f s", error, pause)
                self._restarts += 1
                ended = False
            finally:
                source.close()
            if self._asked and isinstance(source, Finite):
                pipeline.report.stopped_early(*source.done)
            self._end_open_scan(pipeline)
            if ended or self._count():
                return
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _count(self) -> bool:
        """Stop when the last scan that was asked for has ended."""
        assert self._pipeline is not None
        wanted = self._config.run.scans
        last = wanted is not None and self._pipeline.scans >= wanted
        if last:
            self._halt()
        return last

    def _stopped(self, end: ScanEnd) -> ScanEnd:
        """A scan that ends because we stop has not been aborted by the detector."""
        if self._stop.is_set() and end.status is EndStatus.ABORTED:
            return replace(end, status=EndStatus.STOPPED)
        return end


def reading_ahead(options: RunOptions) -> RunOptions:
    """Those for recorded scans: frames that nobody sends wait in their files, not in memory, unless that is wanted."""
    wanted = "inbox_mb" in options.model_fields_set
    return options if wanted else options.model_copy(update={"inbox_mb": READ_AHEAD_MB})


def worker_count(config: Config) -> int:
    """Worker threads: as configured, or one per core that this process may use, at most 8."""
    if config.run.workers != "auto":
        return int(config.run.workers)
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP (the terminal is gone) stops in order, the second at once (exit code 130).

    Where SIGHUP is ignored (nohup) it stays so.
    """
    asked = threading.Event()

    def react(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            os._exit(130)
        asked.set()
        stop()
        log.warning("stopping: the frames in hand are finished; once more to stop at once")

    numbers = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP]
    before: dict[int, Any] = {number: signal.signal(number, react) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
