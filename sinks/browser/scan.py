"""A scan and its products, in the words that the page gets them in."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import yaml

from sinks.file.ledger_layout import identity_of
from sinks.live.preview import bad_pixels
from stream.events import ScanStart
from stream.products import Product

MOST_AXIS = 65_536


def described(scan: ScanStart, products: Sequence[Product], number: int) -> Mapping[str, Any]:
    """For the child. number: of the scan in this run. `identity` is what our files know it by; shapes are (rows,
    columns); `masks` are packed bits, True = bad."""
    detector = {field.name: getattr(scan.detector, field.name) for field in fields(scan.detector)}
    about = {key: value for key, value in detector.items() if isinstance(value, int | float | str)}
    masks = {}
    for channel in scan.channels:
        bad = bad_pixels(scan, products, channel)
        if bad is not None:
            masks[channel] = {"shape": bad.shape, "bits": np.packbits(bad)}
    return {
        "number": number,
        "uid": scan.uid,
        "identity": identity_of(scan),
        "name": scan.name,
        "shape": scan.shape,
        "dtype": scan.dtype.str,
        "channels": scan.channels,
        "expected": scan.expected,
        "received": scan.received,
        "detector": about,
        "masks": masks,
        "poni": next(filter(None, map(_poni, products)), ""),
        "products": [_product(product) for product in products],
    }


def _poni(product: Product) -> str:
    return product.poni or (product.reduction.poni if product.reduction is not None else "")


def _product(product: Product) -> Mapping[str, Any]:
    reduction = product.reduction
    return {
        "name": product.name,
        "signal": product.signal,
        "of": product.of,
        "places": product.places,
        "poni": product.poni,
        "wavelength_angstrom": reduction.wavelength_angstrom if reduction is not None else None,
        "axes": [
            {"name": axis.name, "unit": axis.unit, "long_name": axis.long_name, "values": axis.values[:MOST_AXIS]}
            for axis in product.axes
        ],
        "fields": [
            {
                "name": field.name,
                "shape": field.shape,
                "unit": field.unit,
                "long_name": field.long_name,
                "per": field.per,
            }
            for field in product.fields
        ],
    }


def picture_fields(products: Sequence[Product]) -> Sequence[tuple[str, tuple[int, int], "np.dtype[Any]"]]:
    """(product.field, shape, floating type) of every image that belongs to the scan; 0 rows: it grows."""
    found = []
    for product in products:
        for field in product.fields:
            if field.per == "scan" and len(field.shape) == 2 and field.dtype.kind in "iuf":
                rows, columns = (int(size or 0) for size in field.shape)
                single = (field.dtype.itemsize <= 4 and field.dtype.kind == "f") or field.dtype.itemsize <= 2
                found.append((f"{product.name}.{field.name}", (rows, columns), np.dtype("f4" if single else "f8")))
    return found


def as_text(document: Mapping[str, Any] | None) -> str:
    """The configuration that runs, as YAML."""
    return "" if document is None else yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
