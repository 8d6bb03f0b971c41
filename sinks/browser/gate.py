"""HTTP: the files of the page, and the way to the WebSocket; everything else is refused."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from sinks.browser.guard import HEADERS, Door, static_files

LIVE = "/live"


class Limited(ServerConnection):
    """A connection that is ended at once where there are too many, before it has said a byte."""

    open = 0
    most = 64

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        Limited.open += 1
        super().connection_made(transport)
        if Limited.open > Limited.most and isinstance(transport, asyncio.Transport):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        Limited.open -= 1
        super().connection_lost(exc)


class Gate:
    """Answers requests out of a table."""

    def __init__(self, door: Door, room: Callable[[], bool]) -> None:
        """room: tells whether one more viewer may come."""
        self._door, self._room = door, room
        self._files = static_files()

    def request(self, connection: ServerConnection, request: Request) -> Response | None:
        """A file, a refusal, or None: go on with the WebSocket."""
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        host = hosts[0] if len(hosts) == 1 else None
        path = request.path.split("?")[0]
        if not self._door.knows_host(host):
            return _response(HTTPStatus.MISDIRECTED_REQUEST, "this name is not known here: see `hosts` in docs/page.md")
        if path == LIVE:
            if len(origins) > 1 or not self._door.knows_origin(origins[0] if origins else None, host):
                return _response(HTTPStatus.FORBIDDEN, "a page of another site may not look at this one")
            return None if self._room() else _response(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers")
        if path not in self._files:
            return _response(HTTPStatus.NOT_FOUND, "there is nothing here")
        kind, content = self._files[path]
        return _response(HTTPStatus.OK, content, kind)


def _response(status: HTTPStatus, content: str | bytes, kind: str = "text/plain; charset=utf-8") -> Response:
    body = content.encode() if isinstance(content, str) else content
    length = ("Content-Length", str(len(body)))
    headers = Headers([("Content-Type", kind), length, ("Connection", "close"), *HEADERS])
    return Response(status.value, status.phrase, headers, body)
