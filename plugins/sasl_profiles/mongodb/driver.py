"""Access tokens for PyMongo, from any of our sources: what its MONGODB-OIDC asks for them.

    source = ClientCredentials(ClientCredentialsOptions(...))
    with PyMongoTokens(source, "db.example.com") as tokens:
        client = pymongo.MongoClient(
            "db.example.com",
            authMechanism="MONGODB-OIDC",
            authMechanismProperties=tokens.properties(),
        )

PyMongo keeps the token, and asks when it has none, or when the server refused the one that it
had. Invariants: nothing is kept here, so that what was refused is never given twice; a person's
source is not asked where PyMongo has not looked at the host; a refresh token that fails keeps
nobody out, for PyMongo would hand it in for ever; nor does a source that hangs, for once its time
is over it is asked anew, beside the call that hangs.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC", OIDC_CALLBACK,
OIDC_HUMAN_CALLBACK and ALLOWED_HOSTS.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import evolve

from sasl_core import Client
from sasl_core.plugin import (
    BackendError,
    PluginError,
    SaslError,
    UsageError,
)
from sasl_profiles.mongodb.driver_request import hosts_for_pymongo, token_request
from sasl_tokens.client import allowed_hosts
from sasl_tokens.hosts import check_host
from sasl_tokens.sent import check_access_token

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from pymongo.auth_oidc import OIDCCallbackResult

    from sasl_core import Configuration, TokenRequest
    from sasl_core.plugin import AccessToken, CredentialsPlug, HttpRequest, HttpResponse, Needs
    from sasl_http import HttpTransport
    from sasl_profiles.mongodb.driver_request import Context

__all__ = ["PyMongoTokens"]

MECHANISM: Final = "MONGODB-OIDC"

PATIENCE: Final = 60.0
"""How long an outage of a person's provider is waited out, before the person is asked anew."""

GRACE: Final = 1.0
"""How many seconds more than it has a source may take before its call counts as hung."""

LEAST: Final = 30.0
"""How many seconds a person has at least, of those that waiting for others has left."""

LEAST_OF_A_MACHINE: Final = 1.0
"""The same for what asks nobody."""


class PyMongoTokens:
    """A callback of PyMongo's, OIDC_CALLBACK or OIDC_HUMAN_CALLBACK, that asks `source`.

    `source`: a plug, which stays yours to close, or the name of an installed one. `host`: the
    server, or the name that stands for all of a deployment, as sources are told. `config`: as for
    `Client`; its table `[credentials.NAME]` is that of a source which is named. `http`: the
    transport for sources that ask over the net, by default one of our own.
    `allow_loopback_http`: a server may name a provider on this very machine without TLS.

    Safe to share between MongoClients and threads: the source is asked by one at a time, the
    others wait as long as enough of their time is left to ask it then (30 s for a person, 1 s for
    a machine, half of a shorter time). A call that takes longer than it may counts as hung, and
    the next one asks beside it. It runs in the thread in which PyMongo calls: the
    application's, or one of the event loop's executor with AsyncMongoClient, whose loop goes on
    meanwhile. So a source that needs a coroutine (`CallbackTokens` of a coroutine function)
    cannot be used.

    Raises:
        PluginError: PyMongo is not installed (code "missing-package"), or `source` is not.
        ConfigError: the configuration is wrong.
        UsageError: `source` needs a person, and `host` is none of its `allowed_hosts`; code
            "host-not-allowed".
    """

    def __init__(
        self,
        source: CredentialsPlug | str,
        host: str,
        *,
        config: Configuration | str | os.PathLike[str] | Mapping[str, object] | None = None,
        http: Callable[[HttpRequest], HttpResponse] | None = None,
        allow_loopback_http: bool = False,
    ) -> None:
        _register()
        self._own: HttpTransport | None = None
        if http is None:
            from sasl_http import HttpTransport

            http = self._own = HttpTransport()
        self._client = Client("mongodb", host, config=config, credentials=source, http=http)
        try:
            self._source = _source_of(self._client)
            hosts: tuple[str, ...] = ()
            if self._source.human:
                hosts = allowed_hosts(self._source)
                check_host(host, hosts)
        except SaslError:
            self.close()
            raise
        self._hosts = hosts_for_pymongo(hosts)
        self._loopback = allow_loopback_http
        # Imported here, for it brings asyncio along, which naming this class must not.
        from sasl_core.plugin import Flight

        self._flight: Flight[None] = Flight()
        # Since when nothing is had for a refresh token, for a reason that may pass.
        self._outage: float | None = None

    def properties(self) -> dict[str, object]:
        """`authMechanismProperties`: this object, in its place; a person's with the hosts.

        With them PyMongo looks at each server that it connects to before anybody is asked; without
        them at its own list, whatever the source allows.
        """
        if not self._source.human:
            return {"OIDC_CALLBACK": self}
        return {"OIDC_HUMAN_CALLBACK": self, "ALLOWED_HOSTS": list(self._hosts)}

    def fetch(self, context: Context) -> OIDCCallbackResult:
        """A new token. PyMongo calls this.

        Raises:
            AuthenticationError: the provider refused us. BackendError: it cannot give one now.
            PeerError: what the server said of its provider makes no sense, or is nothing that a
                person may be sent to.
            UsageError: a person's source stands in the place of a machine's; what the source gave
                is no access token.
        """
        from pymongo.auth_oidc import OIDCCallbackResult

        client, source = self._client, self._source
        try:
            request = token_request(
                client.core.host, source, context, allow_loopback_http=self._loopback
            )
            token = client.run(self._ask(request))
        except SaslError as error:
            client.core.log_refusal(MECHANISM, error)
            if error.detail is not None:
                # The message is the same for every cause; whoever runs the driver wants this one.
                error.add_note(f"no token from credentials {source.name!r}: {error.detail}")
            raise
        expires = None
        if token.expires_at is not None:
            expires = max(0.0, token.expires_at - client.utils.clock())
        refresh = token.refresh_token if source.human else None
        return OIDCCallbackResult(token.value, expires, refresh)

    def close(self) -> None:
        """Close what was made here. Idempotent."""
        self._client.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"PyMongoTokens({self._source.name!r}, {self._client.core.host!r})"

    # --- asking -------------------------------------------------------------------------------

    def _ask(self, request: TokenRequest) -> Needs[AccessToken]:
        """A token for this call, the source being asked by nobody else that goes on."""
        begin = time.monotonic()
        # Not to the end: nobody is shown a browser that goes at once.
        least = LEAST if self._source.human else LEAST_OF_A_MACHINE
        end = begin + request.deadline - min(least, request.deadline / 2)
        own: list[AccessToken | SaslError] = []
        while not own:
            # What others get is theirs, and so is their failure: each asks for itself.
            yield from self._flight.join(
                partial(self._lead, request, begin, own),
                max(0.0, end - time.monotonic()),
                stale_after=_left(request, begin) + GRACE,
            )
        outcome = own.pop()
        if isinstance(outcome, SaslError):
            raise outcome
        return outcome

    def _lead(
        self, request: TokenRequest, begin: float, own: list[AccessToken | SaslError]
    ) -> Needs[None]:
        try:
            token = yield from self._token(request, begin)
        except SaslError as error:
            own.append(error)
        else:
            own.append(token)

    def _token(self, request: TokenRequest, begin: float) -> Needs[AccessToken]:
        source = self._source
        request = _in_time(request, begin)
        if request.refresh_token is not None:
            try:
                token = yield from _checked(source, request)
            except SaslError as error:
                # PyMongo would hand it in at each attempt, and never have the person asked.
                passes = isinstance(error, BackendError) and error.temporary
                if passes and self._may_pass():
                    raise
            else:
                self._outage = None
                # A provider that gives no new one means that the old one stays.
                kept = token.refresh_token or request.refresh_token
                return evolve(token, refresh_token=kept)
            request = _in_time(evolve(request, refresh_token=None), begin)
        token = yield from _checked(source, request)
        self._outage = None
        return token

    def _may_pass(self) -> bool:
        """Whether the outage that a refresh has met may still pass while one waits."""
        now = time.monotonic()
        if self._outage is None:
            self._outage = now
        return now - self._outage < PATIENCE


def _register() -> None:
    """Have PyMongo take `PyMongoTokens` for a callback, without a class that needs it to be there.

    Raises:
        PluginError: it is not installed; code "missing-package".
    """
    try:
        from pymongo.auth_oidc import OIDCCallback
    except ImportError:
        pass
    else:
        _ = OIDCCallback.register(PyMongoTokens)
        return
    raise PluginError(
        "mongodb",
        "",
        "PyMongo is not installed, or too old for MONGODB-OIDC: pip install 'sasl-core[mongodb]'",
        code="missing-package",
    )


def _source_of(client: Client) -> CredentialsPlug:
    source = client.core.credentials()
    if source is None:
        raise UsageError("a source of tokens has a name, as 'sasl plugins' lists credentials")
    return source


def _left(request: TokenRequest, begin: float) -> float:
    """What is left of its time since `begin`, in seconds."""
    return max(0.0, request.deadline - (time.monotonic() - begin))


def _in_time(request: TokenRequest, begin: float) -> TokenRequest:
    return evolve(request, deadline=_left(request, begin))


def _checked(source: CredentialsPlug, request: TokenRequest) -> Needs[AccessToken]:
    return check_access_token((yield from source.token(request)))
