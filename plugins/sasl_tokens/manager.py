"""The identity providers of a Server: which one a login is for, its validation, its keys.

Does no I/O and holds no lock: whatever waits is a generator of needs, and what several threads
share is replaced as a whole or is one step of a dict. Invariants:

- A configuration is taken over as a whole or not at all; each login is judged by one.
- A token is believed after its signature was checked, and never by what a peek said of it.
- What was validated before is believed again only until it expires, a known key of its issuer
  changes, another configuration comes, or the clock is set back; it is found by a digest of
  the token.

Source: MongoDB's MONGODB-OIDC; its configuration is in `sasl_tokens.config`.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import ConfigError, UsageError, printable
from sasl_tokens.config import parse_providers
from sasl_tokens.errors import TokenError
from sasl_tokens.login import Grant, TokenLogin, granted
from sasl_tokens.names import Namespaces
from sasl_tokens.polling import Polling
from sasl_tokens.roster import Roster
from sasl_tokens.token import peek_issuer_and_audience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from logging import Logger

    from sasl_core.plugin import Needs, SaslUtils
    from sasl_tokens.provider import IdentityProvider
    from sasl_tokens.refresher import IDPJWKSRefresher, KeyFailure, KeySummary

__all__ = ["IDPManager", "idp_manager"]

INFO: Final = 20

LOGGER: Final = "sasl_core.tokens"
"""Where the manager of a Server logs."""

_MONGODB: Final = Namespaces()


class IDPManager:
    """Selects providers, validates tokens, keeps keys fresh, changes its configuration.

    `given`: the providers as `parse_providers` takes them; None: there are none, and it is not
    `configured`. `clock`: seconds since the epoch. `every`: how periodic work is registered
    (`SaslUtils.every`); without it polls are made by the logins that find them due. `reloaded`:
    called after each reload (`SaslUtils.reconsider`).
    """

    def __init__(
        self,
        given: str | Sequence[Mapping[str, object]] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        log: Logger | None = None,
        every: Callable[[float, Callable[[], Needs[object]]], None] | None = None,
        reloaded: Callable[[], None] | None = None,
    ) -> None:
        """Nothing is fetched yet.

        Raises:
            ConfigError: the configuration is wrong.
        """
        self._clock = clock
        self._log = log
        self._reloaded = reloaded
        self._closed = False
        self._configured = given is not None
        self._roster = Roster(() if given is None else parse_providers(given), clock, log)
        self._roster.warn(log)
        self._polling = Polling(self._refreshers, clock, self._warn, every)
        self._polling.drive()

    # --- the configuration ------------------------------------------------------------------

    @property
    def configured(self) -> bool:
        """Whether there is a configuration, were it an empty one."""
        return self._configured

    @property
    def providers(self) -> tuple[IdentityProvider, ...]:
        """All providers, in the order of their priority."""
        return self._roster.providers

    @property
    def plain_names_problem(self) -> str | None:
        """Why `plain_names` is not possible with these providers; None: it is."""
        return self._roster.plain_problem

    def check_unprefixed(self, name: str) -> None:
        """Refuse a name of elsewhere that begins with the prefix of a provider and a slash.

        Raises:
            TokenError: token-identity.
        """
        self._roster.check_unprefixed(name)

    def in_force(self, provider: IdentityProvider) -> bool:
        """Whether `provider` is configured now, and as it was when the object was made."""
        return provider in self._roster.members

    def reload(self, given: str | Sequence[Mapping[str, object]]) -> None:
        """Take over another configuration, as a whole, for logins from now on.

        Keys that come from the same place as before stay. May be called from any thread.

        Raises:
            ConfigError: it is wrong; the old one goes on to serve.
            UsageError: the manager is closed.
        """
        configs = parse_providers(given)
        if self._closed:
            raise UsageError("the identity providers are closed")
        roster = Roster(configs, self._clock, self._log, self._roster)
        for refresher in roster.refreshers.values():
            refresher.take_over()
        before, self._roster = self._roster, roster
        roster.warn(self._log, before)
        self._configured = True
        self._polling.drive()
        if self._reloaded is not None:
            self._reloaded()
        if self._log is not None:
            plural = "" if len(configs) == 1 else "s"
            self._log.info("%d identity provider%s configured", len(configs), plural)

    def close(self) -> None:
        """Forget everything; whoever comes later is refused."""
        self._closed = True
        self._roster = Roster((), self._clock, self._log)

    # --- logins -----------------------------------------------------------------------------

    def select(self, hint: str | None = None) -> IdentityProvider:
        """The provider for a client that has no token yet; `hint`: for whom it asks.

        Raises:
            TokenError: oidc-no-human-provider: none supports human flows; oidc-hint-needed:
                without a name there is no telling; oidc-no-provider: none matches the name.
        """
        return self._roster.select(hint)

    def authenticate(
        self,
        token: str,
        *,
        hint: str | None = None,
        namespaces: Namespaces = _MONGODB,
        plain_names: bool = False,
    ) -> Needs[TokenLogin]:
        """Validate a signed token, and say who bears it and what it grants.

        `hint`: the principal that was named before, which must be the token's. `plain_names`:
        the principal is the name, without the provider's prefix.

        Raises:
            TokenError: it is refused; `code` says why.
            BackendError: the keys of its issuer cannot be fetched.
            ConfigError: plain names are not possible with these providers.
            UsageError: the token is no text, or the manager is closed.
        """
        # What was seen before has to be quick: all that it takes stands here.
        roster = self._roster
        key = grant = None
        if type(token) is str and token.isascii():  # else the gate says what is wrong with it
            digest = sha256(token.encode("ascii")).digest()
            key = (digest, namespaces.user, namespaces.role, plain_names)
            grant = roster.seen.get(key)
        if grant is not None:
            keys, now = grant.keys, self._clock()
            if (
                not grant.validated_at <= now < grant.expires_at
                or grant.generation != keys.generation
            ):
                roster.forget(key)
                grant = None
            elif keys.poll and self._polling.overdue(keys, now):
                grant = None
        if grant is None:
            grant, roster = yield from self._validated(token, namespaces, plain_names=plain_names)
            if key is not None:
                roster.remember(key, grant)
        if hint is not None and hint != grant.claim:
            raise _other_person(hint, grant)
        log = self._log
        if log is not None and log.isEnabledFor(INFO):
            log.info("%s", grant.told())
        return TokenLogin(grant, token, self, namespaces, plain_names)

    def authenticate_anew(
        self, token: str, *, namespaces: Namespaces = _MONGODB, plain_names: bool = False
    ) -> Needs[TokenLogin]:
        """The same, without regard to what was validated before; for `TokenLogin.revalidate`.

        Raises:
            TokenError, BackendError, ConfigError, UsageError: as `authenticate`.
        """
        grant, _ = yield from self._validated(token, namespaces, plain_names=plain_names)
        if self._log is not None:
            self._log.info("%s", grant.told())
        return TokenLogin(grant, token, self, namespaces, plain_names)

    def _validated(
        self, token: str, namespaces: Namespaces, *, plain_names: bool
    ) -> Needs[tuple[Grant, Roster]]:
        """What the token grants, and by which roster: the one in force when this returns."""
        while True:
            if self._closed:
                raise UsageError("the identity providers are closed")
            roster = self._roster
            if plain_names and roster.plain_problem is not None:
                raise ConfigError(roster.plain_problem, key="identity_providers")
            peeked = peek_issuer_and_audience(token)
            provider = roster.find(peeked.issuer, peeked.audiences)
            if provider.refresher.polls:
                yield from self._polling.in_place(provider.refresher)
            try:
                bearer = yield from provider.validate(peeked)
            finally:
                if provider.refresher.keys.abandoned:
                    self._polling.drive()
            # While keys were fetched another configuration may have come.
            if self._roster is roster:
                if plain_names:
                    roster.check_unprefixed(bearer.principal)
                grant = granted(
                    provider, bearer, namespaces, plain_names=plain_names, now=self._clock()
                )
                return grant, roster

    # --- keys -------------------------------------------------------------------------------

    def list_keys(
        self, issuers: Iterable[str] | None = None
    ) -> Mapping[str, tuple[KeySummary, ...]]:
        """The keys that are known of each issuer, or of those that are named.

        Raises:
            UsageError: an issuer is not configured.
        """
        return {each.issuer: each.summary() for each in self._named(issuers)}

    def refresh_keys(self, issuers: Iterable[str] | None = None) -> Needs[tuple[KeyFailure, ...]]:
        """Fetch the keys of all issuers, or of those that are named; what failed.

        A failure keeps the old keys, and the others are fetched all the same.

        Raises:
            UsageError: an issuer is not configured.
        """
        failures: list[KeyFailure] = []
        for refresher in self._named(issuers):
            failure = yield from refresher.refresh()
            if failure is not None:
                failures.append(failure)
        return tuple(failures)

    def warm_up(self) -> Needs[tuple[KeyFailure, ...]]:
        """Fetch the keys of all issuers at a start, and warn of those that cannot be had.

        Their logins fetch them when they need them.
        """
        failures = yield from self.refresh_keys()
        for failure in failures:
            self._warn(failure)
        return failures

    def _refreshers(self) -> Iterable[IDPJWKSRefresher]:
        return self._roster.refreshers.values()

    def _named(self, issuers: Iterable[str] | None) -> tuple[IDPJWKSRefresher, ...]:
        refreshers = self._roster.refreshers
        if issuers is None:
            return tuple(refreshers.values())
        named = tuple(dict.fromkeys(issuers))
        for issuer in named:
            if issuer not in refreshers:
                raise UsageError(f"no identity provider has the issuer {printable(issuer)!r}")
        return tuple(refreshers[issuer] for issuer in named)

    def _warn(self, failure: KeyFailure) -> None:
        if self._log is not None:
            self._log.warning(
                "the keys of %s cannot be had now: %s", failure.issuer, failure.detail
            )


def _other_person(hint: str, grant: Grant) -> TokenError:
    return TokenError(
        "oidc-hint-mismatch",
        f"the client named {printable(hint)!r}, and its token {printable(grant.claim)!r}",
    )


def idp_manager(utils: SaslUtils) -> IDPManager:
    """The one manager of the Server that `utils` is of, made of its configuration.

    Raises:
        ConfigError: the configuration of the identity providers is wrong, or cannot be read.
    """

    def make() -> IDPManager:
        import logging

        def every(seconds: float, body: Callable[[], Needs[object]]) -> None:
            utils.every(seconds, body, waits=True)

        given = utils.identity_providers
        try:
            return IDPManager(
                given,
                clock=utils.clock,
                # Of its own: one manager serves all mechanisms, whichever asks for it first.
                log=logging.getLogger(LOGGER),
                every=every,
                reloaded=utils.reconsider,
            )
        except ConfigError as error:
            problem = error
        # Outside of the except clause: the error must not carry the other as its context.
        raise utils.providers_error(problem)

    return utils.shared("identity-providers", make)
