"""The AUTH command's arguments and the lines of an exchange, both ways.

Invariants: an absent initial response is None and never `b""`; base64 has one spelling for
every value; a text that is not understood never appears in the error about it.

Source: RFC 4954 sections 3, 4 and 8.
"""

from __future__ import annotations

from typing import Final

from sasl_core.plugin import (
    MechanismError,
    PeerError,
    b64decode,
    b64encode,
    is_mechanism_name,
    record,
)
from sasl_profiles.smtp.lines import LINE_TOO_LONG

__all__ = [
    "AUTH_COMMAND_LIMIT",
    "BASE64_LIMIT",
    "COMMAND_LIMIT",
    "RESPONSE_LIMIT",
    "Capabilities",
    "auth_command",
    "parse_auth",
    "parse_capabilities",
    "parse_response",
    "response_line",
]

BASE64_LIMIT: Final = 12288
"""Octets of base64 in one line (RFC 4954 section 4)."""

RESPONSE_LIMIT: Final = BASE64_LIMIT + 2
"""Octets of a response line, CRLF included."""

COMMAND_LIMIT: Final = 512
"""Octets of a command line, CRLF included (RFC 5321 section 4.5.3.1.4)."""

AUTH_COMMAND_LIMIT: Final = len("AUTH ") + 20 + 1 + RESPONSE_LIMIT
"""Octets of an AUTH command line that a server takes. A client must stay below
`COMMAND_LIMIT` (RFC 4954 section 4), but some do not."""


def parse_auth(arguments: str) -> tuple[str, bytes | None]:
    """The mechanism and the initial response of an AUTH command, None when it has none.

    `=` stands for an initial response that is present and empty. The mechanism's name is
    taken in any case, as RFC 4954 section 8 asks, and returned in upper case.

    Raises:
        MechanismError: what stands there cannot be a mechanism's name.
        PeerError: code `syntax` for a wrong count of arguments, `line-too-long` or
            `base64` for an initial response that is too long or not canonical base64.
    """
    # RFC 5321 section 4.1.1 has a server put up with blanks before the CRLF.
    parts = arguments.rstrip(" ").split(" ")
    if len(parts) > 2 or "" in parts:
        raise PeerError("AUTH takes a mechanism and perhaps an initial response", code="syntax")
    name = parts[0].upper()
    # upper() makes ASCII out of some letters that are not.
    if not (parts[0].isascii() and is_mechanism_name(name)):
        raise MechanismError("what the client names is no mechanism")
    if len(parts) == 1:
        return name, None
    return name, b"" if parts[1] == "=" else parse_response(parts[1])


def parse_response(line: str) -> bytes:
    """The message in a response or a challenge; an empty line is an empty message.

    Raises:
        PeerError: code `line-too-long` or `base64`.
    """
    if len(line) > BASE64_LIMIT:
        raise PeerError("a message is too long for the protocol", code=LINE_TOO_LONG)
    return b64decode(line, BASE64_LIMIT)


def auth_command(mechanism: str, initial: bytes | None) -> bytes | None:
    """The AUTH command line without CRLF; None when the initial response does not fit.

    Then the client asks without it and answers the server's empty challenge with it.
    Raises nothing: `mechanism` is a name that the session chose.
    """
    line = b"AUTH " + mechanism.encode("ascii")
    if initial is None:
        return line
    line += b" " + (b64encode(initial) or b"=")
    return line if len(line) <= COMMAND_LIMIT - 2 else None


def response_line(message: bytes) -> bytes | None:
    """A response line without CRLF; None when the message does not fit into one."""
    line = b64encode(message)
    return line if len(line) <= BASE64_LIMIT else None


@record
class Capabilities:
    """What a server's answer to EHLO offers.

    `keywords`: the extensions' names in upper case, in its order. `mechanisms`: those of
    AUTH, in its order, each once.
    """

    keywords: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()


def parse_capabilities(lines: tuple[str, ...]) -> Capabilities:
    """Read the lines of a reply to EHLO, the greeting first (RFC 5321 section 4.1.1.1).

    Whatever stands in the place of a mechanism's name and cannot be one is left out. Old
    servers write `AUTH=PLAIN` for `AUTH PLAIN`, often both: each is read. Never raises.
    """
    keywords: dict[str, None] = {}
    mechanisms: dict[str, None] = {}
    for line in lines[1:]:
        keyword, *values = line.upper().split() or [""]
        if keyword.startswith("AUTH="):
            values.insert(0, keyword[len("AUTH=") :])
            keyword = "AUTH"
        if keyword:
            keywords[keyword] = None
        if keyword == "AUTH":
            mechanisms.update(dict.fromkeys(filter(is_mechanism_name, values)))
    return Capabilities(tuple(keywords), tuple(mechanisms))
