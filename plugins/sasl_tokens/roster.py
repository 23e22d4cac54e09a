"""The identity providers that are in force at one time, and which of them a login is for.

A roster never changes: a new configuration is a new one, put in its place as a whole. What it
has in common with the one before is carried over: keys that come from the same place, and
providers that are configured in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import printable
from sasl_tokens.errors import TokenError
from sasl_tokens.provider import IdentityProvider
from sasl_tokens.refresher import IDPJWKSRefresher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from logging import Logger

    from sasl_tokens.config import IdentityProviderConfig
    from sasl_tokens.login import Grant

__all__ = ["Roster"]

SEEN_LIMIT: Final = 4096
"""Most validated tokens that are remembered; the oldest goes first."""

WEIGHT_LIMIT: Final = 8 * 1024
"""Most octets of what one of them grants; one that grants more is validated each time."""


class Roster:
    """Providers in the order of their priority, and what was validated by them so far."""

    __slots__ = (
        "_by_issuer",
        "answering",
        "members",
        "plain_problem",
        "providers",
        "refreshers",
        "seen",
    )

    def __init__(
        self,
        configs: Sequence[IdentityProviderConfig],
        clock: Callable[[], float],
        log: Logger | None,
        before: Roster | None = None,
    ) -> None:
        old: Mapping[str, IDPJWKSRefresher] = {} if before is None else before.refreshers
        refreshers: dict[str, IDPJWKSRefresher] = {}
        for config in configs:
            issuer = config.issuer
            if issuer not in refreshers:
                refreshers[issuer] = IDPJWKSRefresher(config, clock, log, old.get(issuer))
        self.refreshers: Final[Mapping[str, IDPJWKSRefresher]] = refreshers
        """By issuer."""
        self.providers: Final = tuple(
            _carried(config, before) or IdentityProvider(config, refreshers[config.issuer])
            for config in configs
        )
        self.members: Final = frozenset(self.providers)
        self.answering: Final = tuple(p for p in self.providers if p.config.answers_step_one)
        """Those that a client without a token is told of."""
        self.plain_problem: Final = _plain_problem(configs)
        """Why principals cannot be names without a prefix; None: they can."""
        by_issuer: dict[str, list[IdentityProvider]] = {}
        for provider in self.providers:
            by_issuer.setdefault(provider.config.issuer, []).append(provider)
        self._by_issuer: Final = by_issuer
        self.seen: Final[dict[object, Grant]] = {}
        """What tokens grant, by a digest of each; read directly, for it is on every login's way."""

    def warn(self, log: Logger | None, before: Roster | None = None) -> None:
        """Warn of providers, but those of the roster before, whose ID tokens could do here."""
        if log is None:
            return
        for provider in self.members if before is None else self.members - before.members:
            config = provider.config
            if config.audience == config.client_id:
                log.warning(
                    "the audience %r at %s is the clientId too: an ID token, which is for the "
                    "client, may pass for an access token; give the server an audience of its own",
                    config.audience,
                    config.issuer,
                )

    # --- which provider ---------------------------------------------------------------------

    def select(self, hint: str | None) -> IdentityProvider:
        """The provider for a client that has no token yet, and perhaps says for whom it asks.

        Raises:
            TokenError: oidc-no-human-provider, oidc-hint-needed, oidc-no-provider.
        """
        answering = self.answering
        if not answering:
            raise TokenError(
                "oidc-no-human-provider",
                "a client asked which provider to use, and none supports human flows",
            )
        if len(answering) == 1 and not answering[0].has_pattern:
            return answering[0]
        if hint is None:
            raise TokenError(
                "oidc-hint-needed",
                "the provider depends on the name, and the client said none",
            )
        for provider in answering:
            if provider.matches(hint):
                return provider
        raise TokenError("oidc-no-provider", f"no matchPattern is found in {printable(hint)!r}")

    def find(self, issuer: str, audiences: Collection[str]) -> IdentityProvider:
        """The provider of a token; the first in order, if the token is meant for several.

        Raises:
            TokenError: token-issuer, token-audience.
        """
        providers = self._by_issuer.get(issuer)
        if providers is None:
            raise TokenError(
                "token-issuer", f"no identity provider has the issuer {printable(issuer)!r}"
            )
        for provider in providers:
            if provider.config.audience in audiences:
                return provider
        raise TokenError(
            "token-audience", f"the token is for {printable(', '.join(audiences))!r} and not for us"
        )

    def check_unprefixed(self, name: str) -> None:
        """Refuse a name without prefix that looks like one that a prefix was put before.

        Raises:
            TokenError: token-identity: it begins with a provider's prefix and a slash.
        """
        prefix, slash, _ = name.partition("/")
        if slash and any(p.config.auth_name_prefix == prefix for p in self.providers):
            # Somebody else has it, whom that provider knows.
            raise TokenError(
                "token-identity", "the principal begins like the name of somebody else"
            )

    # --- validated tokens -------------------------------------------------------------------

    def remember(self, key: object, grant: Grant) -> None:
        """Remember what a token grants, unless it is large. Threads may come between any two
        steps of this.
        """
        if _weight(grant) > WEIGHT_LIMIT:
            return
        seen = self.seen
        _ = seen.pop(key, None)  # so that it goes to the end
        seen[key] = grant
        while len(seen) > SEEN_LIMIT:
            try:
                oldest = next(iter(seen))
            except (StopIteration, RuntimeError):
                return  # another thread is at it
            _ = seen.pop(oldest, None)

    def forget(self, key: object) -> None:
        """Drop what is not valid any more."""
        _ = self.seen.pop(key, None)


def _weight(grant: Grant) -> int:
    """How many octets a grant has: its properties, and its scopes, of 64 octets each."""
    weight = len(grant.scopes) * 64
    for values in grant.properties.values():
        weight += len(b"".join(values))
    return weight


def _carried(config: IdentityProviderConfig, before: Roster | None) -> IdentityProvider | None:
    """The provider of the roster before that is configured in the same way, keys included."""
    for provider in () if before is None else before.providers:
        if provider.config == config:
            return provider
    return None


def _plain_problem(configs: Sequence[IdentityProviderConfig]) -> str | None:
    sources = {(config.issuer, config.principal_claim) for config in configs}
    if len(sources) <= 1:
        return None
    return (
        "names without a prefix need one issuer and one principal claim for all identity "
        "providers, or two people could have one name"
    )
