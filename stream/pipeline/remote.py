"""The socket of `run.control`: JSON requests that look at options and change them.

    {"set": "processors.roi.regions", "value": [...], "who": "alice", "revision": 3}   revision may be left out
    {"get": "processors.roi.regions"}

Answers are {"ok": true, ...} or {"ok": false, "problems": [[path, text], ...]}. A ROUTER socket, so that a client that
goes away, or sends nonsense, holds up nobody. Loopback or ipc unless the configuration says otherwise; CURVE as the
monitor's (see docs/network.md).
"""

import json
import logging
import threading
from pathlib import Path
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from stream.context import Control
from stream.errors import ConfigError
from stream.wire.endpoint import any_port, needs_ipv6, remedy, words

log = logging.getLogger("inbeam")
LONGEST_REQUEST = 65_536
POLL_MS = 200
DOMAIN = b"inbeam-control"


class Remote:
    """Serves one Control from a thread of its own, from `start` to `close`."""

    def __init__(
        self, endpoint: str, control: Control, *, secret_key: Path | None = None, clients: Path | None = None
    ) -> None:
        self._endpoint, self._control = endpoint, control
        self._secret_key, self._clients = secret_key, clients
        self.address = endpoint
        """Where it is bound; a port of * or 0 is known after `start`."""
        self._stopping = threading.Event()
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind. Raises ConfigError if the address cannot be had, or a key cannot be read."""
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, POLL_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, LONGEST_REQUEST)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 2000)
        socket.setsockopt(zmq.IPV6, int(needs_ipv6(self._endpoint)))
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        try:
            if self._secret_key is not None:
                if self._clients is not None:
                    self._authenticator = ThreadAuthenticator(self._context)
                    self._authenticator.start()
                    self._authenticator.configure_curve(domain=DOMAIN.decode(), location=str(self._clients))
                socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(self._secret_key)
                socket.curve_server = True
            socket.bind(any_port(self._endpoint))
        except (zmq.ZMQError, OSError, ValueError) as error:
            socket.close(0)
            self.close()
            text = f"{words(error)}; {remedy(error.errno)}" if isinstance(error, zmq.ZMQError) else str(error)
            raise ConfigError([("run.control", f"cannot use {self._endpoint}: {text}")]) from error
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._serve, args=(socket,), name="inbeam-control", daemon=True)
        self._thread.start()
        log.info("options can be changed at %s: inbeam set KEY=VALUE --control %s", self.address, self.address)

    def close(self) -> None:
        """End within a moment; free the address."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy(linger=POLL_MS)

    def _serve(self, socket: "zmq.Socket[bytes]") -> None:
        try:
            while not self._stopping.is_set():
                if not socket.poll(POLL_MS):
                    continue
                identity, *parts = socket.recv_multipart()
                body = parts[-1] if len(parts) <= 2 else b""
                reply = json.dumps(answer(self._control, body)).encode()
                try:
                    socket.send_multipart([identity, *parts[:-1][:1], reply], zmq.NOBLOCK)
                except zmq.ZMQError:
                    log.info("a client of run.control went away before its answer")
        finally:
            socket.close(POLL_MS)


def answer(control: Control, body: bytes) -> dict[str, Any]:
    """The answer to one request, whatever it is."""
    try:
        asked = json.loads(body)
        if not isinstance(asked, dict) or not isinstance(asked.get("set", asked.get("get")), str):
            raise ValueError("neither {'set': path, 'value': ...} nor {'get': path}")
        if "get" in asked:
            return {"ok": True, "revision": control.revision, "value": control.value(asked["get"])}
        if "value" not in asked:
            raise ValueError("no value to set")
        revision = asked.get("revision")
        if revision is not None and type(revision) is not int:
            raise ValueError("revision must be an integer")
        taken = control.change(asked["set"], asked["value"], str(asked.get("who", "somebody"))[:64], revision)
    except ConfigError as error:
        return {"ok": False, "problems": [list(problem) for problem in error.problems]}
    except (ValueError, RecursionError) as error:
        return {"ok": False, "problems": [["", f"not understood: {error}"]]}
    except Exception as error:  # the run must not end because of a client
        log.exception("a change of options failed")
        return {"ok": False, "problems": [["", f"{type(error).__name__}: {error}"]]}
    return {"ok": True, "scan": taken.scan, "frame": taken.frame, "revision": taken.revision, "text": taken.text}


def ask(
    endpoint: str, request: dict[str, Any], *, keys: tuple[Path, Path] | None = None, patience_s: float = 10.0
) -> dict[str, Any]:
    """Send one request and return the answer. keys: CURVE certificates (our secret one, the public one of the run).

    Raises ConfigError if nobody answers.
    """
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int(needs_ipv6(endpoint)))
        if keys is not None:
            socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(keys[0])
            socket.curve_serverkey, _ = zmq.auth.load_certificate(keys[1])
        socket.connect(endpoint)
        socket.send(json.dumps(request).encode())
        if not socket.poll(int(patience_s * 1000)):
            raise ConfigError([("--control", f"nobody answers at {endpoint}: is `run.control` set there?")])
        reply: dict[str, Any] = json.loads(socket.recv())
        return reply
    except (zmq.ZMQError, OSError, ValueError) as error:
        raise ConfigError([("--control", f"cannot ask {endpoint}: {error}")]) from error
    finally:
        socket.close(0)
        context.destroy(linger=0)
