"""Lines out of a stream of bytes: only CRLF ends one.

Invariants: a line feed without its carriage return, or the reverse, is never taken for the
end of a line, for two readers that disagree about it let commands be smuggled past one of
them (CVE-2023-51764). A line over its limit is thrown away as it arrives: what is kept never
exceeds the limit and the last chunk fed. No input makes anything but a `PeerError`.
"""

from __future__ import annotations

from typing import Final

from sasl_core.plugin import PeerError

__all__ = ["BARE_NEWLINE", "FLOOD", "LINE_TOO_LONG", "LineReader"]

BARE_NEWLINE: Final = "bare-newline"
LINE_TOO_LONG: Final = "line-too-long"
FLOOD: Final = "line-flood"

DISCARD_LIMIT: Final = 1 << 20
"""Octets of one over-long line that are thrown away before the peer is given up."""


class LineReader:
    """Collects bytes and hands out lines without their CRLF."""

    __slots__ = ("_buffer", "_discarded", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        # Octets of the current line thrown away so far; None while the line fits.
        self._discarded: int | None = None

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Append what arrived."""
        self._buffer += data

    def peek(self, count: int) -> bytes:
        """The first `count` octets of what is buffered, fewer when there are fewer."""
        return bytes(self._buffer[:count])

    def take(self) -> bytes:
        """Hand out all that is buffered, and hold nothing."""
        data = bytes(self._buffer)
        self.clear()
        return data

    def clear(self) -> None:
        """Forget everything, an over-long line in progress too."""
        self._buffer.clear()
        self._scanned = 0
        self._discarded = None

    def next_line(self, limit: int) -> bytes | None:
        """The next line without its CRLF, or None until more arrives.

        `limit` is in octets, CRLF included (RFC 5321 section 4.5.3.1.4).

        Raises:
            PeerError: code `bare-newline` for a CR or LF that is not part of a CRLF;
                `line-too-long` once the over-long line has ended, and the next call
                reads on behind it; `line-flood` when no end of it is in sight.
        """
        buffer = self._buffer
        end = buffer.find(b"\n", self._scanned)
        # The last octet may be the CR of a CRLF whose LF has not arrived.
        stop = len(buffer) - 1 if end < 0 else end - 1
        if buffer.find(b"\r", self._scanned, max(stop, 0)) >= 0 or (
            end >= 0 and (end == 0 or buffer[end - 1] != 0x0D)
        ):
            self.clear()
            raise PeerError("a line did not end with CRLF", code=BARE_NEWLINE)
        if end < 0:
            self._scanned = max(stop, 0)
            open_end = buffer.endswith(b"\r")
            if self._discarded is not None or len(buffer) - open_end > limit - 2:
                self._discard(len(buffer) - open_end)
            return None
        line = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        self._scanned = 0
        discarded, self._discarded = self._discarded, None
        if discarded is not None or len(line) > limit - 2:
            raise PeerError("a line is too long", code=LINE_TOO_LONG)
        return line

    def _discard(self, count: int) -> None:
        total = (self._discarded or 0) + count
        if total > DISCARD_LIMIT:
            self.clear()
            raise PeerError("a line has no end", code=FLOOD)
        del self._buffer[:count]
        self._scanned = 0
        self._discarded = total
