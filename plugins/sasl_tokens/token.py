"""The validated token: the one way to what a token says.

Constructing a `JWSValidatedToken` validates; there is no other way to one, and without one
nothing of a token is to be read. The two exceptions are at the end of this module, and a test
sees who uses them.

Source: RFC 7519 sections 4 and 7.2, RFC 8725, RFC 9068 section 4.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import printable, record
from sasl_tokens.claims import (
    DEFAULT,
    TokenRules,
    check_identity,
    check_subject,
    check_times,
    frozen_claims,
)
from sasl_tokens.errors import TokenError
from sasl_tokens.gate import check_type, open_token, read_claims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import Needs
    from sasl_tokens.gate import OpenedToken
    from sasl_tokens.jwks import JWKManager

__all__ = [
    "DEFAULT",
    "Inspection",
    "JWSValidatedToken",
    "PeekedToken",
    "TokenRules",
    "inspect_unverified",
    "peek_issuer_and_audience",
]


class JWSValidatedToken:
    """A token whose form, signature, type and times were found right.

    What it claims is in `body`, also claims that nothing here knows. Neither the issuer nor
    the audience was compared with anything: **whoever constructs it checks both**.

    Keep the object rather than values out of it: that somebody has one says that it was
    validated. It cannot be changed: arrays are tuples, objects are read-only.
    """

    __slots__ = (
        "_audiences",
        "_body",
        "_expires_at",
        "_generation",
        "_issuer",
        "_opened",
        "_subject",
    )

    def __init__(
        self,
        token: str,
        manager: JWKManager,
        *,
        now: float | None = None,
        options: TokenRules = DEFAULT,
    ) -> None:
        """Validate `token` with the keys that `manager` has now; nothing is fetched.

        `now`: seconds since the epoch, the manager's clock if it is None.

        Raises:
            TokenError: it is refused; `code` says why (`sasl_tokens.CODES`).
        """
        self._validate(
            open_token(token, accept_at_jwt=options.accept_at_jwt), manager, now, options
        )

    @classmethod
    def obtain(
        cls,
        token: str | PeekedToken,
        manager: JWKManager,
        *,
        now: float | None = None,
        options: TokenRules = DEFAULT,
    ) -> Needs[JWSValidatedToken]:
        """The same; a key that is not known yet is fetched first, if it is time to.

        Raises:
            TokenError: it is refused.
            BackendError: the keys cannot be fetched.
        """
        if isinstance(token, PeekedToken):
            opened = token.opened
            check_type(opened, accept_at_jwt=options.accept_at_jwt)
        else:
            opened = open_token(token, accept_at_jwt=options.accept_at_jwt)
        if manager.validator(opened.kid) is None:
            _ = yield from manager.just_in_time(opened.kid)
        made = cls.__new__(cls)
        made._validate(opened, manager, now, options)  # noqa: SLF001 - an object of this class
        return made

    def _validate(
        self, opened: OpenedToken, manager: JWKManager, now: float | None, rules: TokenRules
    ) -> None:
        # Read before the key: if the keys change in between, the token is of the older ones.
        self._generation = manager.generation
        validator = manager.validator(opened.kid)
        if validator is None:
            raise manager.unknown(opened.kid)
        if opened.alg not in rules.algorithms:
            raise TokenError("token-algorithm", "the token's algorithm is not one for this issuer")
        validator.validate(opened.alg, opened.signing_input, opened.signature)
        claims = read_claims(opened)
        self._issuer, self._audiences = check_identity(claims)
        self._subject = check_subject(claims)
        self._expires_at = check_times(claims, manager.clock() if now is None else now, rules)
        self._body = frozen_claims(claims)
        self._opened = opened

    @property
    def body(self) -> Mapping[str, object]:
        """All claims, arrays as tuples."""
        return self._body

    def body_bson(self) -> bytes:
        """All claims as a BSON document.

        Raises:
            UsageError: a claim cannot be written as BSON; code "bson".
        """
        from sasl_tokens.bson import encode_document

        return encode_document(self._body)

    @property
    def header(self) -> Mapping[str, object]:
        """The header's members."""
        return MappingProxyType(self._opened.header)

    @property
    def signed(self) -> str:
        """The token as it was sent. It is a secret while it is valid."""
        return self._opened.signed

    @property
    def expires_at(self) -> float:
        """When it ceases to be valid: `exp`, and the skew that was granted."""
        return self._expires_at

    @property
    def issuer(self) -> str:
        """Claim `iss`."""
        return self._issuer

    @property
    def audiences(self) -> tuple[str, ...]:
        """Claim `aud`."""
        return self._audiences

    @property
    def subject(self) -> str:
        """Claim `sub`."""
        return self._subject

    @property
    def generation(self) -> int:
        """The manager's generation of keys that it was validated with."""
        return self._generation

    def __repr__(self) -> str:
        return (
            f"<JWSValidatedToken of {printable(self._issuer)!r} for {printable(self._subject)!r}>"
        )


class PeekedToken:
    """Issuer and audiences of a token that nobody has validated.

    `opened` is for `JWSValidatedToken.obtain`, which need not take it apart again.
    """

    __slots__ = ("audiences", "issuer", "opened")

    def __init__(self, opened: OpenedToken, issuer: str, audiences: tuple[str, ...]) -> None:
        self.opened: Final = opened
        self.issuer: Final = issuer
        self.audiences: Final = audiences


def peek_issuer_and_audience(token: str) -> PeekedToken:
    """Look at issuer and audiences of a token that nobody has validated.

    For `IDPManager` alone, which chooses the keys by them and compares both again with what
    the validated token says. Nothing else of the token is to be read of it.

    Raises:
        TokenError: the token does not pass the gate, or has not these claims.
    """
    opened = open_token(token, accept_at_jwt=True)
    return PeekedToken(opened, *check_identity(read_claims(opened)))


@record
class Inspection:
    """What a token says of itself, **with a signature that nobody has checked**.

    `problems`: what would make every server refuse it, whatever its signature and the time.
    """

    header: Mapping[str, object]
    body: Mapping[str, object]
    problems: tuple[str, ...]


def inspect_unverified(token: str) -> Inspection:
    """Read a token without believing it, for `sasl token inspect` alone.

    Raises:
        TokenError: the token does not pass the gate.
    """
    opened = open_token(token, accept_at_jwt=True)
    claims = read_claims(opened)
    problems: list[str] = []
    for check in (check_identity, check_subject):
        try:
            _ = check(claims)
        except TokenError as error:
            problems.append(error.detail or error.code)
    return Inspection(MappingProxyType(opened.header), frozen_claims(claims), tuple(problems))
