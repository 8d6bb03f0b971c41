"""What a sparse file is made from: one product of the chain, and the datasets of the source that it may link to."""

from collections.abc import Sequence

import h5py

from stream.errors import SinkFailed
from stream.products import Product

NEEDED = {"background_avg", "background_std", "index", "intensity"}


def choose(products: Sequence[Product], name: str | None) -> Product:
    """The one product with sparse frames, that of this name if it is given. Raises SinkFailed."""
    fitting = [product for product in products if {field.name for field in product.fields} >= NEEDED]
    if name is not None:
        fitting = [product for product in fitting if product.name == name]
    if len(fitting) != 1:
        have = ", ".join(product.name for product in products) or "none"
        wanted = f"named {name!r}" if name else "in the chain"
        raise SinkFailed(
            f"the sparse file needs exactly one `sparsify` processor {wanted}, there are {len(fitting)} "
            f"(products: {have}): correct `processors` or the option `product`; if one refused this scan, its reason "
            "is told above"
        )
    return fitting[0]


def source_datasets(source: str) -> list[tuple[str, str]]:
    """(file, dataset) of the frames of an HDF5 file, `file::dataset` as the source names it; nothing for others."""
    from stream.formats.hdf5.locate import locate  # not needed by a live run, which starts the sooner

    path, _, inner = source.partition("::")
    if not path or not h5py.is_hdf5(path):
        return []
    with h5py.File(path, "r", locking=False) as file:
        scans = locate(file, inner or None).scans
        segments = [part for scan in scans for parts in scan.channels.values() for part in parts]
    return list(dict.fromkeys((part.path, part.dataset) for part in segments))
