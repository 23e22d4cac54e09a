"""Messages of MongoDB's wire protocol: octets to requests, and replies to octets.

    message  = length requestID responseTo opCode body         four int32, little-endian
    OP_MSG   = flags section... [checksum]                     both ways
    section  = 0 document | 1 size identifier NUL document...
    OP_QUERY = flags collection NUL skip count document [document]      a client's first hello
    OP_REPLY = flags cursor from count document                         the answer to that

Invariants: what a message's length announces is checked before any of it is kept; lengths
inside agree with it to the octet; a document's content is not looked at here, nor what a
sequence holds, for walking through millions of documents holds up everybody. Whatever is not
a request is a `PeerError` after which the connection has to end, for nobody knows where
the next message begins.

Source: MongoDB's manual, "MongoDB Wire Protocol"; OP_MSG in the driver specifications.
"""

from __future__ import annotations

import struct
from typing import Final, NoReturn

import attrs

from sasl_core.plugin import PeerError, record

__all__ = [
    "Request",
    "RequestReader",
    "Sequence",
    "format_msg",
    "format_reply",
]

HEADER: Final = struct.Struct("<iiii")
_INT32: Final = struct.Struct("<i")
_FLAGS: Final = struct.Struct("<I")
_REPLY: Final = struct.Struct("<iqii")

OP_REPLY: Final = 1
OP_QUERY: Final = 2004
OP_MSG: Final = 2013

CHECKSUM_PRESENT: Final = 1 << 0
MORE_TO_COME: Final = 1 << 1
_REQUIRED_FLAGS: Final = 0xFFFF
"""Flags that nobody may pass over who does not know them; of the others one may."""

SMALLEST_DOCUMENT: Final = 5
AWAIT_CAPABLE: Final = 8

SECTIONS: Final = 64
"""Most sections of one message; drivers send two."""

SEQUENCE_NAME: Final = 256
"""Longest identifier of a sequence, in octets."""


@record
class Sequence:
    """A section of kind 1: documents that belong to a command, one after the other.

    Nobody has seen to it that `documents` are any.
    """

    identifier: str
    documents: bytes = attrs.field(repr=False)


@record
class Request:
    """What a client asks: one BSON document, unread.

    `database`: of an OP_QUERY, None for an OP_MSG, whose document names it. `silent`: the
    client expects no answer.
    """

    id: int
    body: bytes = attrs.field(repr=False)
    database: str | None = None
    sequences: tuple[Sequence, ...] = ()
    silent: bool = False


class RequestReader:
    """Takes octets and gives requests."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Append what arrived."""
        self._buffer += data

    def clear(self) -> None:
        """Forget everything that was not handed out."""
        self._buffer.clear()

    def next_request(self, limit: int) -> Request | None:
        """The next request of at most `limit` octets, or None until more arrives.

        Raises:
            PeerError: it is longer, or is no request at all; code "frame". Nothing that
                follows can be read.
        """
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        (length,) = _INT32.unpack_from(buffer)
        if length < HEADER.size:
            _refuse("a message is shorter than its own header")
        if length > limit:
            _refuse(f"a message has more than {limit} octets")
        if len(buffer) < length:
            return None
        with memoryview(buffer) as view:
            message = bytes(view[:length])
        del buffer[:length]
        _, request_id, _, op_code = HEADER.unpack_from(message)
        if op_code == OP_MSG:
            return _msg(request_id, message)
        if op_code == OP_QUERY:
            return _query(request_id, message)
        return _refuse(f"a message with the operation {op_code}")


def format_msg(request_id: int, response_to: int, document: bytes) -> bytes:
    """An OP_MSG whose body is this document."""
    header = HEADER.pack(HEADER.size + 5 + len(document), request_id, response_to, OP_MSG)
    return b"%b%b\0%b" % (header, _FLAGS.pack(0), document)


def format_reply(request_id: int, response_to: int, document: bytes) -> bytes:
    """An OP_REPLY with this one document."""
    size = HEADER.size + _REPLY.size + len(document)
    header = HEADER.pack(size, request_id, response_to, OP_REPLY)
    return b"%b%b%b" % (header, _REPLY.pack(AWAIT_CAPABLE, 0, 0, 1), document)


# --- reading ------------------------------------------------------------------------------


def _msg(request_id: int, message: bytes) -> Request:
    at, end = HEADER.size + 4, len(message)
    if end < at:
        _refuse("an OP_MSG without flags")
    (flags,) = _FLAGS.unpack_from(message, HEADER.size)
    if flags & _REQUIRED_FLAGS & ~(CHECKSUM_PRESENT | MORE_TO_COME):
        _refuse("an OP_MSG with unknown flags that may not be passed over")
    if flags & CHECKSUM_PRESENT:
        # Not compared: TCP has its own, TLS a better one, and a proxy in between makes either
        # anew. It is only not taken for a section.
        end -= 4
    body: bytes | None = None
    sequences: list[Sequence] = []
    count = 0
    while at < end:
        count += 1
        if count > SECTIONS:
            _refuse(f"an OP_MSG with more than {SECTIONS} sections")
        kind = message[at]
        at += 1
        if kind == 0:
            stop = _document(message, at, end)
            if body is not None:
                _refuse("an OP_MSG with two bodies")
            body = message[at:stop]
        elif kind == 1:
            stop = _length(message, at, end)
            sequences.append(_sequence(message, at + 4, stop))
        else:
            _refuse(f"a section of the kind {kind}")
        at = stop
    if body is None or at != end:
        _refuse("an OP_MSG without a body, or that ends within one")
    return Request(request_id, body, None, tuple(sequences), bool(flags & MORE_TO_COME))


def _sequence(message: bytes, at: int, end: int) -> Sequence:
    stop = message.find(b"\0", at, min(end, at + SEQUENCE_NAME + 1))
    if stop < 0:
        _refuse("the identifier of a sequence does not end")
    name = _name(message[at:stop])
    return Sequence(name, message[stop + 1 : end])


def _query(request_id: int, message: bytes) -> Request:
    at, end = HEADER.size + 4, len(message)
    stop = message.find(b"\0", at)
    if stop < 0 or end - stop - 1 < 8:
        _refuse("an OP_QUERY without a collection, or that ends after it")
    database, dot, collection = _name(message[at:stop]).partition(".")
    if not dot or collection != "$cmd" or not database:
        _refuse("an OP_QUERY that is no command")
    at = stop + 1 + 8
    body_end = _document(message, at, end)
    # What may follow selects fields of the answer. Nobody asks that of a command.
    rest = body_end if body_end == end else _document(message, body_end, end)
    if rest != end:
        _refuse("octets follow the documents of an OP_QUERY")
    return Request(request_id, message[at:body_end], database)


def _length(message: bytes, at: int, end: int, least: int = 4) -> int:
    """Where what begins at `at` ends, by the length that it begins with."""
    if end - at < 4:
        _refuse("a message that ends within a length")
    (length,) = _INT32.unpack_from(message, at)
    if length < least or length > end - at:
        _refuse("a length that cannot be")
    return at + int(length)


def _document(message: bytes, at: int, end: int) -> int:
    """Where the document at `at` ends."""
    stop = _length(message, at, end, SMALLEST_DOCUMENT)
    if message[stop - 1]:
        _refuse("a document does not end with NUL")
    return stop


def _name(data: bytes) -> str:
    if not data.isascii():
        # Nothing here has such a name, and a UnicodeDecodeError would carry the message along.
        _refuse("a name beyond ASCII")
    return data.decode("ascii")


def _refuse(problem: str) -> NoReturn:
    raise PeerError(f"MongoDB: {problem}", code="frame")
