"""What a token that was accepted grants, for as long as it stands."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import ValidatedToken, printable, record
from sasl_tokens.errors import TokenError
from sasl_tokens.names import AuthName, prefixed, qualified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import Needs
    from sasl_tokens.jwks import JWKManager
    from sasl_tokens.manager import IDPManager
    from sasl_tokens.names import Namespaces
    from sasl_tokens.provider import Bearer, IdentityProvider

__all__ = ["Grant", "TokenLogin", "granted"]


@record
class Grant:
    """What a token grants under certain namespaces: all there is to a login but the token.

    `claim` is the principal as the provider names it, `principal` the name to log in as.
    `validated_at`: for no earlier time was it found good, should the clock be set back.
    """

    provider: IdentityProvider
    keys: JWKManager
    claim: str
    principal: str
    properties: Mapping[str, tuple[bytes, ...]]
    scopes: frozenset[str]
    expires_at: float
    generation: int
    logged: tuple[tuple[str, str], ...]
    validated_at: float

    def stands(self, now: float) -> bool:
        """Whether it has neither expired nor was made with keys that are others now."""
        return now < self.expires_at and self.generation == self.keys.generation

    def told(self) -> str:
        """What the log says of the token: whom it names, and the claims of `logClaims`."""
        claims = [f"{printable(name)}={value!r}" for name, value in self.logged]
        return f"token of {printable(self.principal)!r}: {', '.join(claims) or 'no claims'}"


def granted(
    provider: IdentityProvider,
    bearer: Bearer,
    namespaces: Namespaces,
    *,
    plain_names: bool,
    now: float,
) -> Grant:
    """What `bearer` is granted, who was validated just `now`."""
    prefix = provider.config.auth_name_prefix
    claim = bearer.principal
    properties: dict[str, tuple[bytes, ...]] = {"principal": (claim.encode(),)}
    if namespaces.user:
        properties["database"] = (namespaces.user.encode(),)
    if bearer.roles is not None:
        begin = qualified(namespaces.role, prefixed(prefix, ""))
        properties["roles"] = tuple([(begin + role).encode() for role in bearer.roles])
    return Grant(
        provider,
        provider.refresher.keys,
        claim,
        claim if plain_names else prefixed(prefix, claim),
        MappingProxyType(properties),
        bearer.scopes,
        bearer.expires_at,
        bearer.generation,
        bearer.logged,
        now,
    )


class TokenLogin(ValidatedToken):
    """A validated token, whom it names and what he may do.

    The signed token stays with it, so that it can be validated again; nothing shows it.
    """

    __slots__ = ("_grant", "_manager", "_namespaces", "_plain_names", "_signed")

    def __init__(
        self,
        grant: Grant,
        signed: str,
        manager: IDPManager,
        namespaces: Namespaces,
        plain_names: bool,
    ) -> None:
        self._grant: Final = grant
        self._signed: Final = signed
        self._manager: Final = manager
        self._namespaces: Final = namespaces
        self._plain_names: Final = plain_names

    @property
    def principal(self) -> str:
        """The name to log in as: PREFIX/PRINCIPAL, or the principal alone with plain names."""
        return self._grant.principal

    @property
    def user(self) -> AuthName:
        """The same in its namespace, as in `$external.PREFIX/PRINCIPAL`."""
        return AuthName(self._namespaces.user, self._grant.principal)

    @property
    def issuer(self) -> str:
        return self._grant.provider.config.issuer

    @property
    def provider(self) -> IdentityProvider:
        """Who vouches for the bearer."""
        return self._grant.provider

    @property
    def expires_at(self) -> float:
        return self._grant.expires_at

    @property
    def grants(self) -> Mapping[str, tuple[bytes, ...]]:
        """`principal`, `database`, and `roles` unless they come from the stores."""
        return self._grant.properties

    @property
    def scopes(self) -> frozenset[str]:
        """What the token is good for, by its claims `scope` and `scp`."""
        return self._grant.scopes

    @property
    def needs_account(self) -> bool:
        return not self._grant.provider.config.use_authorization_claim

    def valid(self, now: float) -> bool:
        """Whether it has not expired, no known key of its issuer has changed or vanished since,
        and its provider is still configured as it was.
        """
        return self._grant.stands(now) and self._manager.in_force(self._grant.provider)

    def revalidate(self) -> Needs[TokenLogin]:
        """The same token, validated again by the providers that are configured now.

        Raises:
            TokenError: it is refused; token-principal-changed: it names somebody else now.
            BackendError: the keys cannot be fetched.
            ConfigError: plain names are not possible with these providers.
        """
        again = yield from self._manager.authenticate_anew(
            self._signed, namespaces=self._namespaces, plain_names=self._plain_names
        )
        if again.principal != self.principal:
            raise TokenError(
                "token-principal-changed",
                f"the token of {printable(self.principal)!r} names "
                f"{printable(again.principal)!r} now",
            )
        return again

    def __repr__(self) -> str:
        return f"<TokenLogin {printable(self.principal)!r} by {self.issuer!r}>"
