"""What the filters of a dataset make of a chunk, where we can decode it ourselves, outside of HDF5's global lock."""

import h5py

from stream.events import Encoding

DEFLATE, SHUFFLE, BITSHUFFLE, LZ4 = 1, 2, 32008, 32004
BITSHUFFLE_LZ4 = 2
"""Fifth client value of filter 32008: 2 = LZ4, 3 = Zstd."""


class Packing:
    """How the chunks of a dataset are packed. `known` is False where only HDF5's own filters can tell."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(number)[::2] for number in range(properties.get_nfilters())]
        self._by_mask = {} if dataset.dtype.kind == "b" else _by_mask(filters, dataset.dtype.itemsize)

    @property
    def known(self) -> bool:
        """True if chunks that went through all filters can be decoded without HDF5."""
        return 0 in self._by_mask

    def of(self, mask: int) -> Encoding | None:
        """The packing of a chunk; mask: which filters were left out for it."""
        return self._by_mask.get(mask)


def _by_mask(filters: list[tuple[int, tuple[int, ...]]], itemsize: int) -> dict[int, Encoding]:
    codes = [code for code, _ in filters]
    if not codes:
        return {0: Encoding.RAW}
    if codes == [SHUFFLE, DEFLATE]:
        return {0: Encoding.SHUFFLED_DEFLATE, 1: Encoding.DEFLATE, 3: Encoding.RAW}
    if codes == [DEFLATE]:
        return {0: Encoding.DEFLATE, 1: Encoding.RAW}
    if codes == [LZ4]:
        return {0: Encoding.LZ4_HDF5, 1: Encoding.RAW}
    if codes == [BITSHUFFLE]:
        values = filters[0][1]
        if len(values) > 4 and (values[2], values[4]) == (itemsize, BITSHUFFLE_LZ4):
            return {0: Encoding.BSLZ4, 1: Encoding.RAW}
    return {}
