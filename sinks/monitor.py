"""Sink `monitor`: the latest results and a small image on a ZMQ socket, in karabo-bridge 2.2 messages.

    karabo_bridge.Client("tcp://127.0.0.1:45454", sock="SUB").next()

Sources of a message: `inbeam/<product>` (the fields and axes of each processor), `inbeam/image` (`data`, pooled from
the latest frame) and `inbeam/counters`. The train id is the frame number.

A product that belongs to the scan (a map's images) is there as a whole, however late a client comes; an array that is
larger than `whole_mb` (its cube) with its newest piece, which begins at the indices `<field>.start`.

Its lane keeps the newest frame only; `rate_hz` times a second that one is decoded, pooled, packed and given to the
socket without waiting. Nobody there: nothing to do.

On a network that is not trusted use CURVE keys: docs/network.md.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from sinks.live.karabo import message, timestamp
from sinks.live.preview import bad_pixels, preview
from sinks.live.socket import Pattern, Service
from sinks.live.whole import Wholes
from stream.codec.payload import decode
from stream.context import ALONE, Context
from stream.errors import CorruptPayload, SinkFailed
from stream.events import Array, Frame, FrameStatus, Item, ScanEnd, ScanStart, Update
from stream.ledger import Stored
from stream.preflight import Known, Problem
from stream.products import Product, shown
from stream.registry import CHANGES, Options
from stream.roles import Counters, Sink
from stream.wire.endpoint import check, taken

WATCH_S = 0.05
"""How often the connections are looked at: what a hostile client can send in this time has to be borne."""
HEARTBEAT_S = 1.0
"""Without news the last message is repeated this often, so that a client that comes late sees something."""


class Config(Options):
    """Options of the sink `monitor`."""

    type: Literal["monitor"] = "monitor"
    endpoint: str = Field(
        "tcp://127.0.0.1:45454", description="ZMQ address to listen on; this machine only, unless you say otherwise"
    )
    pattern: Pattern = Field("pub", description="pub: for SUB clients, all get all; rep: for REQ; push: for PULL")
    rate_hz: float = Field(5.0, gt=0, le=100, description="Messages per second, at most", json_schema_extra=CHANGES)
    image: Literal["mean", "max", "none"] = Field(
        "mean",
        description="How blocks of pixels become one in the small image; none: no image (and no decoding)",
        json_schema_extra=CHANGES,
    )
    image_size: int = Field(
        512, ge=8, le=8192, description="Longest side of the small image, pixels", json_schema_extra=CHANGES
    )
    channel: str | None = Field(
        None, description="Channel (threshold) of the image; null: the first", json_schema_extra=CHANGES
    )
    whole_mb: float = Field(
        32.0,
        ge=0,
        description="Arrays that belong to the scan, such as a map's images, are shown whole as long as those of a "
        "product are no larger, MB (10^6 bytes); larger ones by their newest piece",
    )
    high_water_mark: int = Field(2, ge=1, le=1000, description="Messages kept for a slow client; more are dropped")
    max_request_bytes: int = Field(1024, ge=64, description="Longest message taken from a client, bytes")
    curve_secret_key: Path | None = Field(None, description="CURVE: our certificate (*.key_secret)")
    curve_clients: Path | None = Field(
        None, description="CURVE: folder of public keys of the clients let in; null: all"
    )
    required: bool = Field(False, description="Stop the run if this sink fails; false: go on without it")

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        return value if value.startswith("inproc://") else check(value, listening=True)

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A port that another program has."""
        if problem := taken(self.endpoint):
            yield "endpoint", problem

    @model_validator(mode="after")
    def _keys(self) -> "Config":
        if self.curve_clients is not None and self.curve_secret_key is None:
            raise ValueError("curve_clients goes with curve_secret_key: without it nothing is encrypted or checked")
        for path, there in ((self.curve_secret_key, Path.is_file), (self.curve_clients, Path.is_dir)):
            if path is not None and not there(path):
                raise ValueError(f"{path} is not there: make keys with `inbeam keys` (docs/network.md)")
        return self


def create(config: Config, context: Context = ALONE) -> Sink:
    """The sink; its socket is bound at the start of the first scan."""
    return Monitor(config, context)


class Monitor:
    """See the module. Whatever the clients do, nothing here waits for them."""

    lane: Literal["block", "latest"] = "latest"

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.service = Service(
            config.endpoint,
            config.pattern,
            high_water_mark=config.high_water_mark,
            max_request_bytes=config.max_request_bytes,
            secret_key=config.curve_secret_key,
            clients=config.curve_clients,
        )
        self._config, self._context = config, context
        self._bound = False
        self._scan: ScanStart | None = None
        self._products: Sequence[Product] = ()
        self._frame: Frame | None = None
        self._wholes = Wholes((), 0)
        self._counters = Counters()
        self._status = ""
        self._image: Array | None = None
        self._bad: dict[str, Array | None] = {}
        self._parts: list[Any] = []
        self._stale = True
        self._due = self._packed = self._watched = 0.0

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """Bind, for the first scan. Raises SinkFailed if the port is taken, or the scan does not have the channel."""
        if self._config.channel not in (None, *scan.channels):
            text = f"the monitor's `channel` {self._config.channel!r} is none of scan {scan.name}"
            raise SinkFailed(f"{text}, which has {', '.join(scan.channels)}: correct it")
        if not self._bound:
            self.service.bind()
            self._bound = True
            if self._config.image != "none":
                preview(np.zeros((1, 1), scan.dtype.newbyteorder("=")), 1, "mean")  # compile before the frames come
        products = shown(products)
        self._scan, self._products, self._frame = scan, products, None
        self._wholes = Wholes(products, int(self._config.whole_mb * 1e6))
        self._bad = {channel: bad_pixels(scan, products, channel) for channel in scan.channels}
        self._status, self._stale = "running", True
        return None

    def write(self, item: Item) -> None:
        """Keep what is newest: a frame if it has pixels and is no late one, and all of what belongs to the scan."""
        if isinstance(item, Frame):
            if item.payloads and item.status is not FrameStatus.LATE:
                self._frame, self._stale = item, True
        elif isinstance(item, Update):
            self._wholes.take(item)
            self._stale = True
        elif item.path.startswith(f"{self._context.name}."):
            document = {**self._config.model_dump(), item.path.removeprefix(f"{self._context.name}."): item.value}
            self._config = Config.model_validate(document)

    def tick(self, counters: Counters) -> None:
        """Look at the connections, and send if it is time."""
        self._counters = counters
        now = time.monotonic()
        if self._bound and now - self._watched >= WATCH_S:
            self._watched = now
            self.service.watch()
        if self._bound and now >= self._due:
            period = 1.0 / self._config.rate_hz
            self._due = max(self._due + period, now + period / 2)
            self._send(now)

    def finish(self, end: ScanEnd) -> None:
        """The last frame and the status go out at once."""
        self._status, self._stale = end.status.value, True
        self._send(time.monotonic())

    def close(self) -> None:
        """Free the port, within a second."""
        self.service.close()

    def _send(self, now: float) -> None:
        stale = self._stale or now - self._packed >= HEARTBEAT_S
        if self.service.wanted() and (stale or self._config.pattern == "rep"):
            if stale:
                self._parts = self._pack(self._scan, self._products, self._frame, self._status)
                self._packed, self._stale = now, False
            self.service.send(self._parts)

    def _pack(self, scan: ScanStart | None, products: Sequence[Product], frame: Frame | None, status: str) -> list[Any]:
        """One message of what is newest."""
        number = -1 if frame is None else frame.index
        now = time.time()
        service = self.service
        about = {
            **asdict(self._counters),
            "status": status,
            "monitor_sent": service.sent,
            "monitor_dropped": service.dropped,
            "monitor_refused": service.refused,
            "monitor_shed": service.shed,
            "monitor_cut": service.guard.cut,
        }
        data: dict[str, dict[str, Any]] = {"inbeam/counters": about}
        metadata = {"inbeam/counters": timestamp(now, max(number, 0))}
        if frame is not None and scan is not None:
            stamp = timestamp(frame.received, number)
            for product in products:
                results = frame.results.get(product.name)
                if results is not None:
                    data[f"inbeam/{product.name}"] = {
                        **_described(product),
                        **results,
                        "frame": number,
                        "scan": scan.name,
                    }
                    metadata[f"inbeam/{product.name}"] = stamp
        for product in products:
            if scan is not None and product.name in self._wholes.products:
                whole, pieces = self._wholes.of(product.name)
                newest = {key: piece.values for key, piece in pieces.items()}
                starts = {f"{key}.start": list(piece.start) for key, piece in pieces.items()}
                described = {**_described(product), **data.get(f"inbeam/{product.name}", {})}
                data[f"inbeam/{product.name}"] = {**described, **whole, **newest, **starts, "scan": scan.name}
                metadata[f"inbeam/{product.name}"] = timestamp(now, max(number, 0))
        if frame is not None and scan is not None:
            small = self._small(frame)
            if small is not None:
                data["inbeam/image"] = {**small, "frame": number, "scan": scan.name}
                metadata["inbeam/image"] = stamp
        return message(data, metadata)

    def _small(self, frame: Frame) -> dict[str, Any] | None:
        config = self._config
        if config.image == "none" or not frame.payloads:
            return None
        channel = config.channel or next(iter(frame.payloads))
        if channel not in frame.payloads:
            return None
        payload = frame.payloads[channel]
        kept = self._image
        fits = kept is not None and kept.shape == payload.shape and kept.dtype == payload.dtype.newbyteorder("=")
        try:
            self._image = decode(payload, kept if fits else None)
        except CorruptPayload:
            return None
        bad = self._bad.get(channel)
        fitting = bad if bad is not None and bad.shape == self._image.shape else None
        image, step = preview(self._image, config.image_size, config.image, fitting)
        return {"data": image, "channel": channel, "binning": step, "shape": list(payload.shape)}


def _described(product: Product) -> dict[str, Any]:
    """Axes and units of a product; `<name>.unit` beside each array."""
    found: dict[str, Any] = {"signal": product.signal, "axes": [axis.name for axis in product.axes]}
    for axis in product.axes:
        found[axis.name] = axis.values
        found[f"{axis.name}.unit"] = axis.unit
    for item in product.fields:
        found[f"{item.name}.unit"] = item.unit
    return found
