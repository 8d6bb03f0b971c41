"""Numbers of every frame, with their names: scalars, and values of named places (regions), whose names may change."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stream.events import Change, Frame
from stream.products import Product


class Columns:
    """Of one scan. A place has, for every frame, the name that it had in the frame's own revision."""

    def __init__(self, products: Sequence[Product], named: Mapping[str, Any]) -> None:
        """named: path of an option that names places -> its value at the start of the scan."""
        self._scalars = [
            (product.name, field.name)
            for product in products
            for field in product.fields
            if field.per == "frame" and field.shape == () and field.dtype.kind in "iufb"
        ]
        self._places = {
            path: (product.name, [each.name for each in product.fields if _is_place(each.shape, each.name, each.per)])
            for product in products
            if product.places and isinstance(named.get(path := path_of(product)), Mapping)
        }
        self._sets: dict[str, list[tuple[int, dict[str, Any]]]] = {
            path: [(0, dict(named[path]))] for path in self._places
        }

    def change(self, change: Change) -> None:
        """The names from a frame number on."""
        for path, sets in self._sets.items():
            if change.path == path:
                sets.append((change.frame, dict(change.value or {})))
            elif change.path.startswith(f"{path}."):
                name, *inner = change.path.removeprefix(f"{path}.").split(".")
                if not inner:
                    sets.append((change.frame, {**sets[-1][1], name: change.value}))

    def row(self, frame: Frame, most: int) -> dict[str, float]:
        """name -> value, at most so many: readings, scalars, values of places."""
        row = {name: float(value) for name, value in frame.readings.items()}
        for product, field in self._scalars:
            value = frame.results.get(product, {}).get(field)
            if value is not None:
                row[f"{product}.{field}"] = float(value)
        for path, (product, fields) in self._places.items():
            results = frame.results.get(product)
            if results is None:
                continue
            names = next(names for first, names in reversed(self._sets[path]) if first <= frame.index)
            for field in fields:
                values = np.asarray(results.get(field, ()))
                for place, (name, region) in enumerate(names.items()):
                    if region is not None and place < len(values):
                        row[f"{name}.{field}"] = float(values[place])
        return row if len(row) <= most else dict(list(row.items())[:most])


def path_of(product: Product) -> str:
    """The option that names the places of a product."""
    return f"processors.{product.name}.{product.places}"


def _is_place(shape: tuple[int | None, ...], name: str, per: str) -> bool:
    return per == "frame" and len(shape) == 1 and shape[0] is not None and not name.endswith("_errors")
