"""LAMBDA detectors of X-Spectrum: a file for each module and part of a scan, `scan_m2_part00003.nxs`, all of one frame.

Where a module lies is in its own file, `translation/distance`, in pixels (x, y, z). Which frames a file has is in its
`sequence_number`, from 1.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from stream.errors import BadMessage
from stream.events import Array, Detector
from stream.formats.hdf5.located import ONE_CHANNEL, Located, Tile
from stream.formats.hdf5.nexus import peek, text
from stream.formats.hdf5.opening import DAMAGED, open_hdf5
from stream.formats.hdf5.safe import all_values, first_value
from stream.formats.hdf5.segments import Segment
from stream.formats.hdf5.values import detector_group

NAME = re.compile(r"(?P<before>.+_m)(?P<module>\d+)(?:_part(?P<part>\d+))?\.nxs$")
GAP_BIT = 1
"""Bit 0 of a pixel mask: a pixel that the sensor does not have (SIMPLON, NeXus)."""


def is_lambda(file: h5py.File, located: Located) -> bool:
    """True for a file of one module of such a detector."""
    group = detector_group(file, located) if NAME.match(located.file) else None
    told = peek(group, "description") if group is not None else None
    return isinstance(told, h5py.Dataset) and "lambda" in text(first_value(told)).lower()


def leads(path: str) -> bool:
    """True for the first file of a scan, which stands for all of them."""
    return min(_siblings(path).items())[1] == path


def assembled(file: h5py.File, located: Located) -> Located:
    """The whole scan: all modules, all parts that are there. Raises BadMessage if they do not fit together."""
    modules: dict[int, list[str]] = {}
    for (module, _), path in sorted(_siblings(located.file).items()):
        modules.setdefault(module, []).append(path)
    group = detector_group(file, located)
    assert group is not None
    channels: dict[str, tuple[Segment, ...]] = {}
    tiles: dict[str, Tile] = {}
    for module, paths in modules.items():
        channels[f"m{module}"], tiles[f"m{module}"] = _module(paths, located, group.name)
    top, left = min(tile.row for tile in tiles.values()), min(tile.column for tile in tiles.values())
    tiles = {name: replace(tile, row=tile.row - top, column=tile.column - left) for name, tile in tiles.items()}
    told = peek(group, "collection/frame_numbers")
    declared = max((part.first + part.count for parts in channels.values() for part in parts), default=0)
    shape = (
        max(tile.row + tile.rows for tile in tiles.values()),
        max(tile.column + tile.columns for tile in tiles.values()),
    )
    _check(tiles, shape, located)
    return replace(
        located,
        channels=channels if len(channels) > 1 else {ONE_CHANNEL: next(iter(channels.values()))},
        tiles=tiles if len(tiles) > 1 else {},
        by_parts=True,
        called=os.path.basename(NAME.sub(lambda found: found["before"][:-2], located.file)),
        shape=shape,
        declared=declared,
        told=int(first_value(told)) if isinstance(told, h5py.Dataset) else 0,
    )


def whole_images(located: Located, name: str, gap: float) -> Array | None:
    """The pixel mask or flat field of the detector, from those of its modules; None where one has none."""
    canvas: Array = np.full(located.shape, gap)
    for channel, tile in located.tiles.items():
        path = located.channels[channel][0].path if located.channels[channel] else ""
        try:
            with open_hdf5(path) as file:
                image = np.asarray(all_values(file[f"{tile.group}/{name}"]), np.float64).reshape(
                    -1, tile.rows, tile.columns
                )[0]
        except (BadMessage, *DAMAGED):
            return None
        if not np.isfinite(image).any():
            return None
        canvas[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns] = image
    return canvas


def with_images(detector: Detector, located: Located) -> Detector:
    """With the pixel masks of the modules and the gaps between them, and the flat fields, in one image each."""
    mask = whole_images(located, "pixel_mask", GAP_BIT)
    if mask is None:
        mask = np.full(located.shape, float(GAP_BIT))
        for tile in located.tiles.values():
            mask[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns] = 0
    flat = whole_images(located, "flatfield", 1.0)
    found = replace(detector, pixel_mask={ONE_CHANNEL: mask.astype("u4")})
    return found if flat is None else replace(found, flatfield={ONE_CHANNEL: flat.astype("f4")})


def _siblings(path: str) -> dict[tuple[int, int], str]:
    """(module, part) -> file, of all files of a scan that are there."""
    folder, base = os.path.split(path)
    own = NAME.match(base)
    assert own is not None
    found: dict[tuple[int, int], str] = {(int(own["module"]), int(own["part"] or 0)): path}
    for name in os.listdir(folder or "."):
        other = NAME.match(name)
        if other and other["before"] == own["before"] and (other["part"] is None) == (own["part"] is None):
            found[int(other["module"]), int(other["part"] or 0)] = os.path.join(folder, name)
    return found


def _module(paths: list[str], located: Located, group: str) -> tuple[tuple[Segment, ...], Tile]:
    parts: list[Segment] = []
    tile: Tile | None = None
    for path in paths:
        try:
            with open_hdf5(path) as file:
                data = file[located.path]
                if data.dtype != located.dtype or data.ndim != 3:
                    raise BadMessage(f"{path} has {data.dtype} {data.shape}, its first module {located.dtype}")
                if tile is None:
                    x, y = (int(part) for part in np.ravel(all_values(file[f"{group}/translation/distance"]))[:2])
                    tile = Tile(y, x, data.shape[-2], data.shape[-1], group)
                numbers = peek(file[group], "sequence_number")
                parts += _runs(path, data, numbers, parts)
        except DAMAGED as error:
            raise BadMessage(f"{path} cannot be read as a module of {located.file}: {error}") from error
    assert tile is not None
    return tuple(parts), tile


def _runs(path: str, data: h5py.Dataset, numbers: Any, before: list[Segment]) -> Iterator[Segment]:
    """The frames of one file as runs of consecutive numbers."""
    following = before[-1].first + before[-1].count if before else 0
    if not isinstance(numbers, h5py.Dataset):
        yield Segment(path, data.name, following, len(data))
        return
    told = np.asarray(numbers[: len(data)], np.int64) - 1
    begins = np.flatnonzero(np.diff(told, prepend=told[:1] - 2) != 1)
    for begin, end in zip(begins, [*begins[1:], len(told)], strict=True):
        if told[begin] < following:
            if told[begin] < 0:  # not written yet
                continue
            raise BadMessage(f"{path}: its sequence_number goes back to {told[begin] + 1} behind {following}")
        following = int(told[begin]) + int(end - begin)
        yield Segment(path, data.name, int(told[begin]), int(end - begin), int(begin))


def _check(tiles: Mapping[str, Tile], shape: tuple[int, int], located: Located) -> None:
    covered = np.zeros(shape, bool)
    for name, tile in tiles.items():
        place = np.s_[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns]
        if covered[place].any():
            raise BadMessage(f"{located.file}: the module {name} lies upon another: correct translation/distance")
        covered[place] = True
