"""One part of a run that is divided (`run --receivers`, `process --dask`): a pipeline in a process of its own.

Its configuration comes as JSON on stdin, which stays open as long as the process that has started it lives. What
becomes of each scan goes to stdout, a JSON line each: {"scan", "name", "files"}; at the end {"trouble"}, which is "" if
there was none.
"""

import json
import logging
import os
import sys
import threading
from typing import Any

from stream.config import validate
from stream.pipeline.lanes import Completed
from stream.pipeline.memory import keep_freed_memory
from stream.pipeline.report import ScanReport
from stream.pipeline.runner import Run, stop_on_signals


def main() -> int:
    """Run until the scans that were asked for are there, a signal comes, or the other end is gone."""
    document: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    stream = document["stream"]
    live = stream["type"] == "receiver"
    who = f"receiver {stream['number']}" if live else f"part {stream['part'][0]}"
    logging.basicConfig(level=logging.ERROR, format=f"%(asctime)s {who}: %(message)s", stream=sys.stderr)
    logging.getLogger("inbeam").setLevel(logging.WARNING)
    keep_freed_memory()

    def ended(scan: ScanReport, completed: Completed) -> None:
        files = [None if file is None else str(file.resolve()) for file in completed.files]
        say({"scan": scan.uid, "name": scan.name, "files": files, "failed": list(completed.failed)})

    running = Run(validate(document), reopen=live, ended=ended)

    def until_left_alone() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # not through Python's buffer, whose lock the end of the process wants
            pass
        running.stop()

    threading.Thread(target=until_left_alone, daemon=True).start()
    with stop_on_signals(running.stop):
        report = running.execute()
    say({"trouble": report.summary()})
    return 0


def say(what: dict[str, Any]) -> None:
    """One line for who has started us."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
