"""The table of jobs, for a terminal and for the page."""

import shlex

from stream.jobs.records import Job
from stream.jobs.state import Status

HEAD = ("RESOURCE", "NAME", "ID", "NATIVE ID", "STATUS", "EXIT", "COMMAND")


def row(number: int, job: Job | None, status: Status) -> tuple[str, ...]:
    """The cells of a job, as in HEAD; job: None where its description cannot be read."""
    if job is None:
        return "?", "?", str(number), "", status.state, "", ""
    # control characters in an argument must not reach the terminal
    command = "".join(sign if sign.isprintable() else "?" for sign in shlex.join(job.command))
    return job.resource, job.name, str(number), status.native_id, status.state, status.exit_text, command
