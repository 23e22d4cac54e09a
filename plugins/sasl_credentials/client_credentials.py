"""Tokens that an identity provider gives us in our own name (entry point `client_credentials`).

Source: RFC 6749 section 4.4; RFC 8707 (`resource`); OpenID Connect Core 1.0 section 9 (the
names of the ways to show a secret).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from sasl_core.plugin import ConfigError, CredentialsPlug, UsageError, hookimpl
from sasl_credentials.answers import parse_token_response
from sasl_credentials.grants import (
    SECONDS,
    AuthMethod,
    find_token_endpoint,
    post_form,
    show_client,
)
from sasl_credentials.secret_files import read_secret
from sasl_credentials.unconfigured import Unconfigured
from sasl_tokens.discovery import time_left
from sasl_tokens.forms import form
from sasl_tokens.urls import UrlProblem, check_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sasl_core.plugin import AccessToken, Needs, SaslUtils, TokenRequest

__all__ = [
    "SASL_PLUGIN_API",
    "AuthMethod",
    "ClientCredentials",
    "ClientCredentialsOptions",
    "sasl_credentials_init",
]

SASL_PLUGIN_API = 1


@attrs.frozen
class ClientCredentialsOptions:
    """The options of `[credentials.client_credentials]`.

    `client_id`: who we are; mandatory. `issuer`: the provider, whose token endpoint is then
    discovered; or `token_endpoint` itself. `client_secret`, or the file that it is in.
    `auth_method`: how it is shown. `scope`, `resource`, `audience`: what the token is to be
    good for, in the words that the provider understands. `ca_file`: PEM of the authorities
    that alone are trusted. `allow_loopback_http`: http:// is allowed, of this machine.
    """

    client_id: str = ""
    issuer: str | None = None
    token_endpoint: str | None = None
    client_secret: str | None = attrs.field(default=None, repr=False)
    client_secret_file: Path | None = None
    auth_method: AuthMethod = AuthMethod.BASIC
    scope: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    audience: str | None = None
    ca_file: Path | None = None
    allow_loopback_http: bool = False


class ClientCredentials(CredentialsPlug):
    """Tokens by the client credentials grant.

    What a server says of its provider is not heeded: the secret goes to the configured one
    and to no other.

    Raises:
        ConfigError: `options` name no provider or no secret, or two; an address that may not
            be asked; or a text that cannot stand in a form. `key` says which.
    """

    name = "client_credentials"

    def __init__(
        self, options: ClientCredentialsOptions, *, clock: Callable[[], float] = time.time
    ) -> None:
        _one_of(options, "issuer", "token_endpoint")
        _one_of(options, "client_secret", "client_secret_file")
        if not options.client_id:
            raise ConfigError("the option is missing", key=_key("client_id"))
        for name in ("issuer", "token_endpoint"):
            url: str | None = getattr(options, name)
            if url is not None:
                _ = _checked(url, name, options)
        for name in ("client_id", "client_secret", "scope", "resource", "audience"):
            _check_form(options, name)
        self._options = options
        self._clock = clock

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        begin, deadline = time.monotonic(), min(request.deadline, SECONDS)
        options = self._options
        ca_file = None if options.ca_file is None else str(options.ca_file)
        endpoint = options.token_endpoint
        if endpoint is None:
            endpoint = yield from find_token_endpoint(
                options.issuer or "",
                deadline,
                ca_file=ca_file,
                allow_loopback_http=options.allow_loopback_http,
            )
        cleartext = _checked(endpoint, "token_endpoint", options)
        secret = options.client_secret
        if options.client_secret_file is not None:
            secret = yield from read_secret(options.client_secret_file, "the client's secret")
        fields = [("grant_type", "client_credentials")]
        if options.scope:
            fields.append(("scope", " ".join(options.scope)))
        fields.extend(("resource", each) for each in options.resource)
        if options.audience is not None:
            fields.append(("audience", options.audience))
        own, client = show_client(options.client_id, secret or "", options.auth_method)
        fields.extend(own)
        response = yield from post_form(
            endpoint,
            tuple(fields),
            client=client,
            ca_file=ca_file,
            cleartext=cleartext,
            deadline=time_left(begin, deadline, time.monotonic, endpoint),
        )
        return parse_token_response(response, self._clock())


def _key(name: str) -> str:
    return f"credentials.client_credentials.{name}"


def _one_of(options: ClientCredentialsOptions, first: str, second: str) -> None:
    given = [name for name in (first, second) if getattr(options, name) not in (None, "")]
    if not given:
        raise ConfigError(f"the option is missing; or give {second}", key=_key(first))
    if len(given) == 2:
        raise ConfigError(f"{first} is given too; keep one", key=_key(second))


def _check_form(options: ClientCredentialsOptions, name: str) -> None:
    value: str | tuple[str, ...] | None = getattr(options, name)
    try:
        _ = [form(each) for each in ([value] if isinstance(value, str) else value or ())]
    except UsageError as error:
        problem = str(error)
    else:
        return
    raise ConfigError(problem, key=_key(name))


def _checked(url: str, name: str, options: ClientCredentialsOptions) -> bool:
    """Whether the address is one of clear text.

    Raises:
        ConfigError: it is none that may be asked.
    """
    try:
        return check_url(url, what=name, allow_loopback_http=options.allow_loopback_http)[1]
    except UrlProblem as error:
        problem = error.problem.replace("allowLoopbackHttp", "allow_loopback_http")
    raise ConfigError(problem, key=_key(name))


@hookimpl
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """The configured client."""
    options = utils.options(ClientCredentialsOptions)
    if options == ClientCredentialsOptions():
        return [Unconfigured(ClientCredentials.name, "client_id")]
    return [ClientCredentials(options, clock=utils.clock)]
