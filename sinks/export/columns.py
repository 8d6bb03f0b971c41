"""A pattern as text columns: radial axis, intensity, and its error in the third column where there is one.

`xy` and `xye`: columns under a header of lines with "#". numpy, Dioptas, GSAS-II, Topas and pyFAI's users read them; it
is also one scan of a SPEC file, which silx and PyMca open with the names of the columns. `chi`: FIT2D's CHIPLOT, four
lines and then the columns. `csv`: a line with names, commas.

Numbers are written with all digits that float32 has. A bin without a pixel is NaN in our files; programs of this kind
take it for a number or stop, so it is left out, and counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from types import MappingProxyType

import numpy as np

from stream.errors import InbeamError
from stream.events import Array

FIT2D_AXES: Mapping[str, str] = MappingProxyType(
    {
        "2th_deg": "2-Theta Angle (Degrees)",
        "2th_rad": "2-Theta Angle (Radians)",
        "q_nm^-1": "Q (Inverse Nanometres)",
        "q_A^-1": "Q (Inverse Angstroms)",
    }
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern to be written: axis (n,) in `unit` (pyFAI's name), intensity (n,), errors (n,) or None.

    header: name -> value; poni: the text of the calibration, or "".
    """

    scan: str
    frame: int
    unit: str
    radial: Array
    intensity: Array
    errors: Array | None = None
    received: float = float("nan")
    header: Mapping[str, str] = field(default_factory=dict)
    poni: str = ""

    @property
    def columns(self) -> list[Array]:
        """The columns without the bins that have no value."""
        columns = [self.radial, self.intensity, *([] if self.errors is None else [self.errors])]
        kept = np.isfinite(columns).all(axis=0)
        return [column[kept] for column in columns]

    @property
    def left_out(self) -> int:
        """Number of bins that have no value."""
        return len(self.radial) - len(self.columns[0])

    @property
    def names(self) -> list[str]:
        """One per column."""
        return [self.unit, "I", "sigma"][: len(self.columns)]


def xy(pattern: Pattern) -> str:
    """Columns under "#" lines."""
    lines = [
        "#F " + _line(pattern.scan),
        f"#S {pattern.frame} scan {_line(pattern.scan)} frame {pattern.frame}",
        *(f"#D {_date(pattern)}" for _ in range(bool(np.isfinite(pattern.received)))),
        *(f"#C {line}" for line in _header(pattern)),
        f"#N {len(pattern.names)}",
        "#L " + "  ".join(pattern.names),
    ]
    return "\n".join([*lines, *_rows(pattern, " ")]) + "\n"


def xye(pattern: Pattern) -> str:
    """As `xy`, for programs that take the first column for 2theta in degrees. Raises InbeamError if it is not."""
    if pattern.unit != "2th_deg":
        raise InbeamError(f"a .xye file has 2theta in degrees, not {pattern.unit}: add --unit 2th_deg")
    return xy(pattern)


def chi(pattern: Pattern) -> str:
    """FIT2D: title, names of the axes, number of points, columns."""
    title = f"{_line(pattern.scan)} frame {pattern.frame}"
    if pattern.unit.startswith("2th"):
        title += ": 2-theta Scan"
    rows = _rows(pattern, " ")
    axis = FIT2D_AXES.get(pattern.unit, pattern.unit)
    return "\n".join([title, axis, "Intensity", f"{len(rows):11d}", *rows]) + "\n"


def csv(pattern: Pattern) -> str:
    """A line with the names of the columns, then numbers between commas; nothing else, as spreadsheets want it."""
    return "\n".join([",".join(pattern.names), *_rows(pattern, ",")]) + "\n"


FORMATS: Mapping[str, Callable[[Pattern], str]] = MappingProxyType({"xy": xy, "xye": xye, "chi": chi, "csv": csv})


def _header(pattern: Pattern) -> list[str]:
    lines = [f"program: inbeam {version('inbeam')}", f"scan: {_line(pattern.scan)}", f"frame: {pattern.frame}"]
    if np.isfinite(pattern.received):
        lines.append(f"received: {_date(pattern)}")
    lines += [f"{name}: {_line(value)}" for name, value in pattern.header.items()]
    if pattern.left_out:
        lines.append(f"bins left out, for they have no value: {pattern.left_out} of {len(pattern.radial)}")
    if pattern.poni:
        lines += ["pyFAI calibration:", *(_line(line) for line in pattern.poni.splitlines() if line[:1] != "#")]
    return lines


def _rows(pattern: Pattern, separator: str) -> list[str]:
    form = separator.join(["%.12e", *["%.9e"] * (len(pattern.names) - 1)])
    return [form % row for row in zip(*(column.tolist() for column in pattern.columns), strict=True)]


def _date(pattern: Pattern) -> str:
    return datetime.fromtimestamp(pattern.received, UTC).isoformat(timespec="microseconds")


def _line(text: str) -> str:
    """A value that may come from the network, as part of one line of ASCII that no reader splits."""
    return " ".join(text.split()).encode("ascii", "replace").decode()
