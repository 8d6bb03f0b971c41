"""Every other image format, as fabio reads it: MAR345, ADSC, d*TREK, Oxford, Bruker, SPE, PNM ..."""

import logging
import os
from collections.abc import Mapping
from typing import IO, Any

from stream.errors import BadMessage
from stream.events import Array
from stream.formats.images import mar345
from stream.formats.images.unpack import COMPRESSED, copied, whole

# fabio logs every attempt at a file that is still being written; ours is the one line that says so in the end
logging.getLogger("fabio").setLevel(logging.CRITICAL)
HDF5 = b"\x89HDF"


class Other:
    """One file that fabio reads, whatever its reader raises."""

    def __init__(self, file: IO[bytes], path: str, *, packed: bool) -> None:
        import fabio  # a tenth of a second: only for who reads such files

        head = file.read(4)
        if head == HDF5:
            raise BadMessage("is an HDF5 file with the name of an image: rename it to end with .h5")
        if head in mar345.MAGIC:
            mar345.check(whole(file))
        name = os.path.basename(path)
        for suffix in COMPRESSED:
            name = name.removesuffix(suffix)
        self._copy = copied(file, name) if packed else None
        file.close()
        self._opened = fabio.open(self._copy.name if self._copy else path)
        self.frames = int(self._opened.nframes)

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        """Pixels and header of one frame."""
        frame = self._opened.get_frame(place) if self.frames > 1 else self._opened
        if frame.data is None:
            raise BadMessage("is damaged, cut off or not an image: it has no pixels that can be read")
        return frame.data, dict(frame.header)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()
        if self._copy is not None:
            self._copy.close()
