"""Mail transactions, as little as a submission server that accepts mail must know.

The arguments of MAIL and RCPT, and the octets after DATA. Invariant: only CRLF, dot, CRLF
ends a message; a message with a bare CR or LF is refused as a whole, so that nothing in it
can be taken for a command by one server and for text by the next (CVE-2023-51764).

Sources: RFC 5321 sections 4.1.1.2, 4.1.1.3, 4.5.2 and 4.5.3.1; RFC 1870; RFC 6152; RFC 4954
section 5.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import PeerError, UsageError, record
from sasl_profiles.smtp import replies
from sasl_profiles.smtp.lines import BARE_NEWLINE
from sasl_profiles.smtp.replies import SmtpReply

if TYPE_CHECKING:
    from sasl_profiles.smtp.events import Limits

__all__ = [
    "MAIL_LIMIT",
    "DataReader",
    "Envelope",
    "Message",
    "MessageRefusedError",
    "Transaction",
    "parse_mail",
    "parse_rcpt",
]

MAIL_LIMIT: Final = 512 + 500 + 26 + 17
"""Octets of a MAIL command: AUTH=, SIZE= and BODY= each lengthen it (their RFCs say how far)."""

PATH_LIMIT: Final = 256
"""Octets of a path, brackets included (RFC 5321 section 4.5.3.1.3)."""

# A quoted local part may hold blanks and brackets. The alternatives differ in their first
# character, so that no input makes the search go back and forth.
_PATH: Final = r'<(?P<path>(?:"(?:[^"\\]|\\.)*"|[^<>"\\ ])*)>'
_MAIL: Final = re.compile(rf"FROM: ?{_PATH}(?P<parameters>(?: [^ ]+)*)", re.IGNORECASE)
_RCPT: Final = re.compile(rf"TO: ?{_PATH}", re.IGNORECASE)
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")


REFUSAL_LIMIT: Final = 256
"""Octets of the text of a refusal: its line stays below 512 (RFC 5321 section 4.5.3.1.5)."""


class MessageRefusedError(Exception):
    """Raised by whoever takes messages on: this one never will be, and why.

    The client hears 550 5.7.1 and `reason`, which also stands in the log: at most 256
    printable ASCII characters, and nothing secret. It shall not offer the message again
    (RFC 5321 section 4.2.1; RFC 3463 section 3.8 for the enhanced code).

    Raises:
        UsageError: `reason` is no such text.
    """

    def __init__(self, reason: str) -> None:
        if not 0 < len(reason) <= REFUSAL_LIMIT or not (reason.isascii() and reason.isprintable()):
            raise UsageError("the reason of a refusal is up to 256 printable ASCII characters")
        super().__init__(reason)
        self.reason = reason


@record
class Envelope:
    """Who sends a message, and who shall receive it."""

    sender: str
    recipients: tuple[str, ...] = ()


@record
class Message:
    """A message handed in, with CRLF line ends and without the dots of the transfer.

    `authid` and `authzid`: who handed it in, the authenticated and the acting identity.
    `remote`: from where, "address;port".
    """

    envelope: Envelope
    data: bytes
    authid: str
    authzid: str
    remote: str | None


def parse_mail(arguments: str) -> tuple[str, int]:
    """The sender ("" for the null path) and the announced size (0 when there is none).

    `AUTH=` is checked and dropped: no client is trusted to speak for another (RFC 4954
    section 5 calls that compliant).

    Raises:
        PeerError: code `syntax`, or `parameter` for one that was not offered.
    """
    match = _MAIL.fullmatch(arguments)
    if match is None or len(match["path"]) > PATH_LIMIT - 2:
        raise PeerError("MAIL takes FROM:<address>", code="syntax")
    size = 0
    for parameter in match["parameters"].split():
        keyword, _, value = parameter.partition("=")
        keyword = keyword.upper()
        if keyword == "SIZE" and re.fullmatch(r"[0-9]{1,20}", value, re.ASCII):
            size = int(value)
        elif not (
            (keyword == "BODY" and value.upper() in {"7BIT", "8BITMIME"})
            or (keyword == "AUTH" and _XTEXT.fullmatch(value))
        ):
            raise PeerError("a parameter of MAIL is not known", code="parameter")
    return match["path"], size


def parse_rcpt(arguments: str) -> str:
    """The recipient.

    Raises:
        PeerError: code `syntax`; no parameter of RCPT is known.
    """
    match = _RCPT.fullmatch(arguments)
    if match is None or not 1 <= len(match["path"]) <= PATH_LIMIT - 2:
        raise PeerError("RCPT takes TO:<address>", code="syntax")
    return match["path"]


class Transaction:
    """A mail transaction in progress.

    Its methods give the reply; they raise the PeerErrors of the parsers, and one of code
    `sequence` for a second MAIL.
    """

    __slots__ = ("_limits", "_recipients", "_sender")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sender: str | None = None
        self._recipients: list[str] = []

    @property
    def open(self) -> bool:
        """MAIL was accepted."""
        return self._sender is not None

    @property
    def ready(self) -> bool:
        """DATA may come."""
        return bool(self._recipients)

    def mail(self, arguments: str) -> SmtpReply:
        """Begin it."""
        if self._sender is not None:
            raise PeerError("nested MAIL", code="sequence")
        sender, size = parse_mail(arguments)
        if size > self._limits.message_size:
            return replies.TOO_BIG
        self._sender = sender
        return replies.OK

    def rcpt(self, arguments: str) -> SmtpReply:
        """Add a recipient."""
        recipient = parse_rcpt(arguments)
        if len(self._recipients) >= self._limits.recipients:
            return replies.TOO_MANY
        self._recipients.append(recipient)
        return replies.OK

    def end(self) -> Envelope:
        """Hand the envelope over and begin anew."""
        envelope = Envelope(self._sender or "", tuple(self._recipients))
        self.reset()
        return envelope

    def reset(self) -> None:
        """Forget it."""
        self._sender = None
        self._recipients.clear()


class DataReader:
    """Takes the octets after DATA and finds the end of the message.

    `overflow`: the message passed `limit` octets and what was kept of it is gone. `lines`:
    lines completed so far.
    """

    __slots__ = ("_fresh", "_limit", "_message", "_tail", "lines", "overflow")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._message = bytearray()
        self._tail = b""
        # Whether `_tail` begins a line.
        self._fresh = True
        self.overflow = False
        self.lines = 0

    @property
    def message(self) -> bytes:
        """The message so far."""
        return bytes(self._message)

    def feed(self, chunk: bytes) -> bytes | None:
        """Take what arrived; what stands behind the end of the message, or None before it.

        Raises:
            PeerError: code `bare-newline`.
        """
        data = self._tail + chunk
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if end == start or data.find(b"\r", start, end) != end - 1:
                raise PeerError("a line of the message does not end with CRLF", code=BARE_NEWLINE)
            self.lines += 1
            if self._fresh and data[start : end + 1] == b".\r\n":
                return data[end + 1 :]
            self._keep(data[start : end + 1])
            self._fresh = True
            start = end + 1
        rest = data[start:]
        if b"\r" in rest[:-1]:
            raise PeerError("a line of the message has a bare CR", code=BARE_NEWLINE)
        # A long line goes on its way; its last octet may be a CR whose LF comes next, and a
        # line's first three decide whether it is the end.
        if len(rest) > 3:
            self._keep(rest[:-1])
            self._fresh = False
            rest = rest[-1:]
        self._tail = rest
        return None

    def _keep(self, line: bytes) -> None:
        if self._fresh and line.startswith(b"."):
            line = line[1:]
        if len(self._message) + len(line) > self._limit:
            self.overflow = True
            self._message.clear()
        if not self.overflow:
            self._message += line
