"""Replies of a MongoDB server: octets to one BSON document each, unread.

    OP_MSG = header flags 0 document [checksum]

What `wire` reads, a server's commands, is wider: a reply to a login is one document.

Invariants: what a reply's length announces is checked before any of it is kept; the length
inside agrees with it to the octet. Whatever is no such reply is a `PeerError` after which the
connection has to end, for nobody knows where the next one begins.

Source: MongoDB's manual, "MongoDB Wire Protocol"; OP_MSG in the driver specifications.
"""

from __future__ import annotations

import struct
from typing import Final, NoReturn

import attrs

from sasl_core.plugin import PeerError, record
from sasl_profiles.mongodb.wire import CHECKSUM_PRESENT, HEADER, OP_MSG, SMALLEST_DOCUMENT
from sasl_tokens.bson import SIZE_LIMIT

__all__ = ["REPLY_LIMIT", "MongodbReply", "ReplyReader"]

_BEGINNING: Final = struct.Struct("<IBi")
"""Flags, the kind of the section, and the length of its document."""

_CHECKSUM: Final = 4

REPLY_LIMIT: Final = HEADER.size + _BEGINNING.size - 4 + SIZE_LIMIT + _CHECKSUM
"""Longest reply, in octets: its document is at most one that is read."""

_LENGTH: Final = struct.Struct("<i")

_MUST_BE_KNOWN: Final = 0xFFFF
"""Flags that nobody may pass over who does not know them; of the others one may."""


@record
class MongodbReply:
    """What a server said, and to which request."""

    response_to: int
    body: bytes = attrs.field(repr=False)


class ReplyReader:
    """Takes octets and gives replies."""

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

    def next_reply(self) -> MongodbReply | None:
        """The next reply, or None until more arrives.

        Raises:
            PeerError: it is too long, or no reply at all; code "frame".
        """
        buffer = self._buffer
        if len(buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if not HEADER.size + _BEGINNING.size <= length <= REPLY_LIMIT:
            _refuse(f"a reply of {length} octets; up to {REPLY_LIMIT} are read")
        if len(buffer) < length:
            return None
        message = bytes(buffer[:length])
        del buffer[:length]
        _, _, response_to, op_code = HEADER.unpack_from(message)
        if op_code != OP_MSG:
            _refuse(f"a reply with the operation {op_code}")
        flags, kind, size = _BEGINNING.unpack_from(message, HEADER.size)
        if flags & _MUST_BE_KNOWN & ~CHECKSUM_PRESENT:
            # Among them that more replies come, which nobody asked for.
            _refuse("a reply with flags that cannot be")
        if kind:
            _refuse("a reply that does not begin with its document")
        at = HEADER.size + _BEGINNING.size - 4
        # Not compared: TCP has its own, TLS a better one. It is only not taken for a section.
        end = length - _CHECKSUM if flags & CHECKSUM_PRESENT else length
        if size < SMALLEST_DOCUMENT or at + size != end:
            _refuse("a reply that is more or less than its document")
        return MongodbReply(response_to, message[at:end])


def _refuse(problem: str) -> NoReturn:
    raise PeerError(f"MongoDB: {problem}", code="frame")
