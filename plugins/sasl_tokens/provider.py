"""One identity provider: whom it vouches for, and with which roles.

A token reaches it when a peek said that it is meant for it. The peek is not believed: issuer
and audience are compared again with what the validated token says. Claims are taken as they
are; `/`, `.` and `$` in their names and values mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import printable, record
from sasl_tokens.claims import TokenRules
from sasl_tokens.errors import TokenError
from sasl_tokens.patterns import TEXT_LIMIT, compile_pattern
from sasl_tokens.scopes import scopes_of
from sasl_tokens.token import JWSValidatedToken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import Needs
    from sasl_tokens.config import IdentityProviderConfig
    from sasl_tokens.refresher import IDPJWKSRefresher
    from sasl_tokens.token import PeekedToken

__all__ = ["Bearer", "IdentityProvider"]

NAME_LIMIT: Final = 512
"""Longest principal and longest role, in characters."""

ROLES_LIMIT: Final = 1000
"""Most roles of one token."""


@record
class Bearer:
    """Who bears a validated token, in the provider's words. `roles`: None if it says none.
    `scopes`: what the token is good for.

    `generation` is that of the issuer's keys. `logged`: the claims that are for the log.
    """

    principal: str
    roles: tuple[str, ...] | None
    scopes: frozenset[str]
    expires_at: float
    generation: int
    logged: tuple[tuple[str, str], ...]


class IdentityProvider:
    """A configured provider and the keys of its issuer. Compared by identity."""

    __slots__ = ("_pattern", "_rules", "config", "refresher")

    def __init__(self, config: IdentityProviderConfig, refresher: IDPJWKSRefresher) -> None:
        self.config: Final = config
        self.refresher: Final = refresher
        pattern = config.match_pattern
        self._pattern: Final = None if pattern is None else compile_pattern(pattern)
        self._rules: Final = TokenRules(
            exp_skew=config.exp_skew_secs,
            max_lifetime=config.max_lifetime_secs,
            accept_at_jwt=config.accept_access_token_type,
        )

    @property
    def has_pattern(self) -> bool:
        """Whether it is chosen by a person's name."""
        return self._pattern is not None

    def matches(self, hint: str) -> bool:
        """Whether the pattern is found in `hint`; never in one of more than 256 characters."""
        pattern = self._pattern
        return pattern is not None and len(hint) <= TEXT_LIMIT and pattern.search(hint) is not None

    def validate(self, token: PeekedToken) -> Needs[Bearer]:
        """Validate a token of this provider.

        Raises:
            TokenError: it is refused; token-issuer and token-audience: it is not for this
                provider; token-claim-missing, token-claim-type, token-identity: of the
                principal or the roles.
            BackendError: the keys cannot be fetched.
        """
        config = self.config
        validated = yield from JWSValidatedToken.obtain(
            token, self.refresher.keys, options=self._rules
        )
        if validated.issuer != config.issuer:
            raise TokenError("token-issuer", "the token is of another issuer than it seemed")
        if config.audience not in validated.audiences:
            raise TokenError("token-audience", "the token is for another audience than it seemed")
        claims = validated.body
        return Bearer(
            self._principal(claims),
            self._roles(claims) if config.use_authorization_claim else None,
            scopes_of(claims),
            validated.expires_at,
            validated.generation,
            # As text that is cut: what is remembered of a token has no more of it than the log.
            tuple([(n, printable(claims[n])) for n in config.log_claims if n in claims]),
        )

    def _principal(self, claims: Mapping[str, object]) -> str:
        name = self.config.principal_claim
        value = claims.get(name)
        if not isinstance(value, str):
            raise _unfit(claims, name, "a string")
        if not _is_name(value):
            raise TokenError("token-identity", f"claim {name!r} {_NO_NAME}")
        return value

    def _roles(self, claims: Mapping[str, object]) -> tuple[str, ...]:
        name = cast("str", self.config.authorization_claim)
        value = claims.get(name)
        if isinstance(value, str) and self.config.lenient_claims:
            value = (value,)
        if not isinstance(value, tuple):
            raise _unfit(claims, name, "an array of strings")
        roles = cast("tuple[object, ...]", value)
        if len(roles) > ROLES_LIMIT:
            raise TokenError(
                "token-claim-type", f"claim {name!r} has more than {ROLES_LIMIT} roles"
            )
        for role in roles:
            if not isinstance(role, str):
                raise _unfit(claims, name, "an array of strings")
            if not _is_name(role):
                raise TokenError("token-claim-type", f"a role in claim {name!r} {_NO_NAME}")
        return tuple(dict.fromkeys(cast("tuple[str, ...]", roles)))

    def __repr__(self) -> str:
        return f"<IdentityProvider {self.config.issuer!r} for {self.config.audience!r}>"


_NO_NAME: Final = f"is empty, has more than {NAME_LIMIT} characters, or some that cannot be printed"


def _is_name(value: str) -> bool:
    return 0 < len(value) <= NAME_LIMIT and value.isprintable()


def _unfit(claims: Mapping[str, object], name: str, kind: str) -> TokenError:
    if name not in claims:
        return TokenError("token-claim-missing", f"the token has no claim {name!r}")
    return TokenError("token-claim-type", f"claim {name!r} is not {kind}")
