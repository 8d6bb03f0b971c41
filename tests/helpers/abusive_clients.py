"""Clients of a socket that do what they should not, in a process of their own: see `Abuse`.

`python abusive_clients.py tcp://127.0.0.1:PORT` abuses it until its standard input is closed, then prints the counts.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack

import zmq


class Clients:
    """Five stuck subscribers, a flood of subscriptions, one of garbage, and one of connections that vanish."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("tcp://").split(":")
        self._address = address
        self._place = host, int(port)
        self._ended = threading.Event()
        self.done = dict.fromkeys(("stuck", "subscribe", "garbage", "vanish"), 0)
        actions = (self._stuck, self._subscribe, self._garbage, self._vanish)
        self._threads = [threading.Thread(target=action) for action in actions]

    def start(self) -> None:
        """Begin, all at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop and wait."""
        self._ended.set()
        for thread in self._threads:
            thread.join(20)

    def _stuck(self) -> None:
        """Subscribe, and never read."""
        with zmq.Context() as context, ExitStack() as stack:
            for _ in range(5):
                sub = stack.enter_context(context.socket(zmq.SUB))
                sub.linger, sub.rcvhwm = 0, 1
                sub.setsockopt(zmq.SUBSCRIBE, b"")
                sub.connect(self._address)
                self.done["stuck"] += 1
            self._ended.wait(120)

    def _subscribe(self) -> None:
        """Thousands of different subscriptions per second, over and over."""
        with zmq.Context() as context:
            while not self._ended.is_set():
                with context.socket(zmq.XSUB) as flood:
                    flood.linger = 0
                    flood.connect(self._address)
                    for number in range(5000):
                        flood.send(b"\x01topic %d" % number)
                        self.done["subscribe"] += 1
                    self._ended.wait(0.05)

    def _garbage(self) -> None:
        """Bytes that are no ZMTP at all."""
        while not self._ended.is_set():
            try:
                with socket.create_connection(self._place, 1) as connection:
                    for _ in range(50):
                        connection.sendall(os.urandom(4096))
                        self.done["garbage"] += 1
            except OSError:
                self._ended.wait(0.005)

    def _vanish(self) -> None:
        """Connect and disappear with a reset, in the middle of the greeting."""
        while not self._ended.is_set():
            try:
                with socket.create_connection(self._place, 1) as connection:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.sendall(b"\xff\x00\x00\x00")
                    self.done["vanish"] += 1
            except OSError:
                pass
            self._ended.wait(0.005)


class Abuse:
    """Context manager: the clients are at work inside the block; `done` counts their deeds after it."""

    def __init__(self, address: str) -> None:
        self._command = [sys.executable, __file__, address]
        self.done: dict[str, int] = {}

    def __enter__(self) -> "Abuse":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stdout.readline() == b"at work\n"
        return self

    def __exit__(self, *_: object) -> None:
        output, _ = self._process.communicate(timeout=40)
        self.done = json.loads(output)


def main(address: str) -> None:
    """Until the standard input is closed."""
    clients = Clients(address)
    clients.start()
    while not all(clients.done.values()):
        threading.Event().wait(0.01)
    print("at work", flush=True)
    sys.stdin.buffer.read()
    clients.stop()
    print(json.dumps(clients.done))


if __name__ == "__main__":
    main(sys.argv[1])
