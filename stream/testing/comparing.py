"""Comparing what two instances declared and gave."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from stream.products import Product


def described(product: Product) -> dict[str, Any]:
    """All of a product as plain values, to compare two."""
    return {
        "name": product.name,
        "fields": product.fields,
        "signal": product.signal,
        "axes": [(axis.name, axis.unit, np.asarray(axis.values).tolist()) for axis in product.axes],
        "constants": {name: np.asarray(value).tobytes() for name, value in product.constants.items()},
        "parameters": json.dumps(dict(product.parameters), sort_keys=True),
    }


def assert_same(found: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    """Bit for bit, NaN included."""
    assert found.keys() == wanted.keys(), f"{what}: {sorted(found)} instead of {sorted(wanted)}"
    for name, value in wanted.items():
        have, want = np.asarray(found[name]), np.asarray(value)
        assert have.dtype == want.dtype and have.shape == want.shape, f"{what}: {name} is {have.dtype} {have.shape}"
        assert have.tobytes() == want.tobytes(), f"{what}: {name} differs"
