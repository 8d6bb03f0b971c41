"""Sink `monitor`: the latest results and a small image on a ZMQ socket, in karabo-bridge 2.2 messages.

    karabo_bridge.Client("tcp://127.0.0.1:45454", sock="SUB").next()

Sources of a message: `inbeam/<product>` (the fields and axes of each processor), `inbeam/image` (`data`, pooled from
the latest frame) and `inbeam/counters`. The train id is the frame number.

`write` and `tick` leave the newest frame in a slot and return; a thread of its own does the rest `rate_hz` times a
second: decodes that one frame, pools it, packs it, gives it to the socket without waiting. Nobody there: nothing to do.

On a network that is not trusted, with CURVE:
1. `python -c "import zmq.auth; zmq.auth.create_certificates('keys', 'monitor')"`, and the same with 'viewer';
2. `curve_secret_key: keys/monitor.key_secret`: all is encrypted, and clients know to whom they speak;
3. `curve_clients: keys`: only who has a secret key to a public `*.key` file in this folder is let in;
4. the client: `context.curve_publickey, context.curve_secretkey = zmq.auth.load_certificate("viewer.key_secret")`,
   `context.curve_serverkey = zmq.auth.load_certificate("monitor.key")[0]`, `Client(endpoint, "SUB", context=context)`;
5. only then `endpoint: tcp://0.0.0.0:45454`.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from sinks.live.karabo import message, timestamp
from sinks.live.preview import preview
from sinks.live.socket import Pattern, Service
from stream.codec.payload import decode
from stream.errors import CorruptPayload, SinkFailed
from stream.events import Array, Frame, FrameStatus, ScanEnd, ScanStart
from stream.ledger import Stored
from stream.products import Product
from stream.registry import Options
from stream.roles import Counters, Sink
from stream.wire.endpoint import check

log = logging.getLogger("inbeam.monitor")

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
    rate_hz: float = Field(5.0, gt=0, le=100, description="Messages per second, at most")
    image: Literal["mean", "max", "none"] = Field(
        "mean", description="How blocks of pixels become one in the small image; none: no image (and no decoding)"
    )
    image_size: int = Field(512, ge=8, le=8192, description="Longest side of the small image, pixels")
    channel: str | None = Field(None, description="Channel (threshold) of the image; null: the first")
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

    @model_validator(mode="after")
    def _keys(self) -> "Config":
        if self.curve_clients is not None and self.curve_secret_key is None:
            raise ValueError("curve_clients goes with curve_secret_key: without it nothing is encrypted or checked")
        for path, there in ((self.curve_secret_key, Path.is_file), (self.curve_clients, Path.is_dir)):
            if path is not None and not there(path):
                raise ValueError(f"{path} is not there: make keys with zmq.auth.create_certificates")
        return self


def create(config: Config) -> Sink:
    """The sink; its socket is bound at the start of the first scan."""
    return Monitor(config)


class Monitor:
    """See the module. `write`, `tick` and `finish` take a few microseconds, whatever the clients do."""

    def __init__(self, config: Config) -> None:
        self.service = Service(
            config.endpoint,
            config.pattern,
            high_water_mark=config.high_water_mark,
            max_request_bytes=config.max_request_bytes,
            secret_key=config.curve_secret_key,
            clients=config.curve_clients,
        )
        self._config = config
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._slot: tuple[ScanStart | None, Sequence[Product], Frame | None] = (None, (), None)
        self._counters = Counters()
        self._status = ""
        self._image: Array | None = None

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """Bind, for the first scan. Raises SinkFailed if the port is taken, or the scan does not have the channel."""
        if self._config.channel not in (None, *scan.channels):
            text = f"the monitor's `channel` {self._config.channel!r} is none of scan {scan.name}"
            raise SinkFailed(f"{text}, which has {', '.join(scan.channels)}: correct it")
        if self._thread is None:
            self.service.bind()
            if self._config.image != "none":
                preview(np.zeros((1, 1), scan.dtype.newbyteorder("=")), 1, "mean")  # compile before the frames come
            self._thread = threading.Thread(target=self._run, name="inbeam-monitor", daemon=True)
            self._thread.start()
        self._slot = scan, products, None
        self._status = "running"
        return None

    def write(self, frame: Frame) -> None:
        """Keep it if it has pixels and is no late one."""
        if frame.payloads and frame.status is not FrameStatus.LATE:
            scan, products, _ = self._slot
            self._slot = scan, products, frame

    def tick(self, counters: Counters) -> None:
        """Keep the counters."""
        self._counters = counters

    def finish(self, end: ScanEnd) -> None:
        """The last frame and the status go out at once."""
        self._status = end.status.value
        self._wake.set()

    def close(self) -> None:
        """End the thread and free the port, within a second."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        else:
            self.service.close()

    def _run(self) -> None:
        """The monitor's thread."""
        period = 1.0 / self._config.rate_hz
        shown: tuple[object, str] = (None, "")
        parts: list[Any] = []
        due = packed = 0.0
        try:
            while True:
                woken = self._wake.wait(min(max(0.0, due - time.monotonic()), WATCH_S))
                self.service.watch()
                if not woken and time.monotonic() < due:
                    continue
                self._wake.clear()
                stopping = self._stopping
                now = time.monotonic()
                due = max(due + period, now + period / 2)
                slot, status = self._slot, self._status
                stale = slot is not shown[0] or status != shown[1] or now - packed >= HEARTBEAT_S
                if self.service.wanted() and (stale or self._config.pattern == "rep"):
                    if stale:
                        parts, shown, packed = self._pack(*slot, status), (slot, status), now
                    self.service.send(parts)
                if stopping:
                    break
        except Exception:  # the run goes on without a monitor, and the log says so
            log.exception("the monitor has failed: the run goes on without it")
        finally:
            self.service.close()

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
        image, step = preview(self._image, config.image_size, config.image)
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
