"""Source `stins`: MAX IV's secondary stream, as its streaming receivers send it on."""

from typing import Literal

from stream.context import ALONE, Context
from stream.sources.dectris import SocketSource
from stream.wire.socket_options import SocketOptions
from stream.wire.stins import Decoder


class Config(SocketOptions):
    """MAX IV's secondary stream (STINS). Connect before the scan: its header is sent once."""

    type: Literal["stins"]


def create(config: Config, context: Context = ALONE) -> SocketSource:
    """The source that a configuration asks for."""
    decoder = Decoder(
        config.limits,
        monitor_key=config.monitor_key,
        source=f"stins {config.endpoint}",
        grace_s=config.grace_ms / 1e3,
    )
    return SocketSource(config, decoder)
