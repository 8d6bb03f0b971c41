"""Images of several thresholds that SIMPLON stream v1 packs as one: [x, y, thresholds], one plane behind the other."""

import numpy as np

from stream.codec.native import bslz4_compress
from stream.codec.payload import check_header, decode
from stream.events import Encoding, Payload


def planes(whole: Payload, count: int) -> list[Payload]:
    """`count` images of what came as one that is as many times as high. Raises CorruptPayload.

    Compressed blocks do not end where a plane does: they are decoded and packed again, plane by plane, here in the
    source's thread. That is some 10 ms per 4M plane; stream2 sends thresholds apart and costs nothing.
    """
    check_header(whole)
    rows, columns = whole.shape[0] // count, whole.shape[1]
    if whole.encoding is Encoding.RAW:
        view, size = memoryview(whole.data), rows * columns * whole.dtype.itemsize
        cuts = (view[plane * size : (plane + 1) * size] for plane in range(count))
        return [Payload(cut, Encoding.RAW, (rows, columns), whole.dtype) for cut in cuts]
    images = decode(whole).reshape(count, rows, columns)
    packed = (np.ascontiguousarray(image) for image in images)
    return [Payload(bslz4_compress(image), Encoding.BSLZ4, (rows, columns), image.dtype) for image in packed]
