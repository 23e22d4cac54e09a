"""The claims of a token: which must be there, of which types, and whether it is their time.

Source: RFC 7519 section 4.1, RFC 8725 section 3, OpenID Connect Core section 2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import record
from sasl_tokens.errors import TokenError
from sasl_tokens.gate import ALGORITHMS
from sasl_tokens.strict import has_controls
from sasl_tokens.terms import LATEST, NAME_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT",
    "TokenRules",
    "check_identity",
    "check_kind",
    "check_subject",
    "check_times",
    "frozen_claims",
]

_OF_ID_TOKENS: Final = ("at_hash", "c_hash", "s_hash")
"""Claims that an ID token has and an access token has not (OpenID Connect Core)."""

_NO_ACCESS_TOKEN: Final = frozenset({"id", "refresh", "offline", "logout"})
"""What Keycloak's claim `typ` says of a token that is none for a service."""

_USES: Final = frozenset({"access", "access_token"})
"""What `token_use` says of one that is (Amazon Cognito, and some other issuers)."""


@record
class TokenRules:
    """How tokens are judged.

    `nbf_skew`: how far, in seconds, the issuer's clock may be ahead of ours. `exp_skew`: how
    long a token is valid after its end. `max_lifetime`: longest life from `iat` (or from now,
    without one) to `exp`, None for any. `accept_at_jwt`: the type of RFC 9068 is a type too.
    `algorithms`: by which it may be signed; the key has to be for it as well.
    """

    nbf_skew: float = 60.0
    exp_skew: float = 0.0
    max_lifetime: float | None = None
    accept_at_jwt: bool = False
    algorithms: frozenset[str] = ALGORITHMS


DEFAULT: Final = TokenRules()


def _name(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if type(value) is not str:
        raise _missing(claims, name, "a string")
    if not 0 < len(value) <= NAME_LIMIT or has_controls(value):
        raise TokenError(
            "token-claim-type", f"claim {name} is empty, too long or has control characters"
        )
    return value


def _missing(claims: Mapping[str, object], name: str, kind: str) -> TokenError:
    if name not in claims:
        return TokenError("token-claim-missing", f"the token has no claim {name}")
    return TokenError("token-claim-type", f"claim {name} is not {kind}")


def _time(claims: Mapping[str, object], name: str) -> int | None:
    value = claims.get(name)
    if type(value) is not int:  # a bool is an int to Python, a float is not exact
        if value is None and name not in claims:
            return None
        raise TokenError("token-claim-type", f"claim {name} is not an integer")
    if value > LATEST:
        raise TokenError("token-claim-type", f"claim {name} is later than the year 9999")
    return value


def check_identity(claims: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """Issuer and audiences, by form; whether they are the right ones is the caller's to say.

    Raises:
        TokenError: token-claim-missing, token-claim-type.
    """
    issuer = _name(claims, "iss")
    audience = claims.get("aud")
    if type(audience) is str:
        return issuer, (_name(claims, "aud"),)
    if type(audience) is not list:
        raise _missing(claims, "aud", "a string or an array of strings")
    listed = cast("list[object]", audience)
    audiences = tuple(item for item in listed if type(item) is str and 0 < len(item) <= NAME_LIMIT)
    if not audiences or len(audiences) != len(listed):
        raise TokenError("token-claim-type", "claim aud is not an array of strings, or is empty")
    return issuer, audiences


def check_subject(claims: Mapping[str, object]) -> str:
    """The subject of an access token.

    Raises:
        TokenError: token-claim-missing, token-claim-type; or as `check_kind`.
    """
    subject = _name(claims, "sub")
    check_kind(claims)
    return subject


def check_kind(claims: Mapping[str, object]) -> None:
    """Refuse what is, by its own claims or by what its issuer says of it, no bearer's access
    token. Where they say nothing, it may be one: a claim `nonce` alone says nothing.

    Raises:
        TokenError: token-id-token: an ID token, which tells a client who logged in, a refresh
            token, or another that is no key to a service; token-type: a logout token or
            another security event (RFC 8417), or a token that is bound to a key (RFC 7800),
            which its bearer alone may not use.
    """
    for name in _OF_ID_TOKENS:
        if name in claims:
            raise TokenError("token-id-token", f"an ID token was sent: it has a claim {name}")
    kind, use = claims.get("typ"), claims.get("token_use", "access")
    if (
        not isinstance(use, str)
        or use.lower() not in _USES
        or (isinstance(kind, str) and kind.lower() in _NO_ACCESS_TOKEN)
    ):
        raise TokenError("token-id-token", "no access token was sent: it says so of itself")
    if "events" in claims:
        raise TokenError("token-type", "a security event (events) was sent, and no access token")
    if "cnf" in claims:
        # Whoever shows it has to prove that the key is theirs, and here nobody can.
        raise TokenError("token-type", "the token is bound to a key (cnf), and is no bearer token")


def check_times(claims: Mapping[str, object], now: float, rules: TokenRules) -> float:
    """When the token ceases to be valid.

    Raises:
        TokenError: token-claim-missing, token-claim-type, token-expired, token-not-yet-valid,
            token-lifetime.
    """
    end = _time(claims, "exp")
    begin = _time(claims, "nbf")
    issued = _time(claims, "iat")
    if end is None:
        raise _missing(claims, "exp", "an integer")
    until = end + rules.exp_skew
    if now >= until:
        raise TokenError("token-expired", f"the token expired {now - end:.0f} seconds ago")
    soon = now + rules.nbf_skew
    if begin is not None and begin > soon:
        raise TokenError(
            "token-not-yet-valid", f"the token is not valid for another {begin - now:.0f} seconds"
        )
    if issued is not None and issued > soon:
        raise TokenError(
            "token-not-yet-valid", f"the token is issued {issued - now:.0f} seconds from now"
        )
    longest = rules.max_lifetime
    if longest is not None and end - (now if issued is None else issued) > longest:
        raise TokenError("token-lifetime", f"the token lives for more than {longest:.0f} seconds")
    return until


def _frozen(value: object) -> object:
    """The same value with tuples for lists and read-only mappings for objects."""
    if type(value) is list:
        return tuple([_frozen(item) for item in cast("list[object]", value)])
    if type(value) is dict:
        members = cast("dict[str, object]", value)
        return MappingProxyType({name: _frozen(member) for name, member in members.items()})
    return value


def frozen_claims(claims: dict[str, object]) -> Mapping[str, object]:
    """`claims`, which nobody else holds, so that nobody can change what was validated."""
    for name, value in claims.items():
        if isinstance(value, (list, dict)):
            claims[name] = _frozen(cast("object", value))
    return MappingProxyType(claims)
