"""SMTP replies: what a server says, how it is written, and how a client reads it.

Invariants: `parse(format(reply)) == reply`; every line of a formatted reply is printable
ASCII; what the peer sends in its place is a `PeerError`, with bounds on each line, on the
count of lines and so on the whole.

Sources: RFC 5321 sections 4.2 and 4.5.3.1.5; enhanced codes RFC 2034, RFC 3463, RFC 5248;
those of AUTH, RFC 4954 section 6.
"""

from __future__ import annotations

import re
from typing import Final

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    Result,
    SaslError,
    record,
)
from sasl_profiles.smtp.lines import LineReader

__all__ = ["ReplyReader", "SmtpReply", "refusal", "reply"]

REPLY_LINE_LIMIT: Final = 12288 + 6
"""Longest line read from a server, CRLF included: a challenge as long as a response may be."""

REPLY_LINES: Final = 128
"""Most lines of one reply."""

_LINE = re.compile(rb"([2-5][0-5][0-9])(?:([ -])([\t\x20-\x7e]*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: (.*))?", re.DOTALL)


@record
class SmtpReply:
    """One reply: the code, its lines of text, and the enhanced code ("" for none)."""

    code: int
    lines: tuple[str, ...]
    enhanced: str = ""

    @property
    def text(self) -> str:
        """The lines as one string."""
        return " ".join(self.lines)

    def format(self) -> bytes:
        """The octets to send, CRLF included."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        last = len(self.lines) - 1
        return b"".join(
            f"{self.code}{' ' if index == last else '-'}{prefix}{line}\r\n".encode("ascii")
            for index, line in enumerate(self.lines)
        )


def reply(code: int, enhanced: str, *lines: str) -> SmtpReply:
    """A reply of one or more lines."""
    return SmtpReply(code, lines, enhanced)


AUTH_FAILED: Final = reply(535, "5.7.8", "Authentication failed")
AUTH_TEMPORARY: Final = reply(454, "4.7.0", "Temporary authentication failure")
AUTH_UNAVAILABLE: Final = reply(554, "5.3.0", "Authentication is not available")
AUTH_MALFORMED: Final = reply(501, "5.5.2", "Cannot decode the message")
AUTH_EARLY: Final = reply(501, "5.7.0", "The server begins this mechanism")
AUTH_TOO_LONG: Final = reply(500, "5.5.6", "Authentication exchange line is too long")
AUTH_CANCELLED: Final = reply(501, "5.7.0", "Authentication cancelled")
AUTH_UNKNOWN: Final = reply(504, "5.5.4", "Mechanism not available")
AUTH_NEEDS_TLS: Final = reply(538, "5.7.11", "Encryption required for this mechanism")
AUTH_TOO_WEAK: Final = reply(534, "5.7.9", "Mechanism is too weak")
AUTH_TRANSITION: Final = reply(432, "4.7.12", "A password transition is needed")
AUTH_DONE: Final = reply(235, "2.7.0", "Authentication successful")


OK: Final = reply(250, "2.0.0", "OK")
ACCEPTED: Final = reply(250, "2.0.0", "Message accepted")
BAD_SEQUENCE: Final = reply(503, "5.5.1", "Bad sequence of commands")
SYNTAX: Final = reply(501, "5.5.4", "Syntax error in the arguments")
PARAMETER: Final = reply(555, "5.5.4", "Parameter not recognised")
UNKNOWN: Final = reply(500, "5.5.2", "Command not recognised")
NOT_IMPLEMENTED: Final = reply(502, "5.5.1", "Command not implemented")
TOO_LONG: Final = reply(500, "5.5.2", "Line too long")
NO_CRLF: Final = reply(500, "5.5.2", "Lines end with CRLF; closing the connection")
AUTH_REQUIRED: Final = reply(530, "5.7.0", "Authentication required")
TOO_BIG: Final = reply(552, "5.3.4", "Message too big")
TOO_MANY: Final = reply(452, "4.5.3", "Too many recipients")
TEMPORARY: Final = reply(451, "4.3.0", "Try again later")


def refusal(error: SaslError) -> SmtpReply:
    """The reply for a failed exchange; nothing of the error but its kind goes into it.

    A refused peer hears 535 whatever the cause. What is wrong on our side, a broken plugin
    or configuration too, is 454: no client shall throw its password away for it.
    """
    if isinstance(error, AuthenticationError):
        return AUTH_FAILED
    if isinstance(error, PeerError):
        return AUTH_EARLY if error.code == "initial-response-refused" else AUTH_MALFORMED
    if isinstance(error, MechanismError):
        return {
            Result.ENCRYPT: AUTH_NEEDS_TLS,
            Result.TOOWEAK: AUTH_TOO_WEAK,
            Result.TRANS: AUTH_TRANSITION,
        }.get(error.result, AUTH_UNKNOWN)
    if isinstance(error, BackendError) and not error.temporary:
        return AUTH_UNAVAILABLE
    return AUTH_TEMPORARY


class ReplyReader:
    """Reads a server's replies; the client's side of the wire."""

    __slots__ = ("_code", "_lines", "_reader")

    def __init__(self) -> None:
        self._reader = LineReader()
        self._code = 0
        self._lines: list[str] = []

    def __len__(self) -> int:
        return len(self._reader) + len(self._lines)

    def feed(self, data: bytes) -> None:
        """Append what arrived."""
        self._reader.feed(data)

    def clear(self) -> None:
        """Forget everything that was read."""
        self._reader.clear()
        self._lines.clear()

    def next_reply(self) -> SmtpReply | None:
        """The next whole reply, or None until more arrives.

        Raises:
            PeerError: what arrived is no SMTP reply, or passes a bound (RFC 5321
                section 4.2; text beyond ASCII is refused).
        """
        while True:
            line = self._reader.next_line(REPLY_LINE_LIMIT)
            if line is None:
                return None
            match = _LINE.fullmatch(line)
            if match is None:
                raise PeerError("the server sent what is no SMTP reply")
            code = int(match[1])
            if self._lines and code != self._code:
                raise PeerError("the server changed the code within a reply")
            self._code = code
            self._lines.append((match[3] or b"").decode("ascii"))
            if match[2] != b"-":
                lines, self._lines = self._lines, []
                return _with_enhanced(code, lines)
            if len(self._lines) >= REPLY_LINES:
                raise PeerError("the server's reply has too many lines")


def _with_enhanced(code: int, lines: list[str]) -> SmtpReply:
    """Take the enhanced code off the lines when each of them has the same (RFC 2034 section 4)."""
    matches = [_ENHANCED.fullmatch(line) for line in lines]
    first = matches[0]
    if first is not None and first[1][0] == str(code)[0]:
        texts = [match[2] or "" for match in matches if match is not None and match[1] == first[1]]
        if len(texts) == len(lines):
            return SmtpReply(code, tuple(texts), first[1])
    return SmtpReply(code, tuple(lines))
