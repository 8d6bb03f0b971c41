"""Products of the whole scan in a master: made of those of its parts by the gatherers themselves.

A frame counts as covered if a part that was finished covers it. What could not be made stays empty, covers nothing,
and is told. So that `check` sees what was changed since, `covered_frames` has a digest of what the product is, and of
what it was made of.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from sinks.file import ledger_layout
from sinks.file.scan_product import COVERED, IN, LOST, place_of
from sinks.file.storage import fill_of
from sinks.receivers.ledgers import Part
from stream.errors import InbeamError
from stream.events import Array, Update
from stream.ledger import Partial
from stream.roles import Mergeable

OWN, MADE_OF = "digest", "made_of"
MOST_BYTES = 1 << 26


def is_partial(item: Any) -> bool:
    """True for a dataset that only parts have."""
    return isinstance(item, h5py.Dataset) and "partial" in item.attrs


def is_gathered(item: Any) -> bool:
    """True for a dataset of such a product."""
    return isinstance(item, h5py.Dataset) and ("per" in item.attrs or item.name.rsplit("/", 1)[1] == COVERED)


def declare(item: Any, made: Any, name: str, parts: Sequence[Part]) -> None:
    """Make made/name like `item`, empty: as short as it is in the shortest part."""
    found = [part.file[item.name] for part in parts if item.name in part.file]
    length = min((dataset.shape[0] for dataset in found), default=0) if item.shape else None
    most = tuple(h5py.h5s.UNLIMITED if size is None else size for size in item.maxshape)
    space = h5py.h5s.create_simple((length, *item.shape[1:]), most) if item.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    plist = item.id.get_create_plist()
    dataset = h5py.Dataset(h5py.h5d.create(made.id, name.encode(), item.id.get_type(), space, dcpl=plist))
    dataset.attrs.update({key: value for key, value in item.attrs.items() if key not in (OWN, MADE_OF)})
    if not item.shape:
        dataset[()] = fill_of(item.dtype)


def fill(
    file: Any, parts: Sequence[Part], states: Array, gatherers: Mapping[str, Mergeable], trouble: Callable[[str], None]
) -> None:
    """Let every gatherer make its products. states: of every frame number. `trouble`: told what is not whole."""
    groups = dict(products(file))
    whole = [part for part in parts if part.record.finished]  # what a killed process wrote last may be half a piece
    saved = [
        {name: _partial(part.file[group]) for name, group in groups.items() if group in part.file} for part in whole
    ]
    scan, made = str(file[ledger_layout.GROUP].attrs["scan_uid"]), set[str]()
    for name, gatherer in gatherers.items():
        mine: set[str] = set()
        try:
            for update in gatherer.merge(scan, saved):
                if update.product in groups:
                    mine.add(update.product)
                    _write(file[groups[update.product]], update)
        except InbeamError as error:
            _refuse(file, groups, mine, f"{name}: {error}", trouble)
        except Exception as error:  # of a third party's plug-in too
            _refuse(file, groups, mine, f"{name}: {type(error).__name__}: {error}", trouble)
        else:
            made |= mine
    for name, group in groups.items():
        covered = np.zeros(len(states), np.uint8)
        for part in whole:
            if group in part.file:
                lost = np.flatnonzero(part.file[group][COVERED][()] == LOST)
                covered[lost[lost < len(states)]] = LOST
        for each in saved if name in made else ():
            if name in each:
                covered[each[name].covered[each[name].covered < len(states)]] = IN
        dataset = file[group][COVERED]
        dataset.resize(len(states), axis=0)
        dataset[...] = covered
        dataset.attrs[OWN], dataset.attrs[MADE_OF] = _digest([file[group]]), _digest(_groups(parts, group))


def problems(file: Any, parts: Sequence[Part]) -> Iterator[str]:
    """What is not as it was when the products were made."""
    for name, group in products(file):
        told = file[group][COVERED].attrs
        if OWN not in told:
            continue
        if told[MADE_OF] != _digest(_groups(parts, group)):
            yield f"{name} is not what its parts come to: they were changed since"
        if told[OWN] != _digest([file[group]]):
            yield f"{name} was changed since it was made of its parts"


def lacking(path: Path) -> Iterator[str]:
    """Which products of a master do not cover all frames that have data."""
    with h5py.File(path, "r", locking=False) as file:
        has = ledger_layout.HAS_DATA[file[f"{ledger_layout.GROUP}/status"][()]]
        for name, group in products(file):
            if left := int((has & (file[group][COVERED][()] != IN)).sum()):
                yield f"{name} does not cover {left} frames that have data: see {name}/{COVERED} in {path}"


def products(file: Any) -> Iterator[tuple[str, str]]:
    """(product, path of the group that has its datasets and their axes)."""
    found: dict[Any, tuple[str, str]] = {}

    def look(path: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and isinstance(item.get(COVERED), h5py.Dataset):
            address = h5py.h5o.get_info(item[COVERED].id).addr
            if address not in found or "signal" in item.attrs:
                name = item[COVERED].attrs.get("product", path.split("/")[1])
                found[address] = str(name), item.name

    _visit(file["entry"], look)
    yield from sorted(found.values())


def _visit(group: Any, look: Callable[[str, Any], None], seen: frozenset[str] = frozenset()) -> None:
    """Every group below by every hard link, which `visititems` shows once only."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group):
            item = group[name]
            if item.name in seen:
                continue
            look(item.name.lstrip("/"), item)
            _visit(item, look, seen | {item.name})


def _partial(group: Any) -> Partial:
    fields = {name: group[name] for name in group if isinstance(group.get(name), h5py.Dataset)}
    axes = tuple(str(name) for name in group.attrs.get("axes", ()))
    return Partial(np.flatnonzero(fields[COVERED][()] == IN).astype(np.int64), fields, axes)


def _write(group: Any, update: Update) -> None:
    for name, piece in update.pieces.items():
        dataset = group[name]
        where = place_of(piece.start, piece.values, dataset, f"{group.name}/{name}")
        length = piece.start[0] + piece.values.shape[0] if piece.start else 0
        if piece.start and length > dataset.shape[0]:
            dataset.resize(length, axis=0)
        dataset[where] = piece.values


def _refuse(
    file: Any, groups: Mapping[str, str], mine: Iterable[str], text: str, trouble: Callable[[str], None]
) -> None:
    """What has been written already is taken back."""
    trouble(f"{text}; it is empty in the file of the whole")
    for name in mine:
        for dataset in file[groups[name]].values():
            if is_gathered(dataset):
                dataset[...] = dataset.fillvalue if dataset.shape else fill_of(dataset.dtype)


def _groups(parts: Sequence[Part], path: str) -> list[Any]:
    return [part.file[path] for part in parts if path in part.file]


def _digest(groups: Sequence[Any]) -> str:
    """Of all that is gathered in these groups, in blocks that fit into memory."""
    found = xxhash.xxh3_128()
    for group in groups:
        for name in sorted(group):
            dataset = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
            if dataset is None or not is_gathered(dataset):
                continue
            found.update(f"{name} {dataset.dtype.str} {dataset.shape}".encode())
            if not dataset.shape:
                found.update(np.asarray(dataset[()]).tobytes())
                continue
            rows = max(1, MOST_BYTES * len(dataset) // max(1, dataset.nbytes))
            for first in range(0, len(dataset), rows):
                found.update(np.ascontiguousarray(dataset[first : first + rows]).tobytes())
    return found.hexdigest()
