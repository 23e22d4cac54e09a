"""The keys of one issuer, shared by all providers that it issues tokens for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import SaslError, record
from sasl_tokens.jwks import JWKManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from sasl_core.plugin import Needs
    from sasl_tokens.config import IdentityProviderConfig

__all__ = ["IDPJWKSRefresher", "KeyFailure", "KeySummary"]


@record
class KeySummary:
    """What may be shown of a key. `alg` is None where the issuer does not say."""

    kid: str
    kty: str
    alg: str | None


@record
class KeyFailure:
    """An issuer whose keys could not be had, and why."""

    issuer: str
    detail: str


class IDPJWKSRefresher:
    """Fetches the keys of one issuer, when told to or when a poll is due.

    `keys` may outlive a change of the configuration: another refresher takes them over if it
    would fetch them from the same place.
    """

    __slots__ = ("issuer", "keys", "polls", "source")

    def __init__(
        self,
        config: IdentityProviderConfig,
        clock: Callable[[], float],
        log: Logger | None,
        before: IDPJWKSRefresher | None = None,
    ) -> None:
        """`before`: the refresher of the same issuer in the configuration until now."""
        self.issuer: Final = config.issuer
        self.polls: Final = config.jwks_poll_secs
        self.source: Final = _source(config)
        self.keys: Final = _kept(before, self.source) or JWKManager(
            config.issuer,
            config.jwks_uri,
            ca_file=config.server_ca_file,
            allow_loopback_http=config.allow_loopback_http,
            poll=config.jwks_poll_secs,
            clock=clock,
            log=log,
        )

    def take_over(self) -> None:
        """Poll as this one says from now on; for the moment at which it comes into force."""
        self.keys.poll = self.polls

    def refresh(self) -> Needs[KeyFailure | None]:
        """Fetch the keys, or share the fetch that is under way; why not, if it failed.

        After a failure the keys are what they were before.
        """
        try:
            yield from self.keys.refresh()
        except SaslError as error:
            detail = error.detail or str(error)
        else:
            return None
        return KeyFailure(self.issuer, detail)

    def summary(self) -> tuple[KeySummary, ...]:
        """The keys that there are now."""
        return tuple(KeySummary(key.kid, key.kty, key.alg) for key in self.keys.keys)

    def __repr__(self) -> str:
        return f"<IDPJWKSRefresher of {self.issuer!r}, {len(self.keys.key_ids)} keys>"


def _kept(before: IDPJWKSRefresher | None, source: tuple[object, ...]) -> JWKManager | None:
    """The keys until now, if they come from there."""
    return before.keys if before is not None and before.source == source else None


def _source(config: IdentityProviderConfig) -> tuple[object, ...]:
    """Where the keys come from: what must be the same for keys to be carried over."""
    return (config.issuer, config.jwks_uri, config.server_ca_file, config.allow_loopback_http)
