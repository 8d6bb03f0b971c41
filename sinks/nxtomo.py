"""`nxtomo`: the frames as they came, in the layout NXtomo (nexusformat/definitions; places and units as ESRF's `nxtomo`
reads them), while the sample turns.

It is an archive with what a reconstruction needs beside the frames: what each of them is (image_key), at which angle,
how long. The image_key is flushed last, so that a frame that has one is there with everything; a frame number without
data is invalid (3), and so is a projection whose angle is not known.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sinks.archive import Archive
from sinks.file import nexus
from sinks.file.columns import Rows
from sinks.file.sink import FileSink
from sinks.file.so_far import SoFar
from sinks.file.swmr import SwmrFile
from sinks.file.target import FileOptions
from stream.context import ALONE, Context
from stream.events import MONITOR, Array, Frame, ScanEnd, ScanStart, Update
from stream.ledger import Saved
from stream.preflight import Known, Problem
from stream.turning import Key, Turn, Turning

VERSION = 2.1
"""Of the layout, as `nxtomo` counts."""
DETECTOR, SAMPLE, DATA = "/entry/instrument/detector", "/entry/sample", "/entry/data"
KEY, CONTROL, ANGLE, COUNT_TIME = (
    f"{DETECTOR}/image_key",
    f"{DETECTOR}/image_key_control",
    f"{SAMPLE}/rotation_angle",
    f"{DETECTOR}/count_time",
)
ALIGNMENT = -1
AXES = ("x_translation", "y_translation", "z_translation")


class Config(FileOptions):
    """Options of `nxtomo`."""

    type: Literal["nxtomo"] = "nxtomo"
    turn: Turn = Field(Turn(), description="Which frames are projections, flats or darks, and at which angle")
    title: str | None = Field(None, description="Title of the scan; null: its name")
    sample: str | None = Field(None, description="Name of the sample; null: the scan's name")
    field_of_view: Literal["Full", "Half"] = Field(
        "Full", description="Half: the axis lies near an edge, and a full turn shows both sides of the sample"
    )
    pixel_size_m: tuple[float, float] | None = Field(
        None, description="Of the sample, x and y, as the optics magnify it, m; null: the detector's own"
    )
    distance_m: float | None = Field(None, gt=0, description="From sample to detector, m; null: as the header says")
    propagation_distance_m: float | None = Field(None, gt=0, description="For phase retrieval, m; null: not known")
    energy_kev: float | None = Field(None, gt=0, description="Of the beam, keV; null: as the header says")
    axis_px: float | None = Field(
        None, description="Where the rotation axis is, pixels from the middle of the detector; null: not known"
    )
    x_translation: str | None = Field(None, description="Reading of the sample's x, in its own unit; null: none")
    y_translation: str | None = Field(None, description="Reading of the sample's y")
    z_translation: str | None = Field(None, description="Reading of the sample's z")
    readings: tuple[str, ...] | None = Field(
        None, description="Readings (motors, monitor ...) that get a column; null: those of the first frame"
    )
    closed_frames: int | None = Field(
        None,
        ge=1,
        description="For programs that cannot open a file that is being written (nabu): after every so many frames "
        "what has come is also in closed files, NAME_so_far/NAME; until the scan is complete, that takes the room of "
        "the frames a second time",
    )
    alignment_bytes: int = Field(1, ge=1, description="Begin chunks at multiples of this, bytes: see `archive`")

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A list of angles that is not there, a place where nothing may be written."""
        yield from super().preflight(known)
        if isinstance(self.turn.angles, Path) and not self.turn.angles.is_file():
            yield "turn.angles", f"{self.turn.angles} is neither `readings`, `metadata` nor a file: correct it"


def create(config: Config, context: Context = ALONE) -> FileSink:
    """The sink for a validated configuration."""
    return FileSink(
        config,
        context,
        lambda scan, products: Tomo(config, scan, context),
        alignment_bytes=config.alignment_bytes,
    )


class Tomo:
    """The content of an NXtomo file: an archive, and columns beside it."""

    def __init__(self, config: Config, scan: ScanStart, context: Context) -> None:
        self._config, self._scan, self._context = config, scan, context
        self._turning = Turning(config.turn, scan, f"{context.name or 'nxtomo'}.turn")
        self._archive = Archive(scan, context, config.readings)
        self._columns: dict[str, Rows] = {}
        self._no_angle: list[int] = []
        self._so_far: SoFar | None = None

    def identity(self) -> Any:
        """What must be the same to go on with a file."""
        options = self._config.model_dump(mode="json", include={"turn", "field_of_view", "pixel_size_m", *AXES})
        return ["nxtomo", self._archive.identity(), options]

    @property
    def settled(self) -> bool:
        """True once the first pixels have come."""
        return self._archive.settled

    def declare(self, file: SwmrFile) -> None:
        """Everything but the frames."""
        config, scan = self._config, self._scan
        self._archive.declare(file)
        entry = file.layout["entry"]
        entry.attrs["version"] = VERSION
        nexus.text(entry, "definition", "NXtomo")
        nexus.text(entry, "program_name", "inbeam")
        if config.title is not None:
            del entry["title"]
            nexus.text(entry, "title", config.title)
        detector, sample = entry["instrument/detector"], entry["sample"]
        if config.sample is not None:
            del sample["name"]
            nexus.text(sample, "name", config.sample)
        _replace(detector, "distance", config.distance_m, "m")
        nexus.text(detector, "field_of_view", config.field_of_view)
        detector.create_dataset("half_acquisition", data=config.field_of_view == "Half")
        nexus.number(detector, "x_rotation_axis_pixel_position", config.axis_px, "pixel")
        nexus.number(sample, "propagation_distance", config.propagation_distance_m, "m")
        own = (scan.detector.pixel_size_x_m, scan.detector.pixel_size_y_m)
        for axis, size in zip("xy", config.pixel_size_m or own, strict=True):
            nexus.number(sample, f"{axis}_pixel_size", size, "m")
        if config.energy_kev is not None:
            for name, value, unit in (
                ("beam/incident_energy", config.energy_kev, "keV"),
                ("beam/incident_wavelength", nexus.HC_EV_ANGSTROM / config.energy_kev / 1000, "angstrom"),
                ("monochromator/energy", config.energy_kev, "keV"),
                ("monochromator/wavelength", nexus.HC_EV_ANGSTROM / config.energy_kev / 1000, "angstrom"),
            ):
                _replace(entry["instrument"], name, value, unit)

    def settle(self, frame: Frame | None) -> None:
        """Declare the frames, and what goes with each of them."""
        self._archive.settle(frame)
        if not self.settled:
            return
        self._begin_so_far()
        if self._so_far is not None:
            self._so_far.forget()
        file, units = self._archive.file, self._scan.readings or {}
        root = file.layout
        if "count_time" in root[DETECTOR]:
            del root[COUNT_TIME]
        for path, kind, fill, unit in (
            (KEY, "i1", int(Key.INVALID), ""),
            (CONTROL, "i1", int(Key.INVALID), ""),
            (ANGLE, "f8", np.nan, "degree"),
            (COUNT_TIME, "f8", np.nan, "s"),
            *((f"{SAMPLE}/{axis}", "f8", np.nan, units.get(name, "") or "m") for axis, name in self._moved()),
        ):
            attributes = {"units": unit} if unit else {}
            self._columns[path] = file.rows(
                path, (), kind, fill=int(fill) if kind == "i1" else fill, attributes=attributes
            )
        group = root[DATA]
        group["rotation_angle"], group["image_key"] = root[ANGLE], root[KEY]
        if MONITOR in (self._scan.readings if self._scan.readings is not None else frame.readings if frame else ()):
            root["/entry/control"] = root["/entry/monitor"]

    def reopen(self, file: SwmrFile) -> None:
        """Take up the columns where they end."""
        self._archive.reopen(file)
        self._begin_so_far()
        for path in (KEY, CONTROL, ANGLE, COUNT_TIME, *(f"{SAMPLE}/{axis}" for axis, _ in self._moved())):
            self._columns[path] = file.reopened_rows(path)

    @property
    def length(self) -> int:
        """Frame numbers that have a place."""
        return max([self._archive.length, *(rows.length for rows in self._columns.values())])

    def present(self, indices: Array) -> Array:
        """bool (n,): these frame numbers are in the file."""
        return self._archive.present(indices)

    def write(self, frame: Frame) -> str:
        """The bytes into their place, and what belongs to them."""
        problem = self._archive.write(frame)
        if self._so_far is not None:
            self._so_far.written(frame.index)
        if not frame.payloads or problem:
            return problem
        index, key, angle = frame.index, self._turning.key(frame), self._turning.angle(frame)
        control = ALIGNMENT if self._turning.aligned(frame) else int(key)
        if key is Key.PROJECTION and not np.isfinite(angle):
            self._no_angle.append(index)
            key = Key.INVALID
            control = int(key)
        seconds = frame.exposure_s if np.isfinite(frame.exposure_s) else self._scan.detector.count_time_s
        values = {ANGLE: angle, COUNT_TIME: np.nan if seconds is None else seconds}
        for axis, name in self._moved():
            values[f"{SAMPLE}/{axis}"] = frame.readings.get(name, np.nan)
        for path, value in values.items():
            self._columns[path].put(index, value)
        self._columns[CONTROL].put(index, control)
        self._columns[KEY].put(index, 0 if control == ALIGNMENT else int(key))
        return problem

    def update(self, update: Update) -> None:
        """Products are not kept here."""

    @property
    def saved(self) -> Mapping[str, Saved]:
        """None."""
        return {}

    def read(self, index: int) -> Mapping[str, Any] | None:
        """The bytes of each channel, and the readings."""
        return self._archive.read(index)

    @property
    def notes(self) -> tuple[str, ...]:
        """Readings without a column; projections without an angle."""
        return (*self._archive.notes, *self._told())

    def flush(self) -> None:
        """The frames, then what belongs to them; what they are comes last."""
        self._archive.flush()
        length = self._archive.length
        for path, rows in self._columns.items():
            if path != KEY:
                rows.flush()
                rows.extend(length)
                rows.flush()
        if KEY in self._columns:
            key = self._columns[KEY]
            key.flush()
            key.extend(length)
            key.flush()
            if self._so_far is not None:
                self._so_far.flushed(key.dataset.file, length)

    def finish(self, end: ScanEnd, expected: int) -> None:
        """Frames that never came are invalid."""
        self._archive.finish(end, expected)
        for rows in self._columns.values():
            rows.flush()
            rows.extend(expected)
        self.flush()
        surplus = self._turning.surplus(end)
        for text in (*self._told(), *([surplus] if surplus else [])):
            self._context.trouble(f"{self._archive.file.path}: {text}")

    def closed(self, path: Path) -> None:
        """What had been closed so far refers to the file from now on."""
        if self._so_far is not None and path == self._archive.file.path:
            self._so_far.complete()

    def _begin_so_far(self) -> None:
        frames, path = self._config.closed_frames, self._archive.file.path
        if frames is not None:
            self._so_far = SoFar(path, frames, f"{DATA}/data", self._context.trouble)

    def _moved(self) -> list[tuple[str, str]]:
        found = [(axis, getattr(self._config, axis)) for axis in AXES]
        return [(axis, name) for axis, name in found if name is not None]

    def _told(self) -> Iterable[str]:
        if self._no_angle:
            why = self._turning.confused or "correct `turn`"
            yield (
                f"{len(self._no_angle)} projections have no angle, and are marked as invalid, first frame "
                f"{self._no_angle[0]}: {why}"
            )


def _replace(parent: Any, name: str, value: float | None, unit: str) -> None:
    if value is not None:
        if name in parent:
            del parent[name]
        nexus.number(parent, name, value, unit)
