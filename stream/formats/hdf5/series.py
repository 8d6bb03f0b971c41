"""Scans that are spread over files by their names: Lima's, and the modules and parts of LAMBDA detectors."""

from collections.abc import Mapping
from dataclasses import replace

import h5py

from stream.codec import tiles
from stream.events import Payload
from stream.formats.hdf5 import lima, xspectrum
from stream.formats.hdf5.locate import located_again
from stream.formats.hdf5.located import ONE_CHANNEL, Located


def joined(file: h5py.File, located: Located) -> Located:
    """The whole scan where the first of its recorded files is given; what is not there is missing.

    Raises BadMessage.
    """
    if located.file != file.filename:
        return located
    if not xspectrum.is_lambda(file, located):
        return lima.joined(file, located)
    if xspectrum.leads(located.file):
        return xspectrum.assembled(file, located)
    note = f"{located.file} is read alone, as one module or part of a detector: give the first of its files instead"
    return replace(located, notes=(*located.notes, note))


def growing(file: h5py.File, located: Located) -> Located | None:
    """The scan as far as it has been written; None for a file that belongs to the scan of another.

    Raises BadMessage.
    """
    if located.file != file.filename:
        return located
    if not xspectrum.is_lambda(file, located):
        return replace(located, awaited=lima.continuation(file, located))
    return xspectrum.assembled(file, located) if xspectrum.leads(located.file) else None


def again(file: h5py.File, located: Located) -> Located:
    """The same scan in its own file, opened again, with what has been added to it. Raises BadMessage."""
    return xspectrum.assembled(file, located) if located.by_parts else located_again(file, located)


def one_frame(located: Located, payloads: Mapping[str, Payload]) -> Mapping[str, Payload]:
    """The channels of a frame: the modules of a detector are one."""
    if not located.tiles:
        return payloads
    pieces = [(tile.row, tile.column, payloads[name]) for name, tile in located.tiles.items()]
    return {ONE_CHANNEL: tiles.pack(pieces, located.shape, located.dtype)}
