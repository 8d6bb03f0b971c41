"""Where the page listens: host:port, with IPv6 in brackets."""

import ipaddress
import re
import socket

ENDPOINT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9._-]+|\*):(?P<port>\d{1,5})")
BACKLOG = 64


def check(endpoint: str) -> str:
    """The same address. Raises ValueError if it is none."""
    found = ENDPOINT.fullmatch(endpoint)
    if found is None or int(found["port"]) >= 65536:
        raise ValueError(f"{endpoint!r} is no address to listen at: write host:port, such as 127.0.0.1:8765")
    return endpoint


def parts(endpoint: str) -> tuple[str, int]:
    """(host without brackets, port)."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def loopback(endpoint: str) -> bool:
    """True if nobody but this machine reaches it."""
    host, _ = parts(endpoint)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def listen(endpoint: str) -> socket.socket:
    """A listening socket. Raises OSError."""
    host, port = parts(endpoint)
    host = "" if host == "*" else host
    family, _, _, _, place = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def url(listening: socket.socket) -> str:
    """For the address bar."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
