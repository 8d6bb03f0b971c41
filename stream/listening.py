"""Where a run lets others ask, over plain TCP: host:port, with IPv6 in brackets; a port alone is on this machine."""

import ipaddress
import re
import socket

ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+|\*)?:)?(?P<port>\d{1,5})")
LOOPBACK = "127.0.0.1"


def parts(address: str) -> tuple[str, int]:
    """(host without brackets, "" for all; port). A port alone is on this machine. Raises ValueError."""
    found = ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) >= 65536:
        raise ValueError(f"{address!r} is no address to listen at: write host:port, such as 127.0.0.1:9464")
    host = (found["host"] or LOOPBACK).strip("[]")
    return ("" if host == "*" else host), int(found["port"])


def later(address: str, ports: int) -> str:
    """The address so many ports behind. Raises ValueError where there is none."""
    start, _, port = address.rpartition(":")
    found = f"{start}:{int(port) + ports}"
    parts(found)
    return found


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made = socket.socket(found[0], socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(found[4])
        made.listen(16)
    except BaseException:
        made.close()
        raise
    return made


def is_loopback(host: str) -> bool:
    """True if nobody but this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
