"""What the YAML says of a detector's socket.

CURVE, where the network is not trusted (it encrypts, and admits only who knows the right key):
1. make a pair of keys for each of both ends: `inbeam keys NAME`;
2. keep `*.key_secret` where it was made, carry the public `*.key` of the sending end here;
3. connecting: `secret_key: keys/inbeam.key_secret` and `server_key: keys/detector.key`;
4. bound (`bind: true`): `secret_key` alone, and the sender gets our public key as its server key;
5. DECTRIS detectors do not speak CURVE: put it between the beamline's forwarder and inbeam.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import zmq.auth
from pydantic import Field, field_validator, model_validator

from stream.preflight import Known, Problem
from stream.registry import Options
from stream.wire.endpoint import check, taken, unknown_host
from stream.wire.limits import Limits, megabytes

Kind: TypeAlias = Literal["pull", "sub", "req"]


class ConnectionOptions(Options):
    """Where messages come from, and how much of them is held before the pipeline takes them."""

    endpoint: str = Field(
        description="ZMQ address: tcp://host:port of the detector (of this machine with bind: true); IPv6 in brackets; "
        "tcp://eth1:0;host:port connects from that interface"
    )
    bind: bool = Field(False, description="Wait for senders at this address instead of connecting to it")
    high_water_mark: int = Field(
        128, ge=1, le=1_000_000, description="Messages that ZMQ holds for us; the detector buffers what follows"
    )
    max_message_mb: float = Field(
        1024.0, gt=0, le=16384, description="Largest message taken, MB (10^6 bytes); a 16M header with masks has 145"
    )
    server_key: Path | None = Field(None, description="CURVE: public certificate (*.key) of the sending end")
    secret_key: Path | None = Field(None, description="CURVE: our own certificate (*.key_secret)")

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        return check(value)

    @field_validator("server_key", "secret_key")
    @classmethod
    def _certificate(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                zmq.auth.load_certificate(value)
            except (OSError, ValueError) as error:
                raise ValueError(f"{value} is no CURVE certificate ({error}): make one with `inbeam keys`") from error
        return value

    @model_validator(mode="after")
    def _together(self) -> "ConnectionOptions":
        check(self.endpoint, listening=self.bind)
        if self.server_key is not None and (self.bind or self.secret_key is None):
            raise ValueError(
                "server_key goes with secret_key and without bind: see the docstring of stream.wire.socket"
            )
        if self.secret_key is not None and not self.bind and self.server_key is None:
            raise ValueError("secret_key without server_key: give the public certificate of the sending end too")
        if self.secret_key is not None and zmq.auth.load_certificate(self.secret_key)[1] is None:
            raise ValueError(f"secret_key {self.secret_key} holds no secret key: give the *.key_secret file")
        return self

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A name that nobody knows, or a port that another program has."""
        problem = taken(self.endpoint) if self.bind else unknown_host(self.endpoint)
        if problem:
            yield "endpoint", problem if self.bind else f"{problem}: correct it, or the machine's name server"

    @property
    def limits(self) -> Limits:
        """What one message may ask for."""
        return megabytes(self.max_message_mb)

    @property
    def kind(self) -> Kind:
        """Which socket."""
        return "pull"


class SocketOptions(ConnectionOptions):
    """Of a detector that pushes its messages."""

    socket: Literal["pull", "sub"] = Field(
        "pull", description="pull: the detector's PUSH; sub: a forwarder's PUB, which drops what is not taken in time"
    )
    monitor_key: str | None = Field(
        None, description="Reading of an image's user data that is the incident beam's, such as beam.i0"
    )
    grace_ms: float = Field(
        500.0,
        ge=0,
        description="How long images may come behind their end message, or before their start message, as those of "
        "several senders do, ms",
    )

    @property
    def kind(self) -> Kind:
        """As the YAML says."""
        return self.socket
