"""Who else on this machine reads from the same detector: a second reader takes every other image away.

The claim is a name in the kernel (an abstract Unix socket), which goes when the process does, whatever ends it. Linux
only; elsewhere nobody is found.
"""

import hashlib
import os
import socket
import struct
import sys

from stream.wire.endpoint import canonical

PROBES = 128


class Claim:
    """That this process reads from an endpoint, until `close`."""

    def __init__(self, endpoint: str) -> None:
        self._name = "\0inbeam-reader-" + hashlib.sha256(canonical(endpoint).encode()).hexdigest()[:24]
        self._socket: socket.socket | None = None

    def make(self) -> int | None:
        """None if the claim is ours now; else the process that has it, 0 if that cannot be known."""
        if self._socket is not None or not sys.platform.startswith("linux"):
            return None
        mine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mine.bind(self._name)
            mine.listen(PROBES)
        except OSError:
            mine.close()
            return self._holder()
        self._socket = mine
        return None

    def close(self) -> None:
        """Others may have it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _holder(self) -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self._name)
                process, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            except OSError:
                return 0
        return int(process)


def described(process: int, endpoint: str) -> str:
    """What it means that this process reads from the endpoint too."""
    who = f"process {process}" if process else "another process"
    who = "this process" if process == os.getpid() else who
    return f"{who} on this machine reads from {endpoint} too: each gets only a part of the images; stop one of them"
