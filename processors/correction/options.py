"""Options of `correct`, and what can be known of them before the first frame."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from processors.correction.bad_pixels import first_look
from stream.preflight import Known, Problem
from stream.registry import READS, Options

Files = str | tuple[str, ...] | None
CORRECTED = ("formula", "integrate", "sparsify", "prepare", "projection", "roi")
"""Types of processors that take their corrections from a `correct` before them."""
TWICE = "a channel is corrected once; put the options of both into one `correct`, or give each its own `channel`"


def listed(files: Files) -> tuple[str, ...]:
    """The names, one by one."""
    if files is None:
        return ()
    return (files,) if isinstance(files, str) else files


class Config(Options):
    """Options of `correct`. Files: what fabio reads, PNG, .npy, .npz, HDF5 (`file.h5::/path` where it has several)."""

    type: Literal["correct"] = "correct"
    channel: str | None = Field(None, description="Correct this channel (threshold) only; null: every channel")
    dark: Files = Field(
        None,
        description="File(s) with raw counts to subtract; several files or frames are averaged",
        json_schema_extra=READS,
    )
    flat: Files = Field(
        None, description="File(s) with the pixel response to divide by; several are averaged", json_schema_extra=READS
    )
    mask: Files = Field(None, description="File(s), nonzero = bad pixel; several are combined", json_schema_extra=READS)
    scale_dark: bool = Field(
        True,
        description="Scale each dark by the ratio of the exposures, where its file and the frames' header say them: "
        "right for a dark current; false: an offset that does not grow with time",
    )
    use_detector_mask: bool = Field(True, description="Take the pixel mask of the stream's own header")
    use_detector_flat: bool = Field(
        True, description="Take the flat field of the stream's header, if the detector has not applied it already"
    )
    dummy: float | None = Field(None, description="Raw counts of this value are bad in that frame")
    delta_dummy: float = Field(0.0, ge=0, description="Raw counts this near to `dummy`, inclusive, are bad too")
    saturation: float | Literal["header"] | None = Field(
        "header", description="Raw counts above this are bad; header: the detector's saturation_value; null: no limit"
    )
    flag_maximum: bool = Field(
        True, description="The largest value of an integer type is the detector's flag for a bad pixel"
    )
    flag_negative: bool = Field(
        True, description="Negative counts of signed integer images are flags for bad pixels (Pilatus: -1, -2)"
    )

    @model_validator(mode="after")
    def _dummy_first(self) -> "Config":
        if self.dummy is None and self.delta_dummy:
            raise ValueError("delta_dummy without dummy does nothing: give dummy too")
        return self

    def gives(self) -> Sequence[str]:
        """No product."""
        return ()

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into every file, and at what stands before."""
        yield from first_look({"mask": listed(self.mask), "dark": listed(self.dark), "flat": listed(self.flat)})
        for other in itertools.takewhile(lambda each: each is not self, known.config.processors):
            told = other.model_dump(include={"type", "name", "channel"})
            kind, channel = told["type"], told.get("channel")
            if kind == "correct" and (None in (channel, self.channel) or channel == self.channel):
                all_of = "the same channel" if channel else "all channels"
                yield "", f"another `correct` before this one has {all_of}: {TWICE}"
            elif kind in CORRECTED and (self.channel is None or channel == self.channel):
                yield "", f"stands behind {told['name']}, which would not be corrected: move it before"
