"""One part of a run that is divided (`run --receivers`, `process --dask`): a pipeline in a process of its own.

Its configuration comes as JSON on stdin, which stays open as long as the process that has started it lives. What
becomes of each scan goes to stdout, a JSON line each: {"scan", "name", "files", "there"}, where `there` are files that
had the scan already; at the end {"trouble"}, which is "" if there was none.

A receiver on another machine (`run --dask`) gets {"link"} instead: its configuration comes from there, and what it
tells goes there. It lives as long as that end does, not as long as who has started it.
"""

import json
import logging
import os
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.config import validate
from stream.errors import ConfigError
from stream.pipeline.lanes import Completed
from stream.pipeline.memory import keep_freed_memory
from stream.pipeline.report import ScanReport
from stream.pipeline.runner import Run, stop_on_signals
from stream.receivers.link import Link, Words


def main() -> int:
    """Run until the scans that were asked for are there, a signal comes, or the other end is gone."""
    document: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    if "link" in document:
        return linked(Link(**document["link"]))
    stream = document["stream"]
    live = stream["type"] == "receiver"
    who = f"receiver {stream['number']}" if live else f"part {stream['part'][0]}"
    logging.basicConfig(level=logging.ERROR, format=f"%(asctime)s {who}: %(message)s", stream=sys.stderr)
    logging.getLogger("inbeam").setLevel(logging.WARNING)
    keep_freed_memory()

    running = Run(validate(document), reopen=live, ended=lambda *became: say(outcome(*became)))

    def until_left_alone() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # not through Python's buffer, whose lock the end of the process wants
            pass
        running.stop()

    threading.Thread(target=until_left_alone, daemon=True).start()
    with stop_on_signals(running.stop):
        report = running.execute()
    say({"trouble": report.summary()})
    return 0


def linked(link: Link) -> int:
    """The same for whoever is at the other end of a link."""
    try:
        order = link.hello()
        if order is None:
            return 0
        document = order["document"]
        logging.getLogger("inbeam").addHandler(Words(link, f"receiver {document['stream']['number']}"))
        logging.getLogger("inbeam").setLevel(logging.WARNING)
        keep_freed_memory()
        if not os.path.exists(order["marker"]):
            folder = Path(order["marker"]).parent
            text = f"{folder} on {socket.gethostname()} is not the folder of that name where the command was given"
            link.bye(f"{text}: write to a folder that all machines share under one name", hopeless=True)
            return 1
        try:
            config = validate(document)
            secret = {"stream": {key: value for key, value in document["stream"].items() if key != "coordinator_key"}}
            running = Run(
                replace(config, document={**document, **secret}),
                reopen=True,
                ended=lambda *became: link.tell(outcome(*became)),
            )
            link.on_stop(running.stop)
            with stop_on_signals(running.stop):
                report = running.execute()
        except ConfigError as error:
            link.bye(str(error), hopeless=True)
            return 1
        except Exception as error:
            link.bye(f"{type(error).__name__}: {error}")
            raise
        link.bye(report.summary())
        return 0
    finally:
        link.close()


def outcome(scan: ScanReport, completed: Completed) -> dict[str, Any]:
    """What became of a scan, as JSON has it."""
    files, there = (
        [None if file is None else str(file.resolve()) for file in each] for each in (completed.files, completed.there)
    )
    return {"scan": scan.uid, "name": scan.name, "files": files, "there": there, "failed": list(completed.failed)}


def say(what: dict[str, Any]) -> None:
    """One line for who has started us."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
