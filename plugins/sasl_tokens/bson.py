"""BSON, as far as SASL payloads and the claims of a token need it; strict both ways.

    document = int32 element* NUL        the length counts itself and the NUL
    element  = type key NUL value

Written are double, string, document, array, binary (subtype 0), bool, null, int32 and int64.
The other types that the specification knows are read as well, for unknown fields of a document
are ignored by their readers: each has its length checked, and stays an `Opaque`.

Stricter than a database has to be: lengths agree to the byte, text is UTF-8, no key comes
twice, an array's keys are 0, 1, 2 and so on, a bool is 0 or 1, and depth and size have bounds.

Source: bsonspec.org, version 1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeAlias, cast

import attrs

from sasl_core.plugin import PeerError, UsageError, record

__all__ = ["DEPTH_LIMIT", "SIZE_LIMIT", "Opaque", "decode_document", "encode_document"]

DEPTH_LIMIT: Final = 20
"""Most documents and arrays inside each other, the outermost included."""

SIZE_LIMIT: Final = 65_536
"""Longest document, in octets."""


@record
class Opaque:
    """A value of a type that is only stepped over: its type's number, and its octets as sent."""

    type: int
    data: bytes = attrs.field(repr=False)


def decode_document(data: bytes) -> dict[str, object]:
    """Read `data`, which is one document and nothing else.

    Values are float, str, dict, list, bytes, bool, None, int, or `Opaque` for any other type
    of BSON.

    Raises:
        PeerError: it is malformed, or larger or deeper than the limits; code "bson".
    """
    if len(data) > SIZE_LIMIT:
        _refuse(f"more than {SIZE_LIMIT} octets")
    octets = _Octets(data)
    document = octets.document()
    if octets.at != len(data):
        _refuse("octets follow the document")
    return document


def encode_document(document: Mapping[str, object]) -> bytes:
    """Write a document whose values are of the types above; an int as int32 if it fits.

    Raises:
        UsageError: a value of another type, a key that is no text or holds a NUL, text that
            UTF-8 cannot hold, an int of more than 64 bits, or too much of it; code "bson".
    """
    data = _write_document(document, 1)
    if len(data) > SIZE_LIMIT:
        raise _unsendable(f"more than {SIZE_LIMIT} octets")
    return data


# --- reading ------------------------------------------------------------------------------

_int32 = struct.Struct("<i").unpack_from
_int64 = struct.Struct("<q").unpack_from
_double = struct.Struct("<d").unpack_from

_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _BINARY = 0x01, 0x02, 0x03, 0x04, 0x05
_BOOL, _NULL, _INT32, _INT64 = 0x08, 0x0A, 0x10, 0x12
_GENERIC, _OLD = 0x00, 0x02


class _Octets:
    """What is read, how far, and where what is read now must end."""

    __slots__ = ("at", "data", "depth", "end")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.end = len(data)
        self.depth = 0

    def document(self) -> dict[str, object]:
        values: dict[str, object] = {}
        outer = self._enter()
        while self.at < self.end:
            read = self._reader()
            key = self.key()
            if key in values:
                _refuse("a key comes twice")
            values[key] = read(self)
        self._leave(outer)
        return values

    def array(self) -> list[object]:
        values: list[object] = []
        outer = self._enter()
        while self.at < self.end:
            read = self._reader()
            if self.key() != str(len(values)):
                _refuse("the keys of an array are not 0, 1, 2 and so on")
            values.append(read(self))
        self._leave(outer)
        return values

    def _enter(self) -> int:
        """Begin a document, whose last octet is `end` from now on; what `end` was before."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            _refuse(f"more than {DEPTH_LIMIT} documents inside each other")
        size = self.length(least=5, counted=4)
        last = self.at + size - 1
        if self.data[last]:
            _refuse("a document does not end with NUL")
        outer, self.end = self.end, last
        return outer

    def _leave(self, outer: int) -> None:
        self.depth -= 1
        self.at += 1
        self.end = outer

    def _reader(self) -> _Reader:
        read = _READERS.get(number := self.data[self.at])
        if read is None:
            _refuse(f"no type of BSON has the number {number}")
        self.at += 1
        return read

    def take(self, size: int) -> int:
        """Step over `size` octets; where they began."""
        start = self.at
        if size > self.end - start:
            _refuse("a value reaches beyond what holds it")
        self.at = start + size
        return start

    def length(self, *, least: int, counted: int = 0) -> int:
        """A length. `counted`: how many of the octets that it counts are its own."""
        (length,) = _int32(self.data, self.take(4))
        if length < least:
            _refuse("a length is too small")
        if length - counted > self.end - self.at:
            _refuse("a length reaches beyond what holds it")
        return int(length) - counted

    def key(self) -> str:
        """Text up to a NUL."""
        stop = self.data.find(b"\0", self.at, self.end)
        if stop < 0:
            _refuse("a key, or part of a regular expression, does not end")
        text = _text(self.data[self.at : stop])
        self.at = stop + 1
        return text

    def string(self) -> str:
        size = self.length(least=1)
        start = self.take(size)
        if self.data[self.at - 1]:
            _refuse("a string does not end with NUL")
        return _text(self.data[start : self.at - 1])

    def binary(self) -> bytes | Opaque:
        start = self.at
        size = self.length(least=0)
        subtype = self.data[self.take(1)]
        content = self.take(size)
        if subtype == _GENERIC:
            return self.data[content : self.at]
        # The old subtype counts its octets a second time, inside.
        if subtype == _OLD and (size < 4 or _int32(self.data, content)[0] != size - 4):
            _refuse("the two lengths of a binary differ")
        return Opaque(_BINARY, self.data[start : self.at])

    def boolean(self) -> bool:
        value = self.data[self.take(1)]
        if value > 1:
            _refuse("a bool is neither 0 nor 1")
        return value == 1

    def code(self) -> None:
        """JavaScript with its scope: a length, a string and a document."""
        size = self.length(least=14, counted=4)
        outer, self.end = self.end, self.at + size
        _ = self.string(), self.document()
        if self.at != self.end:
            _refuse("code does not end where its length says")
        self.end = outer


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    # Raised out here: a UnicodeDecodeError in its context would carry the text.
    return _refuse("text is not UTF-8")


def _refuse(problem: str) -> NoReturn:
    # Nothing of the document is in the message: it may be a token.
    raise PeerError(f"BSON: {problem}", code="bson")


_Reader: TypeAlias = "Callable[[_Octets], object]"
"""Reads a value of one type, and moves to where it ends."""


def _opaque(number: int, skip: _Reader) -> _Reader:
    def read(octets: _Octets) -> Opaque:
        start = octets.at
        _ = skip(octets)
        return Opaque(number, octets.data[start : octets.at])

    return read


_SKIPPED: Final[Mapping[int, _Reader]] = {
    0x06: lambda octets: octets.take(0),  # undefined
    0x07: lambda octets: octets.take(12),  # ObjectId
    0x09: lambda octets: octets.take(8),  # UTC datetime
    0x0B: lambda octets: (octets.key(), octets.key()),  # regular expression, its options
    0x0C: lambda octets: (octets.string(), octets.take(12)),  # DBPointer
    0x0D: _Octets.string,  # JavaScript
    0x0E: _Octets.string,  # symbol
    0x0F: _Octets.code,
    0x11: lambda octets: octets.take(8),  # timestamp
    0x13: lambda octets: octets.take(16),  # decimal128
    0x7F: lambda octets: octets.take(0),  # max key
    0xFF: lambda octets: octets.take(0),  # min key
}

_READERS: Final[Mapping[int, _Reader]] = {
    _DOUBLE: lambda octets: _double(octets.data, octets.take(8))[0],
    _STRING: _Octets.string,
    _DOCUMENT: _Octets.document,
    _ARRAY: _Octets.array,
    _BINARY: _Octets.binary,
    _BOOL: _Octets.boolean,
    _NULL: lambda _octets: None,
    _INT32: lambda octets: _int32(octets.data, octets.take(4))[0],
    _INT64: lambda octets: _int64(octets.data, octets.take(8))[0],
    **{number: _opaque(number, skip) for number, skip in _SKIPPED.items()},
}


# --- writing ------------------------------------------------------------------------------


def _write_document(document: Mapping[str, object], depth: int) -> bytes:
    if depth > DEPTH_LIMIT:
        raise _unsendable(f"more than {DEPTH_LIMIT} documents inside each other")
    return _framed([_write_element(_key(key), each, depth) for key, each in document.items()])


def _write_array(values: Sequence[object], depth: int) -> bytes:
    if depth > DEPTH_LIMIT:
        raise _unsendable(f"more than {DEPTH_LIMIT} documents inside each other")
    return _framed([_write_element(b"%d" % n, each, depth) for n, each in enumerate(values)])


def _framed(elements: list[bytes]) -> bytes:
    body = b"".join(elements)
    return b"%b%b\0" % (struct.pack("<i", len(body) + 5), body)


def _write_element(key: bytes, value: object, depth: int) -> bytes:
    number, data = _write_value(value, depth)
    return b"%c%b\0%b" % (number, key, data)


def _write_value(value: object, depth: int) -> tuple[int, bytes]:
    """The type's number, and the octets."""
    match value:
        case str():
            text = _utf8(value)
            return _STRING, b"%b%b\0" % (struct.pack("<i", len(text) + 1), text)
        case bool():
            return _BOOL, b"\1" if value else b"\0"
        case int() if -(2**31) <= value < 2**31:
            return _INT32, struct.pack("<i", value)
        case int() if -(2**63) <= value < 2**63:
            return _INT64, struct.pack("<q", value)
        case int():
            raise _unsendable("a number of more than 64 bits")
        case None:
            return _NULL, b""
        case float():
            return _DOUBLE, struct.pack("<d", value)
        case bytes():
            return _BINARY, b"%b%c%b" % (struct.pack("<i", len(value)), _GENERIC, value)
        case Mapping():
            return _DOCUMENT, _write_document(cast("Mapping[str, object]", value), depth + 1)
        case list() | tuple():
            return _ARRAY, _write_array(cast("Sequence[object]", value), depth + 1)
        case _:
            raise _unsendable(f"a value of type {type(value).__name__}")


def _key(key: object) -> bytes:
    # The signature says str, and a mapping that came from elsewhere may not know that.
    if not isinstance(key, str):
        raise _unsendable(f"a key of type {type(key).__name__}")
    data = _utf8(key)
    if b"\0" in data:
        raise _unsendable("a key that holds a NUL")
    return data


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    # Raised out here: a UnicodeEncodeError in its context would carry the text.
    raise _unsendable("text that UTF-8 cannot hold")


def _unsendable(problem: str) -> UsageError:
    return UsageError(f"BSON as it is written here cannot hold {problem}", code="bson")
