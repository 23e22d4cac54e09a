"""The strict codec against pymongo's: what we accept it accepts, with the same value."""

from __future__ import annotations

import datetime as dt
import random
import struct
from types import MappingProxyType
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import PeerError, SaslError, UsageError
from sasl_tokens.bson import DEPTH_LIMIT, SIZE_LIMIT, Opaque, decode_document, encode_document

# A date that Python cannot hold is a date nevertheless.
ORACLE: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

INT64 = st.integers(-(2**63), 2**63 - 1)
# pymongo puts "_id" first, and makes references of documents that hold "$ref".
KEYS = st.text(st.characters(exclude_characters="\0$", codec="utf-8"), max_size=8).filter(
    lambda key: key != "_id"
)
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)

OPAQUE: dict[int, tuple[object, type]] = {
    0x05: (Binary(b"0123456789abcdef", 4), Binary),
    0x07: (ObjectId(b"twelve bytes"), ObjectId),
    0x09: (dt.datetime(2024, 5, 6, tzinfo=dt.UTC), dt.datetime),
    0x0B: (Regex("^a.c$", "im"), Regex),
    0x0D: (Code("return 1"), Code),
    0x0F: (Code("return x", {"x": 1}), Code),
    0x11: (Timestamp(1, 2), Timestamp),
    0x13: (Decimal128("1.5"), Decimal128),
    0x7F: (MaxKey(), MaxKey),
    0xFF: (MinKey(), MinKey),
}
"""Type -> a value that pymongo writes as one, and what it reads it as."""

UNWRITTEN: dict[int, tuple[bytes, type]] = {
    0x06: (b"", type(None)),
    0x0C: (b"\x03\0\0\0ab\0" + b"twelve bytes", DBRef),
    0x0E: (b"\x03\0\0\0ab\0", str),
}
"""Deprecated types, which pymongo reads and does not write."""

KINDS = {number: kind for number, (_, kind) in {**OPAQUE, **UNWRITTEN}.items()}


def same(ours: object, theirs: object) -> bool:
    """Whether two decoded values are one, to the bit and the type."""
    match ours:
        case Opaque():
            kind = KINDS[ours.type]
            return isinstance(theirs, kind | bson.DatetimeMS if ours.type == 9 else kind)
        case dict():
            return (
                isinstance(theirs, dict)
                and list(ours) == list(theirs)
                and all(same(value, theirs[key]) for key, value in ours.items())
            )
        case list():
            return (
                isinstance(theirs, list)
                and len(ours) == len(theirs)
                and all(map(same, ours, theirs))
            )
        case float():
            return isinstance(theirs, float) and struct.pack("<d", ours) == struct.pack(
                "<d", theirs
            )
        case int() if isinstance(theirs, Int64):
            return ours == theirs
        case _:
            return type(ours) is type(theirs) and ours == theirs


def document(*elements: bytes) -> bytes:
    """A document of elements that are written down."""
    body = b"".join(elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def agree(data: bytes) -> bool:
    """Whether we accept `data`; if so, the oracle does, and reads the same."""
    try:
        ours = decode_document(data)
    except PeerError as error:
        refusal = error
    else:
        assert same(ours, bson.decode(data, ORACLE)), data
        return True
    assert refusal.code == "bson"
    assert refusal.__context__ is None
    return False


@given(DOCUMENTS)
def test_both_write_the_same(values: dict[str, Any]) -> None:
    """What we write is pymongo's to the byte, and both read it as it was."""
    data = encode_document(values)
    assert data == bson.encode(values)
    assert agree(data)
    assert same(decode_document(data), values)


@given(st.binary(max_size=80))
def test_any_octets_are_accepted_or_refused(data: bytes) -> None:
    """Nothing else than a PeerError comes out, as a document and inside of one."""
    agree(data)
    agree(document(data))
    agree(document(b"\x03d\0" + document(data)))
    agree(document(b"\x040\0" + document(data)))


@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_mutations_are_never_read_otherwise(values: dict[str, Any], chance: random.Random) -> None:
    """A document with octets changed, cut or doubled is refused, or is what pymongo reads."""
    data = bytearray(encode_document({**values, "jwt": "a.b.c", "more": [1, {"deep": True}]}))
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[start] ^= 1 << chance.randrange(8)
            case 1:
                data[start] = chance.choice((0, 1, 2, 3, 5, 0x7F, 0x80, 0xFF))
            case 2:
                del data[start : start + chance.randint(1, 4)]
            case _:
                data[start:start] = data[start : start + chance.randint(1, 4)]
        if not data:
            break
    agree(bytes(data))
    # The outermost length is put right, so that more than this is looked at.
    agree(struct.pack("<i", len(data)) + bytes(data[4:]))


def test_every_bit_of_a_small_document() -> None:
    """Each bit that is flipped is refused or read alike; some of both happen."""
    values = {"n": "ünder", "a": [1, 2**40, 1.5], "d": {"b": True, "z": None}, "x": b"\0\xff"}
    data = encode_document(values)
    outcomes = set()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        outcomes.add(agree(bytes(changed)))
    assert outcomes == {True, False}
    assert not any(agree(data[:size]) for size in range(len(data)))
    assert not any(agree(data + bytes([octet])) for octet in range(256))


@pytest.mark.parametrize("number", OPAQUE, ids=hex)
def test_other_types_are_stepped_over(number: int) -> None:
    """A type that we do not write stays opaque, and what follows it is read."""
    value, _ = OPAQUE[number]
    data = bson.encode({"x": value, "jwt": "token"})
    read = decode_document(data)
    assert read["jwt"] == "token"
    assert read["x"] == Opaque(number, data[7 : data.index(b"\x02jwt")])
    assert agree(data)
    # Any end that is cut off is missed, wherever the lengths around it are put right.
    content = data[7 : data.index(b"\x02jwt")]
    for size in range(len(content)):
        cut = document(bytes([number]) + b"x\0" + content[:size])
        assert not agree(cut), size


@pytest.mark.parametrize("number", UNWRITTEN, ids=hex)
def test_deprecated_types_are_stepped_over(number: int) -> None:
    """So does one that nobody writes any longer."""
    content, _ = UNWRITTEN[number]
    data = document(bytes([number]) + b"x\0" + content, b"\x10n\0\1\0\0\0")
    assert decode_document(data) == {"x": Opaque(number, content), "n": 1}
    assert agree(data)


def test_an_opaque_value_is_not_shown() -> None:
    """What was stepped over may be a secret all the same."""
    assert "secret" not in repr(Opaque(0x0D, b"secret"))


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "a length alone": b"\4\0\0\0",
    "a length of four": b"\4\0\0\0\0",
    "a negative length": b"\xff\xff\xff\xff\0",
    "a length one too small": b"\5\0\0\0\0\0",
    "a length one too large": b"\6\0\0\0\0",
    "no NUL at the end": b"\5\0\0\0\1",
    "an octet after the end": document() + b"\0",
    "a second document": document() * 2,
    "a NUL for a type": document(b"\0"),
    "a type alone": document(b"\x0a"),
    "an unknown type": document(b"\x14x\0"),
    "a key without its NUL": document(b"\x0akey"),
    "a key that is no UTF-8": document(b"\x0a\xff\0"),
    "a surrogate in a key": document(b"\x0a\xed\xa0\x80\0"),
    "a key that comes twice": document(b"\x0ax\0", b"\x0ax\0"),
    "a string of length 0": document(b"\x02x\0\0\0\0\0"),
    "a string of negative length": document(b"\x02x\0\xff\xff\xff\xff\0"),
    "a string without NUL": document(b"\x02x\0\2\0\0\0ab"),
    "a string without a length": document(b"\x02x\0\2\0\0"),
    "a string beyond its document": document(b"\x02x\0\3\0\0\0a\0"),
    "a string beyond an inner document": document(
        b"\x03d\0" + document(b"\x02x\0\3\0\0\0a\0"), b"\x0ay\0"
    ),
    "a string that is no UTF-8": document(b"\x02x\0\3\0\0\0\xc3\x28\0"),
    "an overlong string": document(b"\x02x\0\3\0\0\0\xc0\x80\0"),
    "a surrogate in a string": document(b"\x02x\0\4\0\0\0\xed\xa0\x80\0"),
    "a double that is cut": document(b"\x01x\0\0\0\0\0\0\0\0"),
    "an int32 that is cut": document(b"\x10x\0\0\0\0"),
    "an int64 that is cut": document(b"\x12x\0\0\0\0\0\0\0\0"),
    "a bool that is cut": document(b"\x08x\0"),
    "a bool of 2": document(b"\x08x\0\2"),
    "a bool of 255": document(b"\x08x\0\xff"),
    "a binary without a subtype": document(b"\x05x\0\0\0\0\0"),
    "a binary of negative length": document(b"\x05x\0\xff\xff\xff\xff\0"),
    "a binary beyond its document": document(b"\x05x\0\2\0\0\0\0a"),
    "an old binary with two lengths": document(b"\x05x\0\5\0\0\0\2\2\0\0\0a"),
    "an old binary too short for both": document(b"\x05x\0\3\0\0\0\2\0\0\0"),
    "an array that begins with 1": document(b"\x04x\0" + document(b"\x0a1\0")),
    "an array that skips one": document(b"\x04x\0" + document(b"\x0a0\0\x0a2\0")),
    "an array that repeats one": document(b"\x04x\0" + document(b"\x0a0\0\x0a0\0")),
    "an array with a leading zero": document(b"\x04x\0" + document(b"\x0a00\0")),
    "an array with an empty key": document(b"\x04x\0" + document(b"\x0a\0")),
    "an array in digits of others": document(b"\x04x\0" + document("\x0a\uff10\0".encode())),
    "an inner document beyond the outer": document(b"\x03x\0\x0a\0\0\0\0"),
    "an inner document that ends early": document(b"\x03x\0\5\0\0\0\0\0"),
    "code whose parts end early": document(b"\x0fx\0\x10\0\0\0\2\0\0\0a\0\5\0\0\0\0\0"),
    "code whose length is too small": document(b"\x0fx\0\x0d\0\0\0\1\0\0\0\0\5\0\0\0\0"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_documents_are_refused(data: bytes) -> None:
    """One code for them all, and a message without anything of the document."""
    with pytest.raises(PeerError) as caught:
        decode_document(data)
    assert caught.value.code == "bson"
    assert str(caught.value).startswith("BSON: ")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("number", "opening"), [(3, b"x"), (4, b"0")])
def test_depth_has_a_bound(number: int, opening: bytes) -> None:
    """As many documents inside each other as the limit says, and not one more."""
    data = document()
    for _ in range(DEPTH_LIMIT - 2):
        data = document(bytes([number]) + opening + b"\0" + data)
    data = document(b"\x03x\0" + data)
    assert decode_document(data)
    with pytest.raises(PeerError, match="inside each other"):
        decode_document(document(b"\x03x\0" + data))
    with pytest.raises(PeerError, match="inside each other"):
        decode_document(
            document(b"\x0fx\0" + struct.pack("<i", len(data) + 9) + b"\1\0\0\0\0" + data)
        )
    value: Any = {}
    for _ in range(DEPTH_LIMIT - 1):
        value = {"x": value} if number == 3 else {"x": [value["x"]]} if value else {"x": []}
    assert decode_document(encode_document(value)) == value
    for deeper in ({"x": value}, {"x": [value]}):
        with pytest.raises(UsageError, match="inside each other"):
            encode_document(deeper)


def test_a_value_that_holds_itself_is_refused() -> None:
    """It is only too deep."""
    value: dict[str, object] = {}
    value["x"] = [value]
    with pytest.raises(UsageError, match="inside each other"):
        encode_document(value)


def test_size_has_a_bound() -> None:
    """A document of exactly the limit is read and written."""
    text = "a" * (SIZE_LIMIT - 13)
    data = encode_document({"x": text})
    assert len(data) == SIZE_LIMIT
    assert decode_document(data) == {"x": text}
    with pytest.raises(UsageError, match="octets"):
        encode_document({"x": text + "a"})
    with pytest.raises(PeerError, match="octets"):
        decode_document(bson.encode({"x": text + "a"}))


def test_the_smaller_int_is_written() -> None:
    """Up to 31 bits and a sign it is an int32; and up to 63, an int64."""
    for number, kind in [(2**31 - 1, 0x10), (-(2**31), 0x10), (2**31, 0x12), (-(2**31) - 1, 0x12)]:
        assert encode_document({"x": number})[4] == kind
    assert encode_document({"x": True})[4] == 0x08


def test_what_claims_are_made_of_is_written() -> None:
    """Tuples are arrays, and any mapping is a document."""
    claims = MappingProxyType({"aud": ("a", "b"), "inner": MappingProxyType({"n": 1})})
    assert decode_document(encode_document(claims)) == {"aud": ["a", "b"], "inner": {"n": 1}}


@pytest.mark.parametrize(
    "values",
    [
        {"x": 2**63},
        {"x": -(2**63) - 1},
        {"x": len},
        {"x": {1, 2}},
        {"x": [1j]},
        {"x": Opaque(0x07, b"twelve bytes")},
        {"secret\0key": 1},
        {"x": {"secret\0key": 1}},
        {"secret\ud800": 1},
        {"x": "secret\ud800"},
        {1: "x"},
        {None: "x"},
    ],
    ids=repr,
)
def test_what_cannot_be_written_is_a_usage_error(values: Any) -> None:
    """It says what kind of thing it was, and shows nothing of it."""
    with pytest.raises(UsageError) as caught:
        encode_document(values)
    error: SaslError = caught.value
    assert error.code == "bson"
    assert "secret" not in str(error)
    assert error.__context__ is None
