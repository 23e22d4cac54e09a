"""The keys of one issuer: fetched, kept, and fetched again when it is time to.

Nothing here does I/O: `refresh` and `just_in_time` are generators that ask for HTTP, so the
same body serves every driver. Invariants:

- Keys are replaced as a whole by a set that was read to its end; a failure changes nothing.
- Whoever needs keys at the same time shares one load. A key identifier that is not known causes
  a load only if the last attempt is long enough ago, however many ask.
- `generation` counts up when a key that was known is another or gone. It never counts down.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError, UsageError, printable
from sasl_tokens.discovery import discover, fetch, json_body, time_left
from sasl_tokens.errors import TokenError
from sasl_tokens.jwk import JWKSet
from sasl_tokens.urls import check_url
from sasl_tokens.validator import JWSValidator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger

    from sasl_core.plugin import HttpResponse, Needs
    from sasl_tokens.jwk import JWK

__all__ = ["JWKManager"]

ABANDONED_QUIET: Final = 0.1
"""After a load that nobody waited for until its end, the next one begins so many seconds later;
twice as many after each other one in a row, up to the deadline of a load or the quiet after one
that failed. Who wants a key waits for the next: whoever begins loads and goes away must not have
others refused, nor have the issuer asked without end."""

FAILED_QUIET: Final = 1.0
"""For how long a failed load counts as an attempt while there has never been a key, in seconds."""


class JWKManager:
    """Keys of an issuer by their identifiers, each ready to check signatures.

    By `issuer`, whose discovery document says where the keys are, or by `jwks_uri` directly.
    `poll`: seconds between loads that nobody asked for, 0 for none. `quiesce`: seconds after
    an attempt in which an unknown key identifier causes no other. `deadline`: longest time a
    load may take, by `monotonic`. `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        issuer: str | None = None,
        jwks_uri: str | None = None,
        *,
        ca_file: str | None = None,
        allow_loopback_http: bool = False,
        poll: float = 0.0,
        quiesce: float = 60.0,
        deadline: float = 10.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        log: Logger | None = None,
    ) -> None:
        """Nothing is fetched yet.

        Raises:
            UsageError: neither an issuer nor an address of keys was given.
            UrlProblem: an address is none that may be asked.
        """
        from sasl_core.plugin import Flight

        if issuer is None and jwks_uri is None:
            raise UsageError("a JWKManager needs an issuer or a jwks_uri")
        for url, what in ((issuer, "the issuer"), (jwks_uri, "the address of the keys")):
            if url is not None:
                _ = check_url(url, what=what, allow_loopback_http=allow_loopback_http)
        self.issuer = issuer
        self.jwks_uri = jwks_uri
        self.ca_file = ca_file
        self.allow_loopback_http = allow_loopback_http
        self.poll = poll
        self.quiesce = quiesce
        self.deadline = deadline
        self.clock = clock
        self._monotonic = monotonic
        self.log = log
        self._validators: Mapping[str, JWSValidator] = {}
        self._skipped: Mapping[str, str] = {}
        self._generation = 0
        self._listeners: tuple[Callable[[], None], ...] = ()
        # Whoever loads may have to breathe first; a driver may leave him there and say nothing.
        self._flight: Flight[bool] = Flight(2 * deadline + 1)
        self._loading = False
        self._ended = 0  # attempts that came to an end, good or bad
        self._loaded = False
        self._failed = False  # the last of them
        self._attempted: float | None = None
        self._quiet_until = float("-inf")
        # Of the attempts that were given up in a row: for how long the last has the next wait.
        self._backoff = 0.0

    # --- the keys -------------------------------------------------------------------------

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The identifiers of all keys."""
        return tuple(self._validators)

    @property
    def keys(self) -> tuple[JWK, ...]:
        """All keys."""
        return tuple(validator.key for validator in self._validators.values())

    @property
    def generation(self) -> int:
        """How often a known key was changed or vanished. What was validated before is stale."""
        return self._generation

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `generation` has counted up."""
        self._listeners = (*self._listeners, listener)

    def validator(self, kid: str) -> JWSValidator | None:
        """The validator with this key, None if it is not known."""
        return self._validators.get(kid)

    def unknown(self, kid: str) -> TokenError:
        """The error of a token that names a key that is not known, or was left out."""
        reason = self._skipped.get(kid)
        if reason is not None:
            return TokenError("token-key-unfit", reason)
        return TokenError("token-key-unknown", f"the issuer has no key {printable(kid)!r}")

    # --- when -----------------------------------------------------------------------------

    def due(self, now: float) -> bool:
        """Whether it is time for a poll; after one that failed, sooner than usual."""
        if self.poll <= 0:
            return False
        last = self._attempted
        wait = min(self.poll, self.quiesce) if self._failed else self.poll
        # A clock that was set back must not stop the polling.
        return last is None or not 0 <= now - last < wait

    def _quiet(self) -> bool:
        """Whether the last attempt is too recent for another."""
        last = self._attempted
        return last is not None and last <= self.clock() < self._quiet_until

    # --- loading --------------------------------------------------------------------------

    def refresh(self) -> Needs[None]:
        """Load the keys now, or share the load that is under way.

        Raises:
            BackendError: they cannot be had; the old ones are kept.
        """
        _ = yield from self._flight.join(self._attempt, self._patience)

    def just_in_time(self, kid: str) -> Needs[JWSValidator]:
        """The validator with this key; if it is not known, the keys are loaded if it is time to.

        A load that was given up before it ended does not count.

        Raises:
            TokenError: token-key-unknown; token-key-unfit: it is a key that cannot be used.
            BackendError: there are no keys at all, or the last attempt to load them failed.
        """
        known = self._validators.get(kid)
        if known is not None:
            return known
        ended = self._ended
        # Whoever waits for a load already takes it over first.
        yield from self._breathe()
        if self._loading or self._backoff or not self._quiet():

            def attempt() -> Needs[bool]:
                # Somebody else's attempt may have ended since: one is enough for both.
                if self._ended != ended:
                    yield from ()
                    return True
                yield from self._breathe()
                return (yield from self._attempt())

            _ = yield from self._flight.join(attempt, self._patience)
        known = self._validators.get(kid)
        if known is not None:
            return known
        if self._failed or not self._loaded:
            raise BackendError(
                code="no-keys", detail=f"the keys of {self._whose} could not be loaded"
            )
        raise self.unknown(kid)

    def _breathe(self) -> Needs[None]:
        """Let the time pass for which a load that was given up keeps the next one back."""
        if self._backoff and self._quiet():
            from sasl_core.plugin import pause

            yield from pause(min(self._backoff, self._quiet_until - self.clock()))

    @property
    def _patience(self) -> float:
        """How long to wait for who loads: he may have to breathe before, and so may who takes
        over from him.
        """
        return self.deadline + 2 * self._backoff

    @property
    def _failed_quiet(self) -> float:
        """For how long a load that failed has the next one wait."""
        return self.quiesce if self._loaded else min(self.quiesce, FAILED_QUIET)

    @property
    def _whose(self) -> str:
        return printable(self.issuer if self.issuer is not None else self.jwks_uri)

    def _attempt(self) -> Needs[bool]:
        begin = self.clock()
        self._attempted = begin
        self._loading = True
        failed: bool | None = None
        try:
            yield from self._load_all()
            failed = False
        except Exception:
            failed = True
            raise
        finally:
            self._loading = False
            if failed is None:
                longest = min(self.deadline, self._failed_quiet)
                self._backoff = min(2 * self._backoff or ABANDONED_QUIET, longest)
                self._quiet_until = self.clock() + self._backoff
            else:
                self._backoff = 0.0
                self._quiet_until = begin + self._failed_quiet
                self._failed = failed
                self._ended += 1
        return True

    def _load_all(self) -> Needs[None]:
        begin = self._monotonic()
        url = self.jwks_uri
        if url is None:
            assert self.issuer is not None  # noqa: S101 - __init__ saw to it
            found = yield from discover(
                self.issuer,
                ca_file=self.ca_file,
                allow_loopback_http=self.allow_loopback_http,
                deadline=self.deadline,
                clock=self._monotonic,
            )
            url = found.jwks_uri
            if url is None:
                raise BackendError(
                    code="discovery", detail=f"{self._whose} does not say where its keys are"
                )
        _, cleartext = check_url(
            url, what="the address of the keys", allow_loopback_http=self.allow_loopback_http
        )
        left = time_left(begin, self.deadline, self._monotonic, url)
        self.load((yield from fetch(url, left, self.ca_file, cleartext=cleartext)))

    def load(self, response: HttpResponse) -> None:
        """Take over the keys of a response to a request for a key set.

        Raises:
            BackendError: it is not one; the keys are as before.
        """
        found = JWKSet.parse(json_body(response, "the key set"))
        skipped = dict(found.skipped)
        validators: dict[str, JWSValidator] = {}
        for key in found.keys:
            try:
                validators[key.kid] = JWSValidator(key)
            except TokenError as error:
                skipped[key.kid] = error.detail or error.code
        self._warn(skipped)
        before, self._validators, self._skipped = self._validators, validators, skipped
        self._loaded = True
        if not self._loading:  # whoever does the I/O without `refresh` has made an attempt too
            self._attempted = self.clock()
            self._quiet_until = self._attempted + self.quiesce
            self._backoff = 0.0
            self._failed = False
        if any(
            kid not in validators or not _same(validator.key, validators[kid].key)
            for kid, validator in before.items()
        ):
            self._generation += 1
            if self.log is not None:
                self.log.info("keys of %s: a known key is another or gone", self._whose)
            self._tell()

    def _warn(self, skipped: Mapping[str, str]) -> None:
        if self.log is None:
            return
        for kid, reason in skipped.items():
            if kid not in self._skipped:  # once is enough, however often the keys are loaded
                self.log.warning("keys of %s: left out: %s", self._whose, reason)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _same(one: JWK, other: JWK) -> bool:
    """Whether two keys of one identifier are one key, for the same uses."""
    return (one.thumbprint(), one.alg, one.use) == (other.thumbprint(), other.alg, other.use)
