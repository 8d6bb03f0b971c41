"""Source `simplon`: a DECTRIS detector in SIMPLON stream v1 (`format: legacy`), port 9999."""

from typing import Literal

from pydantic import Field

from stream.context import ALONE, Context
from stream.sources.dectris import SocketSource
from stream.wire.simplon import Decoder
from stream.wire.socket_options import SocketOptions


class Config(SocketOptions):
    """A DECTRIS detector in SIMPLON stream v1. Connect before it is armed: the header is sent once."""

    type: Literal["simplon"]
    thresholds: int | None = Field(
        1, ge=1, le=64, description="Thresholds in each image; null: as the first image says, the scan opens with it"
    )


def create(config: Config, context: Context = ALONE) -> SocketSource:
    """The source that a configuration asks for."""
    decoder = Decoder(
        config.limits,
        thresholds=config.thresholds,
        monitor_key=config.monitor_key,
        source=f"simplon {config.endpoint}",
        grace_s=config.grace_ms / 1e3,
    )
    return SocketSource(config, decoder)
