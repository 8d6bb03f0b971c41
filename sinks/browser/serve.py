"""The process that serves the page: `python -m sinks.browser.serve LINK LISTENING SLOT`, three file descriptors.

It serves with the lowest priority: where inbeam needs the whole machine, the page gets slower, not the pipeline. What
is needed once, its start and kernels that have to be loaded or compiled, has a priority below that of inbeam, but not
the lowest, at which it would take minutes on a busy machine.
"""

import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

AT_FIRST, NICENESS = 5, 19


def main(arguments: Sequence[str]) -> None:
    """Never returns: whatever a thread still does, the process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for inbeam, which then ends us
    os.nice(AT_FIRST)
    hurry = ThreadPoolExecutor(1)
    hurry.submit(int).result()  # the thread is there, with the priority of now
    from sinks.browser import serving

    os.nice(NICENESS - AT_FIRST)  # of this thread, and of those that it will start
    link, listening, slot = map(int, arguments)
    serving.run(link, listening, slot, hurry)


if __name__ == "__main__":
    main(sys.argv[1:])
