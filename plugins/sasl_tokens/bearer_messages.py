"""What OAUTHBEARER and XOAUTH2 have in common on the wire.

    pair  = key "=" value ^A            a message holds several; no key comes twice
    auth  = "Bearer" SP token           or nothing: a client that wants to be told where to go
    error = {"status":"invalid_token","scope":"...","openid-configuration":"https://..."}

Every pair, and every credential that is accepted, has one spelling that it can be written
again from. An error is somebody else's JSON, of which nothing is believed but what is shown.

Source: RFC 7628 sections 3.1 and 3.2.2; RFC 6750 section 2.1; Google, "OAuth 2.0 Mechanism".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import PeerError, UsageError, printable, record
from sasl_tokens.terms import TOKEN_LIMIT, is_b64token

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ERROR_LIMIT",
    "PAIRS_LIMIT",
    "SEPARATOR",
    "BearerError",
    "format_credentials",
    "format_error",
    "format_pairs",
    "parse_credentials",
    "parse_error",
    "parse_pairs",
]

SEPARATOR: Final = b"\x01"
"""What ends a pair, and a message; alone it acknowledges an error (RFC 7628 section 3.2.3)."""

PAIRS_LIMIT: Final = 32
"""Most pairs in a message; the RFC knows seven keys."""

ERROR_LIMIT: Final = 8 * 1024
"""Longest error, in octets."""

_KEY: Final = r"[A-Za-z]+"
# Visible ASCII, and the blanks that the RFC's `value` has.
_ASCII_VALUE: Final = r"[\t\n\r -~]*"
_PAIR: Final = re.compile(rf"({_KEY})=({_ASCII_VALUE})")
# XOAUTH2 has no grammar but for its examples: a user's name may be in any script.
_TEXT_PAIR: Final = re.compile(rf"({_KEY})=([^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*)")
_SCHEME: Final = re.compile(r"bearer", re.IGNORECASE)


# --- pairs -------------------------------------------------------------------------------


def parse_pairs(data: bytes, *, ascii_only: bool = True) -> tuple[tuple[str, str], ...]:
    """Split what is nothing but pairs, in their order; keys are as the peer wrote them.

    `ascii_only`: values as RFC 7628 has them; otherwise any printable text in UTF-8.

    Raises:
        PeerError: something is no pair, does not end, comes twice, or there are more than
            `PAIRS_LIMIT`; code "bearer-pairs".
    """
    try:
        text = data.decode("ascii" if ascii_only else "utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None:
        # Raised out here: the decoder's error would carry the message, and the token in it.
        raise _malformed("a character that no pair may hold")
    if not text:
        return ()
    if text.count("\x01") > PAIRS_LIMIT:
        raise _malformed(f"more than {PAIRS_LIMIT} pairs")
    *parts, rest = text.split("\x01")
    if rest:
        raise _malformed("the last pair does not end")
    shape = _PAIR if ascii_only else _TEXT_PAIR
    found = [shape.fullmatch(part) for part in parts]
    pairs = tuple((match[1], match[2]) for match in found if match is not None)
    if len(pairs) != len(parts):
        raise _malformed("something is no key=value")
    if len(dict(pairs)) != len(pairs):
        raise _malformed("a key comes twice")
    return pairs


def format_pairs(pairs: Iterable[tuple[str, str]], *, ascii_only: bool = True) -> bytes:
    """Write pairs as `parse_pairs` reads them.

    Raises:
        UsageError: a key or a value that cannot be sent; code "bearer-pairs".
    """
    shape = _PAIR if ascii_only else _TEXT_PAIR
    written: list[bytes] = []
    for key, value in pairs:
        pair = f"{key}={value}"
        if shape.fullmatch(pair) is None or "=" in key or _has_surrogate(pair):
            raise UsageError(
                f"the value of {printable(key, 20)!r} cannot be sent", code="bearer-pairs"
            )
        written.append(pair.encode() + SEPARATOR)
    return b"".join(written)


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)


def _malformed(why: str) -> PeerError:
    return PeerError(f"the message is malformed: {why}", code="bearer-pairs")


# --- credentials -------------------------------------------------------------------------


def parse_credentials(value: str) -> str:
    """The token in the value of `auth`; "" when the value is empty (a request for discovery).

    The scheme is told by its letters in any case; one space stands before the token.

    Raises:
        PeerError: another scheme, or no token of RFC 6750's alphabet; code
            "bearer-credentials". The message holds nothing of the value.
    """
    if not value:
        return ""
    scheme, space, token = value.partition(" ")
    if _SCHEME.fullmatch(scheme) is None:
        raise _no_bearer("the scheme is not Bearer")
    if not space:
        raise _no_bearer("there is no token")
    if len(token) > TOKEN_LIMIT:
        raise _no_bearer(f"a token of more than {TOKEN_LIMIT} characters")
    if not is_b64token(token):
        raise _no_bearer("the token is not of the characters that one may have")
    return token


def format_credentials(token: str) -> str:
    """The value of `auth` for a token; "" for none.

    Raises:
        UsageError: it cannot be sent (RFC 6750 section 2.1); code "bad-token".
    """
    if not token:
        return ""
    if not is_b64token(token):
        raise UsageError("the access token holds what cannot be sent", code="bad-token")
    return f"Bearer {token}"


def _no_bearer(why: str) -> PeerError:
    return PeerError(f"auth holds no bearer token: {why}", code="bearer-credentials")


# --- errors ------------------------------------------------------------------------------


@record
class BearerError:
    """What a server says to a token that it refuses; None: it does not say.

    `status`: `invalid_token`, `insufficient_scope` or `invalid_request`; in XOAUTH2 a number
    of HTTP, as text. `scope`: what a token has to be good for. `openid_configuration`: where
    to learn of the provider that gives them. `schemes`: XOAUTH2's, "Bearer".
    """

    status: str
    schemes: str | None = None
    scope: str | None = None
    openid_configuration: str | None = None

    def __str__(self) -> str:
        said = [f"status {printable(self.status, 60)}"]
        if self.scope is not None:
            said.append(f"scope {printable(self.scope, 200)}")
        if self.openid_configuration is not None:
            said.append(f"openid-configuration {printable(self.openid_configuration, 200)}")
        return ", ".join(said)


# In the order in which they are written, which is that of the fields.
_MEMBERS: Final = ("status", "schemes", "scope", "openid-configuration")


def parse_error(data: bytes) -> BearerError:
    """Read a server's error. Members that are not known are ignored.

    Raises:
        PeerError: longer than `ERROR_LIMIT`, or no strict JSON object with a `status` in which
            the known members are texts; code "bearer-error".
    """
    if len(data) > ERROR_LIMIT:
        raise PeerError(f"an error of more than {ERROR_LIMIT} octets", code="bearer-error")
    # Loaded here, for a login that works needs no JSON.
    from sasl_tokens.strict import json_object

    try:
        members = json_object(data, "the error")
    except PeerError as error:
        problem = str(error)
    else:
        values = [members.get(name) for name in _MEMBERS]
        status, schemes, scope, configuration = (
            value if isinstance(value, str) else None for value in values
        )
        if status and all(value is None or isinstance(value, str) for value in values):
            return BearerError(status, schemes, scope, configuration)
        problem = "a member of the error is missing, or is no text"
    raise PeerError(problem, code="bearer-error")


def format_error(error: BearerError) -> bytes:
    """Write an error as JSON, without blanks; what is not said is left out."""
    from json import dumps

    members = zip(_MEMBERS, attrs.astuple(error), strict=True)
    said = {name: value for name, value in members if value is not None}
    return dumps(said, separators=(",", ":")).encode()
