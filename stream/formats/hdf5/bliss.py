"""BLISS keeps frames and counters apart: Lima writes `scan0012/eiger_0000.h5`, BLISS the file of the dataset above.

Until the scan is over, that file has counters and motors but no link to the frames.
"""

import os
import re
from dataclasses import replace

from stream.errors import BadMessage
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.opening import DAMAGED, open_hdf5
from stream.formats.natural import natural, stem

FOLDER = re.compile(r"scan0*(\d+)$")
LIMA_FILE = re.compile(r"(.+)_\d+$")


def counters_of(located: Located) -> Located:
    """The same scan in the file and entry that have its counters, if its frames are in a file of Lima's."""
    folder = os.path.dirname(os.path.abspath(located.file))
    number, detector = FOLDER.match(os.path.basename(folder)), LIMA_FILE.match(stem(located.file))
    if not number or not detector:
        return located
    above = os.path.dirname(folder)
    try:
        names = [name for name in natural(os.listdir(above)) if name.endswith((".h5", ".nxs"))]
    except OSError:
        return located
    for path in (os.path.join(above, name) for name in names):
        entry = f"/{number.group(1)}.1"
        try:
            with open_hdf5(path) as file:
                if f"{entry}/instrument/{detector.group(1)}" in file:
                    return replace(located, file=path, entry=entry)
        except (BadMessage, *DAMAGED):
            continue
    return located
