"""ZMQ addresses: which there are, and which of them need IPv6.

tcp://detector.example.org:31001, tcp://172.31.1.1:31001     a name or an IPv4 address
tcp://[fd00::1]:31001, tcp://[fe80::1%eth0]:31001            IPv6 in brackets, with its zone
tcp://eth1:31001, tcp://*:31001                              to listen: an interface, or all
tcp://eth1:0;172.31.1.1:31001                                to connect: from this interface, address or port
ipc:///run/detector                                          a socket of this machine
"""

import errno
import re
import socket

import zmq

HOST = r"\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9._-]+|\*"
SOURCE = rf"(?:(?P<source>{HOST}):(?P<source_port>\d{{1,5}});)?"
ENDPOINT = re.compile(rf"tcp://{SOURCE}(?P<host>{HOST}):(?P<port>\d{{1,5}}|\*)|ipc://.+")


def check(endpoint: str, *, listening: bool | None = None) -> str:
    """The same address. Raises ValueError if it is none or, where that is known, none to listen at or to connect to."""
    found = ENDPOINT.fullmatch(endpoint)
    if found is None:
        raise ValueError(
            f"{endpoint!r} is no ZMQ address: write tcp://host:port, such as tcp://detector.example.org:31001, with an "
            "IPv6 address in brackets"
        )
    for port in (found["port"], found["source_port"]):
        if port is not None and port != "*" and int(port) >= 65536:
            raise ValueError(f"port {port} of {endpoint} is not between 1 and 65535")
    if listening is False and (found["host"] == "*" or found["port"] in ("*", "0")):
        raise ValueError(f"{endpoint} is an address to listen at (bind: true): name the host and port to connect to")
    if listening is True and found["source"] is not None:
        raise ValueError(f"{endpoint} has a source address, which goes with connecting: name one address to listen at")
    return endpoint


def any_port(endpoint: str) -> str:
    """The address as ZMQ binds it: port 0 is a free one."""
    return f"{endpoint[:-1]}*" if endpoint.startswith("tcp://") and endpoint.endswith(":0") else endpoint


def needs_ipv6(endpoint: str) -> bool:
    """True for IPv6 addresses, and for names that have no other. Such a socket must be told (zmq.IPV6) before it opens.

    Not simply always: a name with both is then tried with IPv6 only, where the other end may not listen.
    """
    found = ENDPOINT.fullmatch(endpoint)
    host = found["host"] if found is not None else None
    if host is None or host == "*":
        return False
    return "[" in endpoint or (bool(re.search("[A-Za-z]", host)) and _has(host, socket.AF_INET6))


def unknown_host(endpoint: str) -> str:
    """That the name of an address means nothing here, in words, or "". May ask a name server, which takes its time."""
    found = ENDPOINT.fullmatch(endpoint)
    host = found["host"] if found is not None else None
    if host is None or host == "*" or "[" in host or _addresses(host):
        return ""
    return f"no machine is known by the name {host}"


def taken(endpoint: str) -> str:
    """Why nothing can listen at a TCP address just now, in words, or "". Nothing stays bound."""
    found = ENDPOINT.fullmatch(endpoint)
    if found is None or found["host"] is None or found["port"] in ("*", "0"):
        return ""
    host = found["host"].strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("" if host == "*" else host, int(found["port"])))
    except (OSError, OverflowError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return f"cannot listen at {endpoint}: {words}; {remedy(getattr(error, 'errno', None))}"
    return ""


def remedy(number: int | None) -> str:
    """What to do where nothing can listen, by the number of the system's error."""
    if number in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return "give an address that this machine has, such as 127.0.0.1"
    if number == errno.EACCES:
        return "give a port from 1024 on: those below are the administrator's"
    return "stop what has this port, or give another"


def words(error: zmq.ZMQError) -> str:
    """Those of the system alone: ZMQ puts the address behind them."""
    return str(zmq.strerror(error.errno or 0))


def reached(endpoint: str, patience_s: float = 1.0) -> bool | None:
    """True if something listens at the TCP address that we would connect to; None for other addresses.

    The connection is closed again before any message: nothing is taken from the detector.
    """
    found = ENDPOINT.fullmatch(endpoint)
    if found is None or found["host"] in (None, "*"):
        return None
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=patience_s):
            return True
    except (OSError, OverflowError):
        return False


def canonical(endpoint: str) -> str:
    """The same text for every way to write an address to connect to: numbers for names, no source address."""
    found = ENDPOINT.fullmatch(endpoint)
    if found is None or found["host"] is None:
        return endpoint
    addresses = sorted(found[1] for found in _addresses(found["host"].strip("[]")))
    return f"{addresses[0] if addresses else found['host']} {found['port']}"


def _has(name: str, family: socket.AddressFamily) -> bool:
    """True if the name has an address of this family, and no IPv4 address."""
    families = {found for found, _ in _addresses(name)}
    return family in families and socket.AF_INET not in families


def _addresses(name: str) -> list[tuple[socket.AddressFamily, str]]:
    """None for an interface, and for a name that nobody knows."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(family, str(address[0])) for family, *_, address in found]
