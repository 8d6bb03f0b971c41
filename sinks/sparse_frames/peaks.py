"""The peaks of a sparse file, as pyFAI writes them: the names of the CXI convention, padded with zeros."""

from collections.abc import Mapping
from typing import Any

from sinks.file.chunk_index import rows_from
from sinks.file.columns import Rows
from sinks.file.storage import BITSHUFFLE
from sinks.file.swmr import SwmrFile
from stream.events import Array

PEAK_COLUMNS = {
    "peakTotalIntensity": "peak_intensity",
    "peakXPosRaw": "peak_pos1",
    "peakYPosRaw": "peak_pos0",
    "peakSNR": "",
}
"""Names of the CXI convention -> fields of the product; peakSNR is intensity / sigma."""


class PeakTable:
    """nPeaks and the padded columns of the CXI convention, (frames, most peaks)."""

    @staticmethod
    def declare(file: SwmrFile, path: str) -> None:
        """Lay out the group; one chunk a row, so that a row is compressed once."""
        group = file.layout.require_group(path)
        group.attrs.update({"NX_class": "NXdata", "signal": "nPeaks"})
        file.rows(f"{path}/nPeaks", (), "i4", fill=0, attributes={"interpretation": "spectrum"})
        for name in PEAK_COLUMNS:
            group.create_dataset(
                name, shape=(0, 0), maxshape=(None, None), chunks=(1, 256), dtype="f4", fillvalue=0, **BITSHUFFLE
            )

    def __init__(self, group: Any) -> None:
        self._number = Rows(group["nPeaks"])
        self._columns = {name: group[name] for name in PEAK_COLUMNS}
        self._width: int = self._columns["peakSNR"].shape[1]
        self._frames: int = self._columns["peakSNR"].shape[0]

    def put(self, index: int, found: Mapping[str, Array]) -> None:
        """The peaks of one frame."""
        number = len(found["peak_intensity"])
        self._number.put(index, number)
        self.extend(index + 1, max(1, number))
        for name, source in PEAK_COLUMNS.items():
            values = found[source] if source else found["peak_intensity"] / found["peak_sigma"]
            self._columns[name][index, : max(1, number)] = values if number else 0

    def clear(self, first: int) -> None:
        """Frame number `first` and those behind it have no peaks."""
        self._number.clear(first)
        for column in self._columns.values():
            for index in rows_from(column, first).tolist():
                column[index] = 0

    def extend(self, frames: int, width: int = 0) -> None:
        """Make room; new places read 0."""
        if frames > self._frames or width > self._width:
            self._frames, self._width = max(frames, self._frames), max(width, self._width)
            for column in self._columns.values():
                column.id.set_extent((self._frames, self._width))
        self._number.extend(frames)

    def flush(self) -> None:
        """Columns before their number."""
        for column in self._columns.values():
            column.id.flush()
        self._number.flush()
