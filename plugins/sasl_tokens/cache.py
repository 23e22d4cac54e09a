"""The access tokens of one Client: kept until they expire or are refused, fetched one at a time.

Invariants:
- The source is asked by one login at a time, and not sooner than 100 ms after it was left;
  who wants the same meanwhile gets what that login gets. A source that exceeds its deadline
  is taken for hung: the next login asks it beside that call.
- A refusal is of one token that was kept, and drops that one only: it is marked, whatever has
  taken its place since. So a late refusal of an old token does not drop the new one.
- Of a person's token, the access token goes first, then the refresh token, then the person is
  asked; each step is taken only when the one before it has failed.
- A refresh token keeps nobody out: one that failed is dropped, and the person is asked. Only an
  outage lets the login fail instead, and that for a minute at most.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC", "Credential Caching";
RFC 6749 section 6 (refresh tokens).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import BackendError, Flight, SaslError, pause
from sasl_tokens.sent import Held, Sent, check_access_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugin import AccessToken, CredentialsPlug, Needs, TokenRequest
    from sasl_tokens.sent import Asked

__all__ = ["TokenCache"]

GAP: Final = 0.1
"""Seconds between two calls of a source."""

GRACE: Final = 1.0
"""How many seconds longer than the source may take those wait who want the same."""

MARGIN: Final = 30.0
"""How long before its end a token is not used any more; a tenth of a short life."""

PATIENCE: Final = 60.0
"""How long an outage of a person's provider is waited out, before the person is asked anew."""

KEPT: Final = 1024
"""Most users whose tokens are kept; the oldest goes first."""


class _Entry:
    """What is kept for one user."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: Held | None = None


class _Outcome:
    """What came of one flight, and for whom it was: all who waited for it look at it."""

    __slots__ = ("asked", "entry", "failure", "sent")

    def __init__(
        self,
        entry: _Entry,
        asked: Asked,
        sent: Sent | None,
        failure: tuple[str, str, bool] | None = None,
    ) -> None:
        self.entry: Final = entry
        self.asked: Final = asked
        self.sent: Final = sent
        # Code, detail, and whether it may help to try again.
        self.failure: Final = failure


class TokenCache:
    """The access tokens of one Client. Safe to share between threads and tasks.

    `clock`: seconds since the epoch, in which tokens expire.
    """

    def __init__(
        self, clock: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._entries: OrderedDict[str | None, _Entry] = OrderedDict()
        self._flight: Flight[_Outcome] = Flight()
        self._left = float("-inf")

    def obtain(
        self, source: CredentialsPlug, request: TokenRequest, *, ask: bool
    ) -> Needs[Sent | None]:
        """A token for `request`: one that is kept, or one that `source` gives.

        `ask`: whether a person may be bothered. Otherwise, when nothing that is kept will do,
        the answer is None.

        Raises:
            SaslError: whatever the source raised.
            UsageError: what the source gave is no access token.
            BackendError: a login that was to get the same got nothing, or takes too long.
        """
        entry = self._entry(request.username)
        asked = (request.issuer, request.client_id, request.scopes)
        end = self._monotonic() + request.deadline + GRACE
        own: list[SaslError] = []
        while True:
            sent = self._kept(entry, asked)
            if sent is not None:
                return sent
            if not ask and source.human and self._refresh_token(entry, asked) is None:
                return None
            outcome = yield from self._flight.join(
                partial(self._lead, source, request, entry, asked, own, ask),
                max(0.0, end - self._monotonic()),
                # One call of a source that hangs for ever must not end all logins.
                stale_after=request.deadline + GRACE,
            )
            if own:
                raise own.pop()
            if outcome.entry is not entry or outcome.asked != asked:
                continue  # It was another user's, or another provider's.
            if outcome.failure is not None:
                code, detail, temporary = outcome.failure
                raise BackendError(
                    code=code, detail=f"another login: {detail}", temporary=temporary
                )
            sent = outcome.sent
            if sent is not None:
                # Each login has one of its own, for each hears its own answer.
                return Sent(sent.token, sent.held, fresh=sent.fresh)
            if not ask:
                return None

    def close(self) -> None:
        """Forget them all."""
        self._entries.clear()

    # --- what is kept ----------------------------------------------------------------

    def _entry(self, username: str | None) -> _Entry:
        entry = self._entries.get(username)
        if entry is None:
            while len(self._entries) >= KEPT:
                # One call, for other threads keep and drop entries meanwhile.
                with suppress(KeyError):
                    _ = self._entries.popitem(last=False)
            entry = self._entries.setdefault(username, _Entry())
        return entry

    def _kept(self, entry: _Entry, asked: Asked) -> Sent | None:
        held = entry.held
        if held is None or not held.fits(asked):
            return None
        # Read once: a refusal may come from another thread.
        value = held.value
        if value is None or not (held.until is None or self._clock() < held.until):
            return None
        return Sent(value, held)

    @staticmethod
    def _refresh_token(entry: _Entry, asked: Asked) -> tuple[str, Held] | None:
        held = entry.held
        if held is None or not held.fits(asked):
            return None
        refresh = held.refresh
        return None if refresh is None else (refresh, held)

    def _keep(
        self, entry: _Entry, asked: Asked, token: object, *, human: bool, old: str | None = None
    ) -> Sent:
        """Keep what the source gave. `old`: the refresh token that it was had for.

        Raises:
            UsageError: it is no access token; code "bad-token".
        """
        given = check_access_token(token)
        until = given.expires_at
        if until is not None:
            life = until - self._clock()
            until -= min(MARGIN, max(life, 0.0) / 10)
        # A provider that gives no new one means that the old one stays. A machine needs none.
        refresh = (given.refresh_token or old) if human else None
        entry.held = held = Held(given.value, until, asked, refresh, refreshed=old is not None)
        return Sent(given.value, held, fresh=True)

    # --- fetching ----------------------------------------------------------------------

    def _lead(
        self,
        source: CredentialsPlug,
        request: TokenRequest,
        entry: _Entry,
        asked: Asked,
        own: list[SaslError],
        ask: bool,
    ) -> Needs[_Outcome]:
        # Another may have fetched it since this login looked.
        sent = self._kept(entry, asked)
        if sent is None:
            try:
                sent = yield from self._fetch(source, request, entry, asked, ask)
            except SaslError as error:
                temporary = isinstance(error, BackendError) and error.temporary
                own.append(error)
                failure = (error.code, error.detail or str(error), temporary)
                return _Outcome(entry, asked, None, failure)
        return _Outcome(entry, asked, sent)

    def _fetch(
        self,
        source: CredentialsPlug,
        request: TokenRequest,
        entry: _Entry,
        asked: Asked,
        ask: bool,
    ) -> Needs[Sent | None]:
        if not source.human:
            token = yield from self._call(source, request)
            return self._keep(entry, asked, token, human=False)
        known = self._refresh_token(entry, asked)
        if known is not None:
            refresh, held = known
            try:
                token = yield from self._call(source, _refreshing(request, refresh, held.asked))
                return self._keep(entry, held.asked, token, human=True, old=refresh)
            except BackendError as error:
                if not error.temporary:
                    held.refresh = None
                elif self._may_pass(held):
                    raise
            except SaslError:
                held.refresh = None
            except Exception:
                # A mistake in the source is told. It is not made again with this token.
                held.refresh = None
                raise
        if not ask:
            return None
        token = yield from self._call(source, request)
        return self._keep(entry, asked, token, human=True)

    def _may_pass(self, held: Held) -> bool:
        """Whether the outage that a refresh has met may still pass while one waits."""
        now = self._monotonic()
        if held.outage is None:
            held.outage = now
        return now - held.outage < PATIENCE

    def _call(self, source: CredentialsPlug, request: TokenRequest) -> Needs[AccessToken]:
        yield from pause(self._left + GAP - self._monotonic())
        try:
            return (yield from source.token(request))
        finally:
            self._left = self._monotonic()


def _refreshing(request: TokenRequest, refresh: str, asked: Asked) -> TokenRequest:
    issuer, client_id, scopes = asked
    return attrs.evolve(
        request, issuer=issuer, client_id=client_id, scopes=scopes, refresh_token=refresh
    )
