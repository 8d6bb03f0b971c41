"""From the encoded bytes of one channel to its pixels. Sizes are checked before anything is allocated or decoded."""

import math
import zlib

import numpy as np

from stream.codec import blocks, native, tiles
from stream.codec.native import BLOCK_BYTES, HEADER
from stream.errors import CorruptPayload
from stream.events import Array, Encoding, Payload

LARGEST_BLOCK = 1 << 20
"""A header may ask for any block size; detectors use 8192 bytes, h5py and bitshuffle stay far below this."""
DEFLATED = (Encoding.DEFLATE, Encoding.SHUFFLED_DEFLATE)
SHUFFLED = (Encoding.BSLZ4, Encoding.BSLZ4_BARE)
UNBLOCKED = (Encoding.RAW, *DEFLATED, Encoding.TILES)
_WORDS = {
    blocks.TRUNCATED: "its block lengths do not add up to its size (truncated, or trailing bytes)",
    blocks.BAD_BLOCK: "a block does not decompress to its length (damaged in transfer)",
}


def decode(payload: Payload, out: Array | None = None) -> Array:
    """Decode into `out` (rows, columns), native byte order, C-contiguous; a new array where None.

    Raises CorruptPayload if the bytes do not decode to exactly shape and dtype. An error may leave `out` half written.
    """
    block_bytes = check_header(payload)
    source = encoded(payload)
    native_type = payload.dtype.newbyteorder("=")
    encoding = payload.encoding
    if encoding is Encoding.TILES:
        out = tiles.canvas(payload.shape, payload.dtype, out)
        for row, column, piece in tiles.unpack(payload):
            out[row : row + piece.shape[0], column : column + piece.shape[1]] = decode(piece)
        return out
    if encoding in DEFLATED:
        source = np.frombuffer(_inflate(payload), np.uint8)
        if encoding is Encoding.SHUFFLED_DEFLATE:
            source = np.ascontiguousarray(source.reshape(payload.dtype.itemsize, -1).T).reshape(-1)
    if encoding is Encoding.RAW or encoding in DEFLATED:
        image = source.view(payload.dtype).reshape(payload.shape)
        if out is None:
            return np.array(image, native_type)
        out[...] = image
        return out
    if out is None:
        out = np.empty(payload.shape, native_type)
    flat = out.reshape(-1).view(f"u{payload.dtype.itemsize}")
    if encoding is Encoding.LZ4_BLOCK:
        code = blocks.OK if native.lz4_block(payload.data, flat.view(np.uint8)) == flat.nbytes else blocks.BAD_BLOCK
    elif encoding is Encoding.LZ4_HDF5:
        code = blocks.decode_lz4_blocks(source[HEADER.size :], block_bytes, flat.view(np.uint8))
    else:
        source, _ = shuffled_blocks(payload)
        shuffled, plane = np.empty(block_bytes, np.uint8), np.empty(block_bytes, np.uint8)
        code = blocks.decode_bslz4(source, block_bytes, shuffled, plane, flat)
    if code != blocks.OK:
        raise CorruptPayload(complain(payload, code))
    if payload.dtype != native_type:
        flat.byteswap(inplace=True)
    return out


def shuffled_blocks(payload: Payload) -> tuple[Array, int]:
    """The blocks of a payload in SHUFFLED (uint8), and the bytes that one decodes to. Raises CorruptPayload if its
    header does not fit; the blocks themselves are not looked at."""
    block_bytes = check_header(payload)
    return encoded(payload)[HEADER.size if payload.encoding is Encoding.BSLZ4 else 0 :], block_bytes


def check(payload: Payload) -> None:
    """Check sizes and block lengths without decoding (about 2 µs per MB): what `decode` would find truncated.

    Raises CorruptPayload. Damage inside a block shows only when it is decoded.
    """
    block_bytes = check_header(payload)
    if payload.encoding is Encoding.TILES:
        for _, _, piece in tiles.unpack(payload):
            check(piece)
    elif payload.encoding in DEFLATED:
        _inflate(payload)  # zlib alone can tell
    if payload.encoding in (*UNBLOCKED, Encoding.LZ4_BLOCK):
        return
    source = encoded(payload)[0 if payload.encoding is Encoding.BSLZ4_BARE else HEADER.size :]
    granule = 1 if payload.encoding is Encoding.LZ4_HDF5 else 8 * payload.dtype.itemsize
    if not blocks.lengths_add_up(source, decoded_bytes(payload), block_bytes, granule):
        raise CorruptPayload(complain(payload, blocks.TRUNCATED))


def check_header(payload: Payload) -> int:
    """The size of a decoded block in bytes, if what the payload says of its size fits shape and type.

    Costs nothing next to decoding; keeps a lying header from making us allocate or read too much. Without blocks
    (RAW, LZ4_BLOCK, DEFLATE, TILES) the whole image is one. Raises CorruptPayload.
    """
    expected, encoding = decoded_bytes(payload), payload.encoding
    if (
        encoding is Encoding.BSLZ4
        and payload.nbytes >= HEADER.size
        and HEADER.unpack_from(payload.data) == (expected, BLOCK_BYTES)
    ):
        return BLOCK_BYTES  # nearly every frame: this is asked three times of each
    if encoding is Encoding.RAW and payload.nbytes != expected:
        raise CorruptPayload(f"{payload.nbytes} bytes instead of {expected} for {_describe(payload)}")
    if encoding in UNBLOCKED or encoding is Encoding.LZ4_BLOCK:
        return expected
    default = default_block_bytes(payload.dtype.itemsize)
    if encoding is Encoding.BSLZ4_BARE:
        return default
    if payload.nbytes < HEADER.size:
        raise CorruptPayload(f"{payload.nbytes} bytes are too short for the header of {_describe(payload)}")
    size, block = HEADER.unpack_from(payload.data)
    if size != expected:
        raise CorruptPayload(f"its header speaks of {size} bytes instead of {expected} for {_describe(payload)}")
    if encoding is Encoding.BSLZ4:
        block = block or default
        if block % (8 * payload.dtype.itemsize) or block > LARGEST_BLOCK:
            raise CorruptPayload(
                f"{_describe(payload)}: block size {block} is not a multiple of 8 elements below 1 MiB"
            )
    elif not 0 < block <= 0x7FFFFFFF:
        raise CorruptPayload(f"{_describe(payload)}: block size {block} is out of range")
    return int(block)


def with_header(payload: Payload) -> Payload | None:
    """The same compressed bytes as HDF5's filters want them, and stream2: a header is put before bare ones.

    None where no header makes them readable: they are not compressed, or a bare LZ4 block is as long as its content,
    which HDF5's LZ4 takes for a block that is stored raw.
    """
    encoding, expected = payload.encoding, decoded_bytes(payload)
    if encoding in (Encoding.BSLZ4, Encoding.LZ4_HDF5, *DEFLATED):
        return payload
    if encoding is Encoding.BSLZ4_BARE:
        header, encoding = HEADER.pack(expected, default_block_bytes(payload.dtype.itemsize)), Encoding.BSLZ4
    elif encoding is Encoding.LZ4_BLOCK and payload.nbytes != expected:
        header = HEADER.pack(expected, expected) + payload.nbytes.to_bytes(4, "big")
        encoding = Encoding.LZ4_HDF5
    else:
        return None
    return Payload(b"".join((header, payload.data)), encoding, payload.shape, payload.dtype)


def decoded_bytes(payload: Payload) -> int:
    """Bytes of the decoded image."""
    return math.prod(payload.shape) * payload.dtype.itemsize


def default_block_bytes(itemsize: int) -> int:
    """bitshuffle's own block size where none is named: 8192 bytes in multiples of 8 elements, at least 128 of them."""
    return max(8192 // itemsize // 8 * 8, 128) * itemsize


def encoded(payload: Payload) -> Array:
    """The encoded bytes, read-only: a kernel called with writable ones too would be compiled twice."""
    source = np.frombuffer(payload.data, np.uint8)
    source.flags.writeable = False
    return source


def _inflate(payload: Payload) -> bytes:
    """What the zlib stream of a payload holds, of exactly the size that is expected. Raises CorruptPayload."""
    expected = decoded_bytes(payload)
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(payload.data, expected + 1)
    except zlib.error as error:
        raise CorruptPayload(f"{_describe(payload)}: it does not decompress: {error}") from error
    if len(data) != expected or not stream.eof or stream.unused_data:
        problem = "its end is missing" if len(data) == expected and not stream.eof else "it is not as long as its frame"
        raise CorruptPayload(f"{_describe(payload)}: {problem}")
    return data


def complain(payload: Payload, code: int) -> str:
    """What the code of a block decoder means, in words."""
    return f"{_describe(payload)}: {_WORDS[code]}"


def _describe(payload: Payload) -> str:
    rows, columns = payload.shape
    return f"{payload.encoding.value} frame of {rows} x {columns} {payload.dtype}"
