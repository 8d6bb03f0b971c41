"""The process that serves the page: `python -m sinks.browser.serve LINK LISTENING SLOT`, three file descriptors.

It runs with the lowest priority from its first line on, before anything large is imported: where inbeam needs the whole
machine, the page gets slower, not the pipeline. Only a thread for what is needed once keeps the priority of inbeam:
kernels that have to be loaded, or compiled, which at the lowest one would take minutes on a busy machine.
"""

import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

NICENESS = 19


def main(arguments: Sequence[str]) -> None:
    """Never returns: whatever a thread still does, the process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for inbeam, which then ends us
    hurry = ThreadPoolExecutor(1)
    hurry.submit(int).result()  # the thread is there, with the priority of now
    os.nice(NICENESS)  # of this thread, and of those that it will start
    from sinks.browser import serving

    link, listening, slot = map(int, arguments)
    serving.run(link, listening, slot, hurry)


if __name__ == "__main__":
    main(sys.argv[1:])
