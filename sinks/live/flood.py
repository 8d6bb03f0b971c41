"""What the clients of a listening TCP port may send: a little. A connection that sends more is cut.

ZMQ bounds the length of one part of a message and the number of whole messages, but not the parts of an unfinished
one: a client that never finished its first message made the process grow by 400 MB per second; now it is cut after some
5 MB. Monitor clients have next to nothing to say (a handshake, a subscription, `next`), so the kernel's count of the
bytes received tells friend from foe.

Linux only (/proc/self/fd, TCP_INFO); elsewhere nothing is cut: leave the port on the loopback interface, or use CURVE.
"""

import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

BURST_BYTES = 65536
"""For the handshake and some hundred subscriptions."""
BYTES_PER_SECOND = 4096
"""From then on: a hundred requests `next` per second are 1 kB."""
BYTES_RECEIVED_AT = 128
"""Offset of tcpi_bytes_received, u64, in the kernel's struct tcp_info (linux/tcp.h, since 4.1)."""
DESCRIPTORS = "/proc/self/fd"


class Guard:
    """Watches the connections of one port of this process. `cut` counts those that were ended."""

    def __init__(self) -> None:
        self.cut = 0
        self._since: dict[tuple[object, ...], float] = {}

    def look(self, port: int) -> None:
        """End every connection that has sent more than it may; to be called some times per second."""
        now = time.monotonic()
        seen: dict[tuple[object, ...], float] = {}
        for connection, peer in _connections(port):
            with connection:
                seen[peer] = since = self._since.get(peer, now)
                if _received(connection) > BURST_BYTES + BYTES_PER_SECOND * (now - since):
                    self.cut += _disconnect(connection)
        self._since = seen


def port_of(address: str) -> int | None:
    """The port of tcp://host:port, None for other transports and where connections cannot be looked at."""
    if not address.startswith("tcp://") or not sys.platform.startswith("linux"):
        return None
    number = address.rpartition(":")[2]
    return int(number) if number.isdigit() else None


def _connections(port: int) -> Iterator[tuple[socket.socket, tuple[object, ...]]]:
    """Duplicates of the accepted connections of that port, and who is at the other end."""
    for name in os.listdir(DESCRIPTORS):
        try:
            descriptor = os.dup(int(name))
        except OSError:
            continue
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:  # no socket
            os.close(descriptor)
            continue
        try:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == port:
                peer = connection.getpeername()  # the listening socket has none
                yield connection, peer
                continue
        except OSError:
            pass
        connection.close()


def _received(connection: socket.socket) -> int:
    """Bytes that the kernel has taken from the other end."""
    try:
        about = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0
    return int(struct.unpack_from("=Q", about, BYTES_RECEIVED_AT)[0]) if len(about) >= BYTES_RECEIVED_AT + 8 else 0


def _disconnect(connection: socket.socket) -> bool:
    """Reset the connection, for all who hold it: connect(2) to AF_UNSPEC. Unlike `shutdown`, ZMQ cannot overlook it.

    False if it was gone already.
    """
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    return bool(ctypes.CDLL(None).connect(connection.fileno(), nowhere, len(nowhere)) == 0)
