"""Sink `page`: a live page for any browser: image, patterns, maps, series, counters, options.

    - type: page
      endpoint: 127.0.0.1:8765

Its lane keeps the newest frame only, and what serves the browsers is a process of its own with the lowest priority,
which decodes and pools: here is only copied what it asks for, and it asks only while somebody looks. If it dies, it is
started again; nothing that a viewer does reaches the pipeline but a change of options that `inbeam set` could make too.

Listening beyond this machine asks for `tokens` (docs/page.md).
"""

import logging
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sinks.browser import address, tokens
from sinks.browser.changes import Changes
from sinks.browser.child import Child
from sinks.browser.files import written
from sinks.browser.lines import Lines
from sinks.browser.news import News
from sinks.browser.scan import as_text
from stream.context import ALONE, Context
from stream.errors import SinkFailed
from stream.events import Frame, Item, ScanEnd, ScanStart, Update
from stream.ledger import Stored
from stream.preflight import Known, Problem
from stream.products import Product, shown
from stream.registry import CHANGES, Options
from stream.roles import Counters, Sink
from stream.wire.endpoint import taken

log = logging.getLogger("inbeam")
COUNTERS_S = 0.5
"""How often the counters go out while nothing else is new."""
PATIENCE_S = 10.0
"""A child that is asked for nothing by then is not waited for at the end of a scan."""


class Config(Options):
    """Options of the sink `page`."""

    type: Literal["page"] = "page"
    endpoint: str = Field(
        "127.0.0.1:8765", description="Address to listen on, host:port; this machine only, unless you say otherwise"
    )
    rate_hz: float = Field(5.0, gt=0, le=50, description="Images per second, at most", json_schema_extra=CHANGES)
    image_size: int = Field(
        512, ge=64, le=4096, description="Longest side of an image as it is sent, pixels", json_schema_extra=CHANGES
    )
    tokens: Path | None = Field(
        None,
        description="File with the words that viewers and operators show, made if it is not there; null: nobody is "
        "asked, which goes with this machine only",
    )
    hosts: tuple[str, ...] = Field(
        (), description="Further names by which browsers reach this machine, as in the address bar (a proxy's)"
    )
    viewers: int = Field(32, ge=1, le=1000, description="Most viewers at a time")
    share: float = Field(
        0.004, gt=0, le=1, description="Of all cores, what the page may take while they are busy; less often, then"
    )
    jobs: Path | None = Field(
        None, description="Folder of jobs (see `inbeam jobs`) whose table is shown to every viewer; null: none"
    )
    required: bool = Field(False, description="Stop the run if this sink fails; false: go on without it")

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        return address.check(value)

    @model_validator(mode="after")
    def _beyond(self) -> "Config":
        if self.tokens is None and not address.loopback(self.endpoint):
            raise ValueError(
                f"{self.endpoint} can be reached from other machines: name a file for `tokens`, such as page.tokens, "
                "which is made with a word for viewers and one for operators; or listen at 127.0.0.1"
            )
        return self

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A port that another program has, a file of tokens that cannot be used."""
        if problem := taken(f"tcp://{self.endpoint}"):
            yield "endpoint", problem
        if self.tokens is not None and self.tokens.exists():
            try:
                tokens.read(self.tokens)
            except (OSError, ValueError) as error:
                yield "tokens", f"{self.tokens}: {error}"


def create(config: Config, context: Context = ALONE) -> Sink:
    """The sink; it listens from its first moment in a run on."""
    return Page(config, context)


class Page:
    """See the module. Nothing here waits for the process that serves, nor for a browser."""

    lane: Literal["block", "latest"] = "latest"

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.address = ""
        """http://host:port/, once it listens."""
        self._config, self._context = config, context
        self._listening: socket.socket | None = None
        self.child: Child | None = None
        self._known_start = 0
        self._ready: Mapping[str, Any] | None = None
        self._news = News()
        self._changes = Changes(context.control, context.document)
        self._lines = Lines(self._news.line)
        self._counters = Counters()
        self._due = self._told = 0.0

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """Listen, for the first scan. Raises SinkFailed if the address cannot be had."""
        self._listen()
        options = self._changes.options()
        self._news.start(scan, shown(products), {option["path"]: option["value"] for option in options})
        self._news.options(options)
        return None

    def write(self, item: Item) -> None:
        """Keep what is newest."""
        if isinstance(item, Frame):
            self._news.frame(item)
        elif isinstance(item, Update):
            self._news.update(item)
        else:
            self._news.change(item)
            self._news.options(self._changes.options())
            prefix = f"{self._context.name}."
            if item.path.startswith(prefix):
                document = {**self._config.model_dump(), item.path.removeprefix(prefix): item.value}
                self._config = Config.model_validate(document)

    def tick(self, counters: Counters) -> None:
        """Hear what the child says, and give it what is new if it is time."""
        self._counters = counters
        self._listen()
        self._lines.drain()
        self._hear()
        self._give(time.monotonic())

    def finish(self, end: ScanEnd) -> None:
        """The status goes out with the last frame, as soon as the child asks."""
        self._news.end(end)
        self._news.options(self._changes.options())
        self._due = 0.0
        self._told = 0.0
        self._hear()
        self._give(time.monotonic())

    def close(self) -> None:
        """End the child, free the port."""
        self._lines.close()
        self._changes.close()
        if self.child is not None:
            self.child.close(self._news.counters(self._counters))
        if self._listening is not None:
            self._listening.close()

    def _listen(self) -> None:
        if self._listening is not None:
            return
        config = self._config
        words: Mapping[str, str] = {}
        try:
            if config.tokens is not None:
                words = tokens.read_or_make(config.tokens)
            self._listening = address.listen(config.endpoint)
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SinkFailed(
                f"the page cannot use {config.endpoint}: {text}. Another inbeam or program may have this port: stop "
                "it, or give this sink another `endpoint`, such as 127.0.0.1:8766"
            ) from error
        self.address = address.url(self._listening)
        settings = {
            "tokens": words,
            "hosts": config.hosts,
            "loopback": address.loopback(config.endpoint),
            "viewers": config.viewers,
            "image_size": config.image_size,
            "share": config.share,
            "jobs": None if config.jobs is None else str(config.jobs.absolute()),
            "document": as_text(self._context.document),
        }
        self._changes.start()
        self.child = Child(self._listening, settings)
        self.child.start()
        with_words = f"; add #token= and a word of {config.tokens}" if words else ""
        log.info("the live page is at %s%s", self.address, with_words)

    def _hear(self) -> None:
        assert self.child is not None
        for message in self.child.poll():
            if "ready" in message:
                self._ready = message["ready"]
            elif "set" in message:
                self._changes.ask(message["set"])
        if self.child.starts != self._known_start:
            self._known_start, self._ready = self.child.starts, None
            self._news.forget()
        for answer in self._changes.answers():
            self._news.options(self._changes.options())
            self.child.tell({"answer": {**answer, "serial": self._news.options_serial}})

    def _give(self, now: float) -> None:
        ready = self._ready
        if ready is None or now < self._due or self.child is None or ready["taken"] != self.child.given:
            return
        pixels, channels = bool(ready.get("pixels")), ready.get("channels") or ()
        if now - self._told < COUNTERS_S and not self._news.fresh(pixels, channels):
            return
        self._news.files(written(self._context.document, self._context.placed))
        self._ready = None
        period = 1.0 / self._config.rate_hz
        self._due = max(self._due + period, now + period / 2)
        self._told = now
        self.child.give(self._news.parts(self._counters, pixels=pixels, channels=channels))
