"""How a scan begins: every processor prepared, every gatherer and every sink started, before its first frame.

So a sink that cannot write is noticed while the detector still holds the frames, and a resumed file can say what it
already has.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stream.events import Frame, ScanStart
from stream.fingerprint import is_of_beginning
from stream.ledger import Stored
from stream.pipeline.chain import Chain
from stream.pipeline.control import RunControl
from stream.pipeline.known import Known
from stream.pipeline.lanes import Lanes
from stream.pipeline.reading_back import ReadingBack
from stream.pipeline.recipe import recipes


class Beginning:
    """One per pipeline. `refused`: told why a processor or gatherer cannot take a scan. `trouble`: told of frames that
    the files have otherwise. `spare`: makes one more chain like the others."""

    def __init__(
        self,
        chains: Sequence[Chain],
        lanes: Lanes,
        control: RunControl,
        *,
        spare: Callable[[], Chain],
        refused: Callable[[str], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._chains, self._lanes, self._control, self._spare = chains, lanes, control, spare
        self._refused, self._trouble = refused, trouble

    def open(self, scan: ScanStart) -> tuple[Stored | None, Known | None]:
        """What the files have of the scan (None: there is none that goes on), and of which frames (None: of none)."""
        options = self._control.start_options(scan.uid)
        made = recipes(options.processors, self._control.repeated)
        first = self._chains[0]
        common: dict[object, Any] = {}
        products, *_ = [chain.start(scan, options, made, common) for chain in self._chains]
        gathered = self._lanes.open_gatherers(scan, first.bench, options)
        products += tuple(replace(product, recipe=made[-1]) for product in gathered)
        if first.refusal:
            self._refused(f"{first.refusal} (the frames are kept, marked as failed)")
        for refusal in self._lanes.refusals:
            self._refused(f"{refusal} (the frames are kept)")
        stored = self._lanes.open(scan, products)
        revisions = self._control.opened(scan.uid, stored.changes if stored else (), self._lanes.tell)
        for chain in self._chains:
            chain.use(revisions)
        if stored is None or (stored.empty and not stored.gathered.any()):
            self._lanes.use(revisions)
            return stored, None
        known = Known(stored, self._told_of_another(scan) if is_of_beginning(scan.fingerprint) else None)
        # a source that sends only once is helped out by our own files; the others give every frame again
        back = ReadingBack(stored, scan, products, revisions, self._spare) if scan.resumed else None
        for gathering in self._lanes.use(revisions):
            known.lack(gathering.restart(stored, back))
        return stored, known

    def _told_of_another(self, scan: ScanStart) -> Callable[[Frame], None]:
        return lambda frame: self._trouble(
            f"frame {frame.index} of scan {scan.name} is not what its files were made from: it was recorded anew, and "
            "is not taken; move the files away, and start again"
        )
