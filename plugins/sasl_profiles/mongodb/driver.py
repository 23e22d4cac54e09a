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
nobody out, for PyMongo would hand it in for ever.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC", OIDC_CALLBACK,
OIDC_HUMAN_CALLBACK and ALLOWED_HOSTS.
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol, cast

from attrs import evolve

from sasl_core import Client, TokenRequest
from sasl_core.plugin import (
    BackendError,
    PeerError,
    PluginError,
    SaslError,
    UsageError,
)
from sasl_tokens.hosts import ALLOWED_HOSTS, check_host, check_patterns
from sasl_tokens.sent import check_access_token

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from pymongo.auth_oidc import OIDCCallbackResult

    from sasl_core import Configuration
    from sasl_core.plugin import AccessToken, CredentialsPlug, HttpRequest, HttpResponse, Needs
    from sasl_http import HttpTransport

__all__ = ["PyMongoTokens"]

MECHANISM: Final = "MONGODB-OIDC"

_NUMERIC: Final = re.compile(r"\*\.[0-9.]+")

PATIENCE: Final = 60.0
"""How long an outage of a person's provider is waited out, before the person is asked anew."""


class _Provider(Protocol):
    """What a server said of its provider, unread: `pymongo.auth_oidc.OIDCIdPInfo`."""

    @property
    def issuer(self) -> object: ...
    @property
    def clientId(self) -> object: ...  # noqa: N802 - PyMongo's name.
    @property
    def requestScopes(self) -> object: ...  # noqa: N802


class _Context(Protocol):
    """What PyMongo tells: `pymongo.auth_oidc.OIDCCallbackContext`."""

    @property
    def timeout_seconds(self) -> float: ...
    @property
    def username(self) -> str: ...
    @property
    def refresh_token(self) -> str | None: ...
    @property
    def idp_info(self) -> _Provider | None: ...


class PyMongoTokens:
    """A callback of PyMongo's, OIDC_CALLBACK or OIDC_HUMAN_CALLBACK, that asks `source`.

    `source`: a plug, which stays yours to close, or the name of an installed one. `host`: the
    server, or the name that stands for all of a deployment, as sources are told. `config`: as for
    `Client`; its table `[credentials.NAME]` is that of a source which is named. `http`: the
    transport for sources that ask over the net, by default one of our own.

    Safe to share between MongoClients and threads: the source is asked by one at a time, the
    others wait as long as they have time. It runs in the thread in which PyMongo calls: the
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
    ) -> None:
        _register()
        self._own: HttpTransport | None = None
        if http is None:
            from sasl_http import HttpTransport

            http = self._own = HttpTransport()
        self._client = Client("mongodb", host, config=config, credentials=source, http=http)
        try:
            self._source = _source_of(self._client)
            self._hosts = _hosts_of(self._source)
            if self._source.human:
                check_host(host, self._hosts)
        except SaslError:
            self.close()
            raise
        self._lock = threading.Lock()
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

    def fetch(self, context: _Context) -> OIDCCallbackResult:
        """A new token. PyMongo calls this.

        Raises:
            AuthenticationError: the provider refused us. BackendError: it cannot give one now.
            PeerError: what the server said of its provider makes no sense.
            UsageError: a person's source stands in the place of a machine's; what the source gave
                is no access token.
        """
        from pymongo.auth_oidc import OIDCCallbackResult

        client, source = self._client, self._source
        try:
            token = self._ask(_request(client.core.host, source, context))
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

    def _ask(self, request: TokenRequest) -> AccessToken:
        begin = time.monotonic()
        if not self._lock.acquire(timeout=max(0.0, min(request.deadline, threading.TIMEOUT_MAX))):
            raise BackendError(code="timeout", detail="another login still waits for its token")
        try:
            return self._client.run(self._token(request, begin))
        finally:
            self._lock.release()

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


def _hosts_of(source: CredentialsPlug) -> tuple[str, ...]:
    """The hosts that a person's token may be shown to, as PyMongo compares them: letter by letter.

    Raises:
        ConfigError: one of them is no host.
    """
    given = source.allowed_hosts
    checked = check_patterns(ALLOWED_HOSTS if given is None else given)
    hosts = (host.lower().removesuffix(".").strip("[]") for host in checked)
    # To us an address has no labels; PyMongo would take any that ends so.
    return tuple(host for host in hosts if not _NUMERIC.fullmatch(host))


def _request(host: str, source: CredentialsPlug, context: _Context) -> TokenRequest:
    """What PyMongo asks, in our words.

    Raises:
        PeerError: what the server said of its provider makes no sense; code "oidc-message".
        UsageError: nobody has looked at the host, and the source is a person's.
    """
    asked: tuple[str | None, str | None, tuple[str, ...]] = (None, None, ())
    told = context.idp_info
    if told is not None:
        asked = (
            _printable(told.issuer, "issuer"),
            None if told.clientId is None else _printable(told.clientId, "clientId"),
            _scopes(told.requestScopes),
        )
    elif source.human:
        raise UsageError(
            f"credentials {source.name!r} ask a person: give them as OIDC_HUMAN_CALLBACK, with "
            "which PyMongo looks at ALLOWED_HOSTS first; properties() has both",
            code="host-not-allowed",
        )
    return TokenRequest(
        "mongodb",
        host,
        context.username or None,
        *asked,
        refresh_token=context.refresh_token if source.human else None,
        deadline=float(context.timeout_seconds),
    )


def _printable(value: object, field: str) -> str:
    # It goes into requests, onto screens and into logs, and the server is a stranger.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise PeerError(
            f"{field} of the server's provider is no printable text", code="oidc-message"
        )
    return value


def _scopes(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise PeerError("requestScopes of the server's provider is no array", code="oidc-message")
    return tuple(_printable(each, "requestScopes") for each in cast("list[object]", value))


def _in_time(request: TokenRequest, begin: float) -> TokenRequest:
    """The request, with what is left of its time since `begin`."""
    return evolve(request, deadline=max(0.0, request.deadline - (time.monotonic() - begin)))


def _checked(source: CredentialsPlug, request: TokenRequest) -> Needs[AccessToken]:
    return check_access_token((yield from source.token(request)))
