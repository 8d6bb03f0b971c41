"""The CBOR reader against cbor2, the examples of RFC 8949, and against bytes that lie."""

import io
import math
import tracemalloc
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.wire import cbor, cbor_sequence
from stream.wire.cbor import CborError, Simple, Tag, Truncated
from stream.wire.limits import Limits

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""
SCALARS = (
    st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.booleans()
    | st.none()
)
KEYS = st.text(max_size=8) | st.integers(-(2**64), 2**64 - 1).filter(lambda key: key > 1)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(KEYS, inner, max_size=6)
        | st.builds(cbor2.CBORTag, st.integers(50_000, 2**32), inner)
    ),
    max_leaves=25,
)


def comparable(value: Any) -> Any:
    """The same tree for our reader's output and for what cbor2 was given."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, Simple) or value is cbor2.undefined:
        return ("simple", 23 if value is cbor2.undefined else int(value))
    if isinstance(value, cbor2.CBORSimpleValue):
        return ("simple", value.value)
    if isinstance(value, Tag):
        return ("tag", value.number, comparable(value.value))
    if isinstance(value, cbor2.CBORTag):
        return ("tag", value.tag, comparable(value.value))
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {comparable(key): comparable(item) for key, item in value.items()}
    return value


@pytest.mark.slow
@given(DOCUMENTS, st.booleans())
@settings(PATIENT, max_examples=300)
def test_whatever_cbor2_writes_is_read_back(document: Any, canonical: bool) -> None:
    data = cbor2.dumps(document, canonical=canonical)
    assert comparable(cbor.loads(data)) == comparable(document)
    assert cbor_sequence.read_item(io.BytesIO(data + b"\x00")) == data


@given(DOCUMENTS)
@settings(PATIENT, max_examples=100)
def test_a_document_cut_anywhere_is_truncated(document: Any) -> None:
    data = cbor2.dumps(document)
    for end in range(len(data)):
        with pytest.raises(Truncated):
            cbor.loads(data[:end])
        if end:
            with pytest.raises(Truncated):
                cbor_sequence.read_item(io.BytesIO(data[:end]))


@given(st.binary(max_size=60))
@settings(PATIENT, max_examples=1000)
def test_any_bytes_give_a_value_or_a_cbor_error(data: bytes) -> None:
    try:
        value = cbor.loads(data)
    except CborError:
        return
    assert cbor_sequence.read_item(io.BytesIO(data)) == data, "both readers agree where an item ends"
    if "Tag(" not in repr(value):  # cbor2 reads meaning into tags
        assert repr(comparable(value)) == repr(comparable(cbor2.loads(data)))


@pytest.mark.parametrize(
    ("hexadecimal", "expected"),
    [
        ("00", 0),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616),
        ("f90001", 5.960464477539063e-8),
        ("f97bff", 65504.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f97c00", math.inf),
        ("f4", False),
        ("f6", None),
        ("f7", Simple(23)),
        ("f8ff", Simple(255)),
        ("64f0908591", "\U00010151"),
        ("c11a514b67b0", Tag(1, 1363896240)),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9fff", []),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("83018202039f0405ff", [1, [2, 3], [4, 5]]),
        ("d9d9f7a0", Tag(55799, {})),
    ],
)
def test_examples_of_rfc_8949_are_read(hexadecimal: str, expected: Any) -> None:
    found = cbor.loads(bytes.fromhex(hexadecimal))
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, memoryview)
    assert math.isnan(cbor.loads(bytes.fromhex("f97e00")))


def test_byte_strings_are_views_into_the_message() -> None:
    data = cbor2.dumps({"data": bytes(100_000)})
    found = cbor.loads(data)["data"]
    assert np.shares_memory(np.frombuffer(found, np.uint8), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("hexadecimal", "text"),
    [
        ("a2616101616102", "duplicate"),
        ("bf616101616102ff", "duplicate"),
        ("bf6161ff", "no value"),
        ("62c328", "UTF-8"),
        ("7f61c361a9ff", "UTF-8"),
        ("0000", "follow"),
        ("ff", "break"),
        ("81ff", "break"),
        ("a1ff01", "as key"),
        ("a161ff", "UTF-8"),
        ("a16161ff", "break"),
        ("c1ff", "without"),
        ("1c", "begins no CBOR item"),
        ("5f6161ff", "chunk"),
        ("7f7f6161ffff", "chunk"),
        ("1f", "begins no CBOR item"),
        ("df00", "begins no CBOR item"),
        ("f81f", "reserved"),
        ("fc", "reserved"),
        ("a1800a", "as key"),
        ("a1c00001", "as key"),
    ],
)
def test_malformed_items_are_refused_with_the_reason(hexadecimal: str, text: str) -> None:
    with pytest.raises(CborError, match=text):
        cbor.loads(bytes.fromhex(hexadecimal))


@pytest.mark.parametrize("head", ["5b", "7b", "9b", "bb", "df5b", "815b", "5f5b", "bf61615b", "a161615b"])
@pytest.mark.parametrize("length", ["00000000ffffffff", "7fffffffffffffff", "ffffffffffffffff"])
def test_a_forged_length_allocates_nothing(head: str, length: str) -> None:
    data = bytes.fromhex(head + length)
    tracemalloc.start()
    try:
        for read in (cbor.loads, lambda item: cbor_sequence.read_item(io.BytesIO(item * 2))):
            with pytest.raises(CborError):
                read(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("level", [b"\x81", b"\xa1\x00", b"\xc1", b"\x9f", b"\xbf\x00"])
def test_nesting_beyond_the_limit_is_refused(level: bytes) -> None:
    closing = b"\xff" if level[0] & 31 == 31 else b""
    assert cbor.loads(level * 32 + b"\x00" + closing * 32) is not None
    for depth in (33, 100_000):
        with pytest.raises(CborError, match="nested"):
            cbor.loads(level * depth + b"\x00" + closing * depth)


@pytest.mark.parametrize("data", [b"\x99\x27\x10" + bytes(10_000), b"\x9f" + bytes(10_000) + b"\xff"])
def test_more_items_than_the_limit_are_refused(data: bytes) -> None:
    assert len(cbor.loads(data, Limits(items=10_000))) == 10_000
    with pytest.raises(CborError, match="more items"):
        cbor.loads(data, Limits(items=9_999))


def test_a_message_beyond_the_size_limit_is_refused_unread() -> None:
    data = cbor2.dumps(bytes(2000))
    with pytest.raises(CborError, match="max_message_mb"):
        cbor.loads(data, Limits(message_bytes=1000))
    with pytest.raises(CborError, match="max_message_mb"):
        cbor_sequence.read_item(io.BytesIO(data), Limits(message_bytes=1000))


@given(st.lists(DOCUMENTS, max_size=5))
@settings(PATIENT, max_examples=50)
def test_a_sequence_is_split_into_its_items(documents: list[Any]) -> None:
    items = [cbor2.dumps(document) for document in documents]
    stream = io.BytesIO(b"".join(items))
    found = []
    while (item := cbor_sequence.read_item(stream)) is not None:
        found.append(bytes(item))
    assert found == items
