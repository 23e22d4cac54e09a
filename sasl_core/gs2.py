"""The GS2 header and the names in it (RFC 5801 section 4, RFC 5802 sections 5.1 and 7).

    n,a=admin,        p=tls-exporter,,        y,,

Every valid header has one spelling only: `format_gs2` gives back, byte for byte, what
`parse_gs2` accepted. The `F` of non-standard GSS-API mechanisms is refused, for none of
ours is one.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from sasl_core._record import record
from sasl_core.errors import PeerError, UsageError

__all__ = [
    "GS2_LIMIT",
    "Gs2Header",
    "escape_saslname",
    "format_gs2",
    "parse_gs2",
    "parse_saslname",
    "unescape_saslname",
]

GS2_LIMIT: Final = 65_536
"""Longest message looked at, in octets."""

_HEADER = re.compile(rb"(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^,\0]+))?,")
_BINDING_NAME = re.compile(r"[A-Za-z0-9.-]+", re.ASCII)
_BAD_ESCAPE = re.compile(r"=(?!2C|3D)")


@record
class Gs2Header:
    """What a client says before its first message proper.

    `flag`: "n", no channel binding; "y", the client could but believes that the server
    cannot; "p", bound, with the type in `cb_name`. `authzid` is None when absent, and is
    never empty.
    """

    flag: Literal["n", "y", "p"]
    cb_name: str | None = None
    authzid: str | None = None


# Almost every client sends one of these two, so they are made once.
_PLAIN: Final = Gs2Header("n")
_ABLE: Final = Gs2Header("y")
# And those that bind, one of these three (RFC 9266, RFC 5929).
_BOUND: Final = {
    f"p={name}".encode(): Gs2Header("p", name)
    for name in ("tls-exporter", "tls-unique", "tls-server-end-point")
}


def parse_gs2(message: bytes) -> tuple[Gs2Header, bytes]:
    """Split `message` into its GS2 header and the rest.

    Raises:
        PeerError: there is no well-formed header at the start of `message`
            (RFC 5801 section 4).
    """
    if len(message) > GS2_LIMIT:
        raise PeerError(f"message of more than {GS2_LIMIT} octets", code="gs2")
    start = message[:3]
    if start == b"n,,":
        return _PLAIN, message[3:]
    if start == b"y,,":
        return _ABLE, message[3:]
    head, _, rest = message.partition(b",,")
    bound = _BOUND.get(head)
    if bound is not None and len(rest) < len(message) - len(head):
        return bound, rest
    match = _HEADER.match(message)
    if match is None:
        raise PeerError(_fault(message), code="gs2")
    _, name, authzid = match.groups()
    header = Gs2Header(
        "p" if name is not None else "n" if start[0] == 0x6E else "y",
        None if name is None else name.decode("ascii"),
        None if authzid is None else parse_saslname(authzid),
    )
    return header, message[match.end() :]


def _fault(message: bytes) -> str:
    """Say what is wrong with a header, in words that hold nothing of it."""
    if message[:2] == b"F,":
        return "GS2 header: F is for non-standard GSS-API mechanisms only"
    if message[:2] == b"p=":
        return "GS2 header: p= needs a channel-binding name, a comma and an authzid field"
    if message[:2] in {b"n,", b"y,"}:
        return "GS2 header: the authzid field is empty or a=saslname, and ends with a comma"
    return "GS2 header: it starts with n, y or p=name, and a comma"


def format_gs2(header: Gs2Header) -> bytes:
    """Return the header as it is sent, its last comma included.

    Raises:
        UsageError: a channel-binding name without the flag "p" or the reverse, or a name
            that cannot be sent.
    """
    flag: str = header.flag
    if (flag == "p") != (header.cb_name is not None) or flag not in {"n", "y", "p"}:
        raise UsageError("a channel-binding name goes with the flag p, and with no other")
    if header.cb_name is not None:
        if _BINDING_NAME.fullmatch(header.cb_name) is None:
            raise UsageError("a channel-binding name has letters, digits, '.' and '-' only")
        flag = f"p={header.cb_name}"
    authzid = b"" if header.authzid is None else b"a=" + escape_saslname(header.authzid).encode()
    return b"%b,%b," % (flag.encode("ascii"), authzid)


def escape_saslname(name: str) -> str:
    """Return `name` with `,` written `=2C` and `=` written `=3D`.

    Raises:
        UsageError: `name` is empty, holds NUL, or a lone surrogate: it cannot be sent.
    """
    if not name or "\0" in name:
        raise UsageError("a name to be sent is not empty and holds no NUL", code="saslname")
    if not name.isascii() and _has_surrogate(name):
        raise UsageError("a name to be sent is valid Unicode", code="saslname")
    if "=" in name:
        name = name.replace("=", "=3D")
    return name.replace(",", "=2C")


def unescape_saslname(text: str) -> str:
    """Return the name that `text` spells. Inverse of `escape_saslname`.

    Raises:
        PeerError: `text` is empty, holds `,` or NUL or a lone surrogate, or an `=` that is
            not part of `=2C` or `=3D`, upper case (RFC 5802 section 7).
    """
    if not text or "," in text or "\0" in text:
        raise PeerError(
            "a name is not empty and holds neither NUL nor a bare comma", code="saslname"
        )
    if not text.isascii() and _has_surrogate(text):
        raise PeerError("a name is valid Unicode", code="saslname")
    if "=" in text:
        if _BAD_ESCAPE.search(text) is not None:
            raise PeerError("a name escapes with =2C and =3D only", code="saslname")
        return text.replace("=2C", ",").replace("=3D", "=")
    return text


def parse_saslname(raw: bytes) -> str:
    """Decode a saslname from the wire: strict UTF-8, then `unescape_saslname`.

    Raises:
        PeerError: as `unescape_saslname`, or `raw` is not UTF-8.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        # Raised out here: a UnicodeDecodeError in its context would carry the whole message.
        raise PeerError("a name is not UTF-8", code="saslname")
    if text.isalnum() and text.isascii():
        # Nothing that could be escaped, or refused.
        return text
    return unescape_saslname(text)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
