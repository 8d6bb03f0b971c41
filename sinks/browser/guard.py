"""Who is let in, and what every answer carries: nothing of a request ever reaches the disk.

The files of the page are read once, at the start, into a table; a path is looked up in it and in nothing else. `Host`
is checked against DNS rebinding (another site's name that suddenly points at this machine), `Origin` against pages of
other sites that open a WebSocket here.
"""

import hmac
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def static_files() -> Mapping[str, tuple[str, bytes]]:
    """Path of a request -> (content type, content). All there is to be had."""
    found = {}
    for entry in files("sinks.browser").joinpath("static").iterdir():
        kind = KINDS.get("." + entry.name.rpartition(".")[2])
        if kind is not None:
            found[f"/{entry.name}"] = (kind, entry.read_bytes())
    found["/"] = found["/index.html"]
    return found


@dataclass(frozen=True, slots=True)
class Door:
    """loopback: nobody but this machine gets here. hosts: further names of this machine. tokens: role -> word."""

    loopback: bool
    hosts: Sequence[str]
    tokens: Mapping[str, str]

    def knows_host(self, host: str | None) -> bool:
        """True if the header `Host` names this machine. An address cannot be rebound, so any is taken beyond."""
        name = _name(host)
        if name is None:
            return False
        if name in LOOPBACK or name in {each.lower() for each in self.hosts}:
            return True
        if self.loopback:
            return False
        here = socket.gethostname().lower()
        return _is_address(name) or name == here or name.startswith(f"{here}.")

    def knows_origin(self, origin: str | None, host: str | None) -> bool:
        """True if a page of ours asks, or no browser at all: every browser says where its page is from."""
        if origin is None:
            return True
        try:
            parts = urlsplit(origin)
            return parts.scheme in ("http", "https") and host is not None and parts.netloc.lower() == host.lower()
        except ValueError:
            return False

    def role(self, token: str) -> str | None:
        """`operator`, `viewer`, or None for a wrong word. Without words everybody on this machine may do everything."""
        if not self.tokens:
            return "operator"
        given = token.encode()
        found = None
        for role, word in self.tokens.items():
            if hmac.compare_digest(given, word.encode()):
                found = role
        return found


def _name(host: str | None) -> str | None:
    """The name in a Host header, lower case, without port and brackets."""
    if host is None or len(host) > 255:
        return None
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname if parts.port is not None or not host.endswith(":") else None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
