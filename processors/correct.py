"""Corrections of the raw counts: dark, flat, masks, dummy values, saturated and flagged pixels.

No image is made: what is to be corrected is gathered once per scan into a `Correction`, and left on the bench for the
processors that come later, which apply it while they go over the pixels anyway.
"""

from collections.abc import Sequence

from processors.correction.bad_pixels import HEADER
from processors.correction.making import make_correction as make_correction
from processors.correction.making import the_channel as the_channel
from processors.correction.options import TWICE
from processors.correction.options import Config as Config
from processors.shared.correction import Correction, Corrections
from processors.shared.derived import Derived
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import ScanEnd, ScanStart
from stream.products import Product
from stream.work import Work


def create(config: Config, context: Context = ALONE) -> "Correct":
    """The processor for a validated configuration."""
    return Correct(config)


class Correct:
    """Leaves the `Corrections` of a scan on the bench; does nothing per frame."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def pixels_of(self) -> tuple[str, ...]:
        """None."""
        return ()

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Read the files, check them against the scan. Raises ConfigError, also for a channel corrected before."""
        wanted = scan.channels if self.config.channel is None else (the_channel(scan, self.config.channel),)
        made = {name: _made(self.config, scan, name, work) for name in wanted}
        earlier = work.get(Corrections)
        if earlier is not None and earlier.uid == scan.uid:
            if twice := sorted(made.keys() & earlier.by_channel.keys()):
                raise ConfigError([("correct.channel", f"{', '.join(twice)}: {TWICE}")])
            made = {**earlier.by_channel, **made}
        work.put(Corrections(scan.uid, made))
        return (Product("correct", (), bad_pixels={name: correction.mask for name, correction in made.items()}),)

    def process(self, work: Work) -> None:
        """Nothing: later processors correct while they read the pixels."""

    def finish(self, end: ScanEnd) -> None:
        """Nothing to free."""


def correction_for(work: Work, scan: ScanStart, channel: str | None = None) -> Correction:
    """The Correction of a channel (None: the first) of this scan, for use in a processor's `start`.

    Without a `correct` earlier in the chain: as `{type: correct}` with its defaults would make it from the header.
    Raises ConfigError if the scan has no such channel.
    """
    name = the_channel(scan, channel, Derived.of(work, scan).dtypes)
    left = work.get(Corrections)
    if left is not None and left.uid == scan.uid and name in left.by_channel:
        return left.by_channel[name]
    return _made(Config(type="correct"), scan, name, work)


def bad_pixels_for(work: Work, scan: ScanStart, key: str, instead: str, channel: str | None = None) -> Correction:
    """The Correction of a channel for a processor that takes nothing of it but what is bad: see `correction_for`.

    Raises ConfigError, with the option `key` and what to do instead, where `correct` has a dark or a flat, which would
    be left out in silence. A response that the header tells is left out.
    """
    found = correction_for(work, scan, channel)
    for option, image in (("dark", found.dark), ("flat", found.flat)):
        if image is not None and found.origin.get(option) != HEADER:
            raise ConfigError([(key, f"`correct` has a {option} ({found.origin.get(option)}): {instead}")])
    return found


def _made(config: Config, scan: ScanStart, name: str, work: Work) -> Correction:
    key = ("correction", scan.uid, name, config.model_dump_json())
    return work.once(key, lambda: make_correction(config, scan, name))
