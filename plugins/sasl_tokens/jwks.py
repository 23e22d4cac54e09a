"""The keys of one issuer: fetched, kept, and fetched again when it is time to.

Nothing here does I/O: `refresh` and `just_in_time` are generators that ask for HTTP, so the
same body serves every driver. Invariants:

- Keys are replaced as a whole by a set that was read to its end; a failure changes nothing.
- Whoever needs keys at the same time shares one load. A key identifier that is not known causes
  a load only if the last attempt is long enough ago, however many ask (`sasl_tokens.loads`).
- Only the newest load touches anything; one that is taken up again after another began does not.
- `generation` counts up when a key that was known is another or gone. It never counts down.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sasl_core.plugin import BackendError, UsageError, printable
from sasl_tokens.discovery import discover, fetch, json_body, time_left
from sasl_tokens.errors import TokenError
from sasl_tokens.jwk import JWKSet
from sasl_tokens.loads import Loads
from sasl_tokens.urls import check_url
from sasl_tokens.validator import JWSValidator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger

    from sasl_core.plugin import HttpResponse, Needs
    from sasl_tokens.jwk import JWK

__all__ = ["JWKManager"]


class JWKManager(Loads):
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
        if issuer is None and jwks_uri is None:
            raise UsageError("a JWKManager needs an issuer or a jwks_uri")
        for url, what in ((issuer, "the issuer"), (jwks_uri, "the address of the keys")):
            if url is not None:
                _ = check_url(url, what=what, allow_loopback_http=allow_loopback_http)
        self.issuer = issuer
        self.jwks_uri = jwks_uri
        self.ca_file = ca_file
        self.allow_loopback_http = allow_loopback_http
        super().__init__(poll, quiesce, deadline, clock, monotonic)
        self.log = log
        self._validators: Mapping[str, JWSValidator] = {}
        self._skipped: Mapping[str, str] = {}
        self._generation = 0
        self._listeners: tuple[Callable[[], None], ...] = ()

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

    # --- loading --------------------------------------------------------------------------

    def refresh(self) -> Needs[None]:
        """Load the keys now, or share the load that is under way.

        Raises:
            BackendError: they cannot be had; the old ones are kept.
        """
        ended, end = self._ended, self._monotonic() + self._patience
        while not (yield from self._shared(self._attempt, end)):
            # Somebody led who then had no reason to load, or this load was overtaken.
            if self._ended != ended and not self._failed:
                return

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
        ended, arrived = self._ended, self.clock()
        end = self._monotonic() + self._patience
        # Somebody else's attempt may end meanwhile: one is enough for both.
        while self._ended == ended and (
            self._loading is not None or self._backoff or not self._quiet(self.clock())
        ):
            given_up = self._given_up
            if self._loading is None:
                # Nobody holds others up meanwhile: who leads, loads.
                yield from self._breathe(arrived)

            def attempt(given_up: int = given_up) -> Needs[bool]:
                if self._ended != ended or self._given_up != given_up:
                    yield from ()
                    return False
                return (yield from self._attempt())

            if not (yield from self._shared(attempt, end)) and self._monotonic() > end:
                raise BackendError(
                    code="timeout", detail=f"waited for the keys of {self._whose} in vain"
                )
        known = self._validators.get(kid)
        if known is not None:
            return known
        if self._failed or not self._loaded:
            raise BackendError(
                code="no-keys", detail=f"the keys of {self._whose} could not be loaded"
            )
        raise self.unknown(kid)

    @property
    def _whose(self) -> str:
        return printable(self.issuer if self.issuer is not None else self.jwks_uri)

    def _attempt(self) -> Needs[bool]:
        """Load the keys; False: another load began meanwhile, and this one changed nothing."""
        begin = self.clock()
        self._began = self._monotonic()
        mine = self._loading = object()
        failed: bool | None = None
        try:
            response = yield from self._fetched()
            if self._loading is not mine:
                return False
            self._take(response)
            failed = False
        except Exception:
            failed = True
            raise
        finally:
            if self._loading is mine:
                self._loading = None
                if failed is None:
                    self._abandon()
                else:
                    self._end(begin, failed=failed)
        return True

    def _fetched(self) -> Needs[HttpResponse]:
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
        return (yield from fetch(url, left, self.ca_file, cleartext=cleartext))

    def load(self, response: HttpResponse) -> None:
        """Take over the keys of a response to a request for a key set.

        It is an attempt like any other, and overtakes a load that is under way.

        Raises:
            BackendError: it is not one; the keys are as before.
        """
        begin = self.clock()
        self._take(response)
        self._loading = None
        self._end(begin, failed=False)

    def _take(self, response: HttpResponse) -> None:
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
