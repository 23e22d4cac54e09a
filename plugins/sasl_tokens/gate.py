"""The gate before everything that reads a token: what is let through has one reading only.

A library that verifies a signature is asked last. Before it, the token is held to a form that
leaves no room: at most 16 KiB of ASCII, three segments, base64url with one spelling for every
value, JSON in UTF-8 without a member twice, a header that points to no key but by `kid`.
No other module takes a token apart; a test looks for that.

Source: RFC 7515 sections 3, 4 and 7.1, RFC 7519 section 7.2, RFC 8725 section 3, RFC 8259.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import PeerError, UsageError
from sasl_tokens.errors import TokenError
from sasl_tokens.strict import ALPHABET, decode_segment, has_controls, json_object
from sasl_tokens.terms import TOKEN_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ALGORITHMS",
    "KID_LIMIT",
    "OpenedToken",
    "check_type",
    "open_token",
    "read_claims",
    "read_identity",
]

KID_LIMIT: Final = 256
"""Longest key identifier, in characters."""

ALGORITHMS: Final = frozenset(
    {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "EdDSA", "Ed25519"),
    }
)
"""What a token may be signed with. Never "none", never an HMAC: keys here are public."""

_FORBIDDEN: Final = frozenset({"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"})
"""Header members that change how a token is read, or that bring or point to a key."""

_TYPES: Final = frozenset({"jwt"})
_ACCESS_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})

# --- the token ---------------------------------------------------------------------------


class OpenedToken:
    """A token whose form and header were checked; nothing in it is to be believed yet.

    `claims` are what `read_claims` has read of the payload, None until it has.
    """

    __slots__ = (
        "alg",
        "claims",
        "header",
        "kid",
        "payload",
        "signature",
        "signed",
        "signing_input",
    )

    def __init__(
        self,
        signed: str,
        header: Mapping[str, object],
        alg: str,
        kid: str,
        signing_input: bytes,
        payload: bytes,
        signature: bytes,
    ) -> None:
        self.signed: Final = signed
        self.header: Final = header
        self.alg: Final = alg
        self.kid: Final = kid
        self.signing_input: Final = signing_input
        self.payload: Final = payload
        self.signature: Final = signature
        self.claims: dict[str, object] | None = None

    def __repr__(self) -> str:
        return f"<OpenedToken signed by {self.alg}>"


def _segments(token: str) -> tuple[bytes, Sequence[bytes]]:
    """The token's octets, and its three segments, decoded."""
    if not isinstance(cast("object", token), str):
        raise UsageError(f"a token is a str, not a {type(token).__name__}", code="bad-token")
    if len(token) > TOKEN_LIMIT:
        raise TokenError("token-too-long", f"a token of more than {TOKEN_LIMIT} characters")
    if not token.isascii():
        raise TokenError("token-malformed", "the token is not ASCII")
    data = token.encode("ascii")
    # What is left when the alphabet is taken away: two dots, and nothing else.
    if data.translate(None, ALPHABET) != b"..":
        raise TokenError("token-malformed", "the token is not three segments of base64url")
    decoded = [decode_segment(segment) for segment in data.split(b".")]
    if None in decoded:
        raise TokenError("token-malformed", "a segment of the token is not canonical base64url")
    return data, cast("list[bytes]", decoded)


def open_token(token: str, *, accept_at_jwt: bool = False) -> OpenedToken:
    """Take a token in compact serialization apart and check its header.

    `accept_at_jwt`: the type `at+jwt` of RFC 9068 is let through as well.

    Raises:
        TokenError: token-too-long; token-malformed (not three canonical segments, or the
            header is no strict JSON object); token-algorithm (not one of `ALGORITHMS`);
            token-header (a member that is never followed, or no proper `kid`); token-type.
        UsageError: it is no text at all; code "bad-token".
    """
    data, (first, payload, signature) = _segments(token)
    header = _object(first, "the token's header")
    alg, kid = header.get("alg"), header.get("kid")
    if type(alg) is not str or alg not in ALGORITHMS:
        raise TokenError("token-algorithm", "the token's algorithm is not an allowed one")
    if not _FORBIDDEN.isdisjoint(header):
        name = min(_FORBIDDEN.intersection(header))
        raise TokenError("token-header", f"the token's header has {name!r}, which is not followed")
    if type(kid) is not str or not 0 < len(kid) <= KID_LIMIT or has_controls(kid):
        raise TokenError("token-header", "the token's header names no key (kid) in a proper form")
    if "typ" in header:
        _check_type(header["typ"], _ACCESS_TYPES if accept_at_jwt else _TYPES)
    if "cty" in header:
        raise TokenError("token-type", "the token has a content type; nested tokens are not read")
    return OpenedToken(token, header, alg, kid, data[: data.rindex(b".")], payload, signature)


def check_type(opened: OpenedToken, *, accept_at_jwt: bool) -> None:
    """Check the type of a token that was opened with all of them let through.

    Raises:
        TokenError: token-type.
    """
    if not accept_at_jwt and "typ" in opened.header:
        _check_type(opened.header["typ"], _TYPES)


def _check_type(kind: object, allowed: frozenset[str]) -> None:
    if not isinstance(kind, str) or kind.lower() not in allowed:
        hint = ""
        if isinstance(kind, str) and kind.lower() in _ACCESS_TYPES:
            hint = "; at+jwt (RFC 9068) needs acceptAccessTokenType"
        raise TokenError("token-type", f"the token's type (typ) is not JWT{hint}")


def read_claims(opened: OpenedToken) -> dict[str, object]:
    """The claims of a token; whether they may be believed is for whoever asks to know.

    Raises:
        TokenError: token-malformed: they are no strict JSON object.
    """
    claims = opened.claims
    if claims is None:
        claims = opened.claims = _object(opened.payload, "the token's payload")
    return claims


def read_identity(token: str) -> dict[str, object]:
    """The claims of an ID token that its provider has just given us, whoever signed it and how.

    Raises:
        TokenError: token-too-long or token-malformed.
    """
    _, (_, payload, _) = _segments(token)
    return _object(payload, "the token's payload")


def _object(data: bytes, what: str) -> dict[str, object]:
    try:
        return json_object(data, what)
    except PeerError as error:
        problem = str(error)
    raise TokenError("token-malformed", problem)
