"""What the user may say about bands of energy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field as Option
from pydantic import model_validator

from stream.registry import READS, SAME_RESULT, Options

MOST_BANDS = 10_000


class Config(Options):
    """Options of `energy_bands`."""

    type: Literal["energy_bands"] = "energy_bands"
    name: str = Option("energy_bands", description="Name of the result in the file")
    channel: str | None = Option(None, description="Channel (threshold) of the detector; null: the first one")
    uniform: int | None = Option(
        None,
        ge=1,
        le=MOST_BANDS,
        description="So many bands of as many images each; the first ones have one more where that does not go evenly",
    )
    images: int | None = Option(
        None, ge=1, description="Images of a stack, for `uniform`; null: as many as the source announces"
    )
    index: tuple[tuple[int, int], ...] = Option(
        (), description="Bands by frame number: [first, last], from 0, both included"
    )
    tof: tuple[tuple[float, float], ...] = Option(
        (), description="Bands by time of flight: [from, to), in the unit of the reading, or of the file"
    )
    tof_reading: str = Option("TOF", description="Reading that is the time of flight of an image")
    spectra: Path | None = Option(
        None,
        description="Text file with a time of flight in the first column, a line an image, as the cameras write beside "
        "the images; null: from the reading",
        json_schema_extra=READS,
    )
    average: bool = Option(False, description="Also the mean of the images of each band")
    picture_s: float = Option(
        1.0, ge=0, description="Shortest time from update to update in the file, s", json_schema_extra=SAME_RESULT
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Config":
        ways = [self.uniform is not None, bool(self.index), bool(self.tof)]
        if sum(ways) != 1:
            raise ValueError("say the bands in one way: uniform, index, or tof")
        if len(self.index) > MOST_BANDS or len(self.tof) > MOST_BANDS:
            raise ValueError(f"more than {MOST_BANDS} bands")
        for first, last in (*self.index, *self.tof):
            if not (np.isfinite([first, last]).all() and 0 <= first <= last) or (self.tof and first == last):
                raise ValueError(f"[{first}, {last}] is no range")
        return self

    def gives(self) -> Sequence[str]:
        """Name of the product."""
        return (self.name,)
