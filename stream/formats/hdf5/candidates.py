"""Where frames may be in an entry, from the surest place to the least sure, and which of them are detectors."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

import h5py

from stream.formats.hdf5.nexus import default_signal, is_stack, is_strip, is_thin, nx_class, peek, signal_of, text
from stream.formats.hdf5.safe import first_value
from stream.formats.natural import natural

SPECTRA_ROWS, SPECTRA_ASPECT = 32, 64
"""A stack of fewer rows that are this many times as long is of spectra (fluorescence), not of a second detector."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A dataset that holds images, or the rows of a strip detector. path: inside `entry.file`; label: what the file
    calls it; detector: it is the data of an NXdetector, so that its frames are a scan of their own."""

    path: str
    label: str
    detector: bool = False


def stacks(entry: h5py.Group) -> tuple[list[Stack], list[str]]:
    """The stacks of an entry, each once, the surest first; and the links that lead nowhere, one line each."""
    found: list[Stack] = []
    strips: list[Stack] = []
    broken: list[str] = []
    for candidate in _candidates(entry):
        try:
            dataset = entry.file[candidate.path]
        except (KeyError, OSError):
            broken.append(broken_link(entry.file, candidate.path))
            continue
        if candidate.detector and (is_strip(dataset) or is_thin(dataset)) and not _is_mca(dataset):
            strips.append(candidate)
        if not is_stack(dataset):
            continue
        for place, other in enumerate(found):
            if entry.file[other.path] == dataset or same_dataset(entry.file, other.path, candidate.path):
                if candidate.detector and not other.detector:
                    found[place] = replace(other, label=candidate.label, detector=True)
                break
        else:
            if posixpath.basename(posixpath.dirname(candidate.path)) != "plot" or not found:
                spectra = dataset.shape[-2] < SPECTRA_ROWS and dataset.shape[-1] >= SPECTRA_ASPECT * dataset.shape[-2]
                found.append(replace(candidate, detector=candidate.detector and not spectra))
    found = found or strips
    if not found and entry.name != "/":
        base = entry.name.rstrip("/")
        found = [Stack(f"{base}/{path}", posixpath.basename(posixpath.dirname(path))) for path in every_stack(entry)]
    return found, broken


def _candidates(entry: h5py.Group) -> Iterator[Stack]:
    default = default_signal(entry)
    if default:
        yield Stack(default, posixpath.basename(posixpath.dirname(default)))
    groups = [name for name in natural(entry) if isinstance(peek(entry, name), h5py.Group)]
    for name in sorted(groups, key=lambda name: name != "data"):
        if nx_class(entry[name]) == "NXdata" or name == "data":
            yield Stack(f"{entry[name].name}/{signal_of(entry[name])}", name)
    if "measurement" in groups:
        for name in natural(entry["measurement"]):
            yield Stack(f"{entry['measurement'].name}/{name}", name)
    for name in groups:
        if nx_class(entry[name]) == "NXinstrument" or name == "instrument":
            for part in natural(entry[name]):
                detector = peek(entry[name], part)
                if isinstance(detector, h5py.Group) and "data" in detector:
                    yield Stack(f"{detector.name}/data", part, detector=nx_class(detector) in ("NXdetector", ""))
    for name in sorted(natural(entry), key=lambda name: name != "data"):
        if isinstance(peek(entry, name), h5py.Dataset):
            yield Stack(f"{entry.name.rstrip('/')}/{name}", name)


def _is_mca(dataset: h5py.Dataset) -> bool:
    """True for the spectra of a fluorescence detector, as BLISS has them."""
    kind = peek(dataset.parent, "type")
    return isinstance(kind, h5py.Dataset) and kind.dtype.kind in "SO" and "mca" in text(first_value(kind)).lower()


def every_stack(group: h5py.Group, depth: int = 6) -> Iterator[str]:
    """Paths, from a group on, of all stacks below it, for files that follow no convention."""
    for name in natural(group):
        thing = peek(group, name)
        if is_stack(thing):
            yield name
        elif isinstance(thing, h5py.Group) and depth:
            yield from (f"{name}/{path}" for path in every_stack(thing, depth - 1))


def same_dataset(file: h5py.File, one: str, other: str) -> bool:
    """True if two links lead to the same dataset, also in another file."""
    first, second = file[one], file[other]
    return (first.file.filename, first.name) == (second.file.filename, second.name)


def broken_link(file: h5py.File, path: str) -> str:
    """Say what a path that cannot be opened points to."""
    link = file.get(path, getlink=True) if path.strip("/") else None
    if isinstance(link, h5py.ExternalLink):
        return f"{file.filename}::{path} links to {link.filename}::{link.path}, which is not there: put it beside"
    return f"{file.filename} has nothing at {path}"
