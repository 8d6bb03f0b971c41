"""`hdf5`: the results of all processors in one growing NeXus file per scan.

Each product becomes a group named after it, /entry/data is the one that the entry is about; NXazint1d and NXazint2d as
the application definitions want them (nexusformat/definitions, contributed by MAX IV). Row i is frame number i; a frame
that never came, or whose processor failed, is NaN. Which one it was, /entry/ledger says.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from sinks import archive
from sinks.archive import DATA, dataset_paths
from sinks.file import naming, nexus, provenance, pyfai_view
from sinks.file import product as results
from sinks.file.apart import set_apart
from sinks.file.chunk_index import rows_present
from sinks.file.columns import Cell, Rows
from sinks.file.readings import Readings
from sinks.file.scan_product import ScanProduct, scan_fields
from sinks.file.sink import FileSink
from sinks.file.swmr import SwmrFile
from sinks.file.target import FileOptions, look
from stream.context import ALONE, Context
from stream.errors import SinkFailed
from stream.events import Array, Frame, ScanEnd, ScanStart, Update
from stream.ledger import Saved
from stream.preflight import Known, Problem
from stream.products import Product


class Config(FileOptions):
    """Options of `hdf5`."""

    type: Literal["hdf5"] = "hdf5"
    products: tuple[str, ...] | None = Field(None, description="Names of the processors to keep; null: all")
    readings: tuple[str, ...] | None = Field(
        None, description="Readings (motors, monitor ...) that get a column; null: those of the first frame"
    )
    link: str | None = Field(
        None, description="`path` of the archive sink of the same run: its frames are linked into this file"
    )

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Products that no processor gives, a link to no archive, a place where nothing may be written."""
        yield from super().preflight(known)
        paths = [options.path for options in known.config.sinks if isinstance(options, archive.Config)]
        if self.link is not None and self.link not in paths:
            have = ", ".join(paths) or "none"
            yield (
                "link",
                f"no archive sink has the `path` {self.link!r} (there is: {have}): correct or omit it",
            )
        given = known.product_names()
        for name in self.products or ():
            if given is not None and name not in given:
                have = ", ".join(sorted(given)) or "none"
                yield "products", f"no processor gives {name!r} (products: {have}): correct `products` or `processors`"

    @field_validator("link")
    @classmethod
    def _known_link(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else naming.check_pattern(pattern)


def create(config: Config, context: Context = ALONE) -> FileSink:
    """The sink for a validated configuration."""
    return FileSink(config, context, lambda scan, products: Results(config, scan, products, context))


class Results:
    """The content of a results file: one dataset (frames, ...) per field of each product."""

    def __init__(self, config: Config, scan: ScanStart, products: Sequence[Product], context: Context) -> None:
        self._config = config
        self._scan = scan
        self._products = results.main_first(_chosen(config, products), scan.detector)
        self._made = tuple(products)
        self._configuration = context.document
        self._placed = context.placed
        self._readings = Readings(scan, config.readings)
        self._per_scan: dict[str, ScanProduct] = {}
        self._file: SwmrFile
        self.settled = False
        """The readings may be known with the first frame only."""
        self._rows: dict[tuple[str, str], Rows] = {}
        self._end_time: Cell

    def identity(self) -> Any:
        """What must be the same to go on with a file: the fields, and how they are computed."""
        return ["hdf5", self._scan.channels, [results.identity(product) for product in self._products]]

    def declare(self, file: SwmrFile) -> None:
        """Lay out the whole file."""
        names = results.group_names(self._products)
        made = nexus.entry(file, self._scan, "data" if names else "ledger")
        # the archive that is linked has the masks
        detector = results.as_used(self._scan.detector, self._products)
        nexus.instrument(made, detector, self._scan.channels, per_pixel=self._config.link is None)
        nexus.group(made, "monitor", "NXmonitor")
        for product in self._products:
            self._rows.update(results.declare(file, product, names[product.name]))
            if scan_fields(product):
                self._per_scan[product.name] = ScanProduct(file, product, f"/entry/{names[product.name]}")
        if self._products:
            main, *others = self._products
            definition = results.definition_of(main, detector)
            results.describe_entry(made, main, definition)
            if (first := names[main.name]) != "data":
                made["data"] = made[first]
            for product in others if definition else ():
                set_apart(made, names[product.name], product, results.definition_of(product, self._scan.detector))
        self._end_time = Cell(made["end_time"])
        provenance.write(file.layout, self._scan, self._configuration, self._products)
        if self._config.link is not None:
            archived = (self._placed or {}).get(self._config.link) or self._foretold(self._config.link)
            results.link_archive(made, archived, file.path, self._frames())
        for product in self._products:
            if product.of:
                pyfai_view.declare(file.layout, made, product, names[product.name], self._made, self._scan.shape)
        self._file = file
        if self._readings.known_at_start:
            self.settle(None)

    def _frames(self) -> tuple[str, ...]:
        """The archive's datasets: every channel, the first one first, and the frame numbers."""
        return (*dataset_paths(self._scan.channels).values(), f"{DATA}/frame_number")

    def _foretold(self, pattern: str) -> Path:
        """The archive's file outside a run, where nobody tells: the one that has this scan, or that it will make."""
        path = look(pattern, self._scan)
        sinks = (self._configuration or {}).get("sinks") or ()
        replaced = any(sink.get("path") == pattern and sink.get("if_exists") == "overwrite" for sink in sinks)
        return naming.file_name(pattern, self._scan) if replaced and not path.exists() else path

    def settle(self, frame: Frame | None) -> None:
        """The readings that the first frame has (a hole says nothing of them)."""
        if frame is None or frame.payloads or frame.status.has_data:
            self._readings.declare(self._file, frame)
            self.settled = True

    def reopen(self, file: SwmrFile) -> None:
        """Take up the rows where they end."""
        root = file.layout
        self.settled = True
        names = results.group_names(self._products)
        for product in self._products:
            for name in results.stored_fields(product):
                self._rows[product.name, name] = Rows(root[f"/entry/{names[product.name]}/{name}"])
            if scan_fields(product):
                group = f"/entry/{names[product.name]}"
                self._per_scan[product.name] = ScanProduct(file, product, group, reopened=True)
        self._readings.reopen(file)
        self._end_time = Cell(root["/entry/end_time"])

    @property
    def length(self) -> int:
        """Frame numbers that have a row."""
        return max([self._readings.length, *(rows.length for rows in self._rows.values())])

    def present(self, indices: Array) -> Array:
        """bool (n,): all results of these frame numbers are in the file."""
        found = indices >= 0
        for rows in self._rows.values():
            found &= rows_present(rows.dataset, indices)
        return found

    def write(self, frame: Frame) -> str:
        """Put the results of one frame into their rows; a hole stays NaN."""
        for (product, name), rows in self._rows.items():
            values = frame.results.get(product)
            if values is not None and name in values:
                rows.put(frame.index, values[name])
        if frame.status.has_data:
            self._readings.put(frame)
        return ""

    def update(self, update: Update) -> None:
        """Write a piece of a product that belongs to the scan."""
        if update.product in self._per_scan:
            self._per_scan[update.product].update(update)

    @property
    def saved(self) -> Mapping[str, Saved]:
        """What the file has of the products that belong to the scan."""
        return {name: product.saved for name, product in self._per_scan.items()}

    def read(self, index: int) -> Mapping[str, Any] | None:
        """The results and the readings of one frame."""
        found: dict[str, dict[str, Array]] = {}
        for (product, name), rows in self._rows.items():
            if index < rows.dataset.shape[0]:
                found.setdefault(product, {})[name] = rows.dataset[index]
        return {"results": found, "readings": self._readings.row(index)}

    @property
    def notes(self) -> tuple[str, ...]:
        """Readings without a column."""
        return self._readings.notes

    def flush(self) -> None:
        """Write what is held in blocks."""
        for rows in self._rows.values():
            rows.flush()
        self._readings.flush()
        for product in self._per_scan.values():
            product.flush()

    def finish(self, end: ScanEnd, expected: int) -> None:
        """Frames that never came are NaN."""
        self.flush()
        for rows in self._rows.values():
            rows.extend(expected)
        self._readings.extend(expected)
        for product in self._per_scan.values():
            product.finish(expected)
        self.flush()
        self._end_time.set(nexus.end_time(end))

    def closed(self, path: Path) -> None:
        """Nothing is left to do."""


def _chosen(config: Config, products: Sequence[Product]) -> list[Product]:
    products = [product for product in products if product.fields]
    if config.products is not None:
        known = {product.name for product in products}
        missing = [name for name in config.products if name not in known]
        if missing and products:
            raise SinkFailed(
                f"cannot keep {missing[0]!r} in {config.path}: the processors give {', '.join(sorted(known))}; "
                "correct `products`"
            )
        products = [product for product in products if product.name in config.products]
    kept = [product for product in products if results.stored_fields(product) or scan_fields(product)]
    if products and not kept:
        raise SinkFailed(
            f"cannot keep {products[0].name!r} in {config.path}: its length changes from frame to frame; "
            "use the sink `sparse` for it"
        )
    return kept
