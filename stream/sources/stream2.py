"""Source `stream2`: a DECTRIS detector in stream2 (`format: cbor`), port 31001."""

from typing import Literal

from stream.context import ALONE, Context
from stream.sources.dectris import SocketSource
from stream.wire.socket_options import SocketOptions
from stream.wire.stream2 import Decoder


class Config(SocketOptions):
    """A DECTRIS detector in stream2. Connect before it is armed: the start message is sent once."""

    type: Literal["stream2"]


def create(config: Config, context: Context = ALONE) -> SocketSource:
    """The source that a configuration asks for."""
    decoder = Decoder(
        config.limits,
        monitor_key=config.monitor_key,
        source=f"stream2 {config.endpoint}",
        grace_s=config.grace_ms / 1e3,
    )
    return SocketSource(config, decoder)
