"""An archived frame of the scan that is shown, read by the process of the page, also while the archive grows.

The file is opened for one frame, to be read only, without a lock, and closed again: nobody who wants to write or repair
it finds it held. Its path comes from inbeam; a viewer names a scan and a frame number, no more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.events import FrameStatus, Payload


class NotThere(Exception):
    """Why there is no picture, in words. Its attribute `final` tells whether that can still change."""

    def __init__(self, text: str, *, final: bool) -> None:
        super().__init__(text)
        self.final = final


@dataclass(frozen=True, slots=True)
class Archived:
    """The encoded pixels of one channel of a frame, its arrival (Unix time, s) and what became of it."""

    payload: Payload
    received: float
    status: str


def prepare() -> None:
    """Import what reads files: h5py and the filters, half a second that only those need who look back."""
    import sinks.archive
    import sinks.file.repair  # noqa: F401


def archived(path: Path, identity: str, channels: tuple[str, ...], channel: str, number: int) -> Archived:
    """Read a frame number out of an archive, which must be that of the scan `identity`. Raises NotThere."""
    from sinks.file.repair import looked_into

    try:
        with looked_into(path) as file:
            return _read(file, path, identity, channels, channel, number)
    except NotThere:
        raise
    except Exception as error:  # a file can be damaged, or be another one, in any way
        raise NotThere(f"{path.name} cannot be read now: {error}", final=False) from None


def _read(file: Any, path: Path, identity: str, channels: tuple[str, ...], channel: str, number: int) -> Archived:
    from sinks.archive import dataset_paths
    from sinks.file import continued
    from sinks.file.direct_chunk import stored_as
    from sinks.file.ledger_layout import GROUP
    from stream.events import Encoding

    group = file[GROUP]
    if str(group.attrs["scan_uid"]) != identity:
        raise NotThere(f"{path.name} has no frames of this scan yet", final=False)
    place = dataset_paths(channels).get(channel)
    if place is None:
        raise NotThere(f"the archive has no channel {channel}", final=True)
    finished = bool(group["finished"][0])
    status = FrameStatus(int(group["status"][number])) if number < len(group["status"]) else FrameStatus.MISSING
    dataset = file.get(place)
    if dataset is not None and status.has_data and number < len(dataset):
        offset = (number, *(0 for _ in dataset.shape[1:]))
        filter_mask, data = dataset.id.read_direct_chunk(offset)
        encoding = stored_as(Encoding(dataset.attrs["encoding"]), filter_mask)
        shape = int(dataset.shape[1]), int(dataset.shape[2])
        received = float(group["received_time"][number])
        return Archived(Payload(data, encoding, shape, dataset.dtype), received, status.name.lower())
    earlier = continued.read(file)
    if earlier is not None and earlier.has(number):
        raise NotThere(f"frame {number} is in {Path(earlier.file).name}, which this scan began in", final=True)
    if status is FrameStatus.MISSING and not finished:
        raise NotThere(f"frame {number} is not in the archive yet", final=False)
    problem = bytes(group["problem"][number]).decode("utf-8", "replace") if number < len(group["problem"]) else ""
    raise NotThere(f"frame {number}: {status.name.lower()}" + (f", {problem}" if problem else ""), final=finished)
