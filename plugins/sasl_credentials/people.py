"""The options of the sources that send a person to an identity provider.

Invariant: a secret belongs to a configured client of a configured issuer, and is shown to no
other.

Source: RFC 6749 sections 2.3.1 and 3.3; RFC 8707.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import BackendError, ConfigError, UsageError
from sasl_credentials.grants import AuthMethod
from sasl_tokens.forms import form
from sasl_tokens.hosts import ALLOWED_HOSTS
from sasl_tokens.urls import UrlProblem, check_url, origin_and_path

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SCOPE", "PersonOptions", "address_problem", "check_options", "form_problem", "odd"]

SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")
"""One scope (RFC 6749 section 3.3), of a length with an end."""


@attrs.frozen
class PersonOptions:
    """The options of every source that sends a person somewhere.

    `issuer`: the provider, and `client_id`: who we are there. Both may be left out where the
    server says them (MONGODB-OIDC). `client_secret`, or the file that it is in: of a client that
    has one; `auth_method`: how it is shown. `scope`: what the token may do; without it, what
    the server asks for. `resource`, `audience`: what it is for. `allowed_hosts`: the servers that
    the token may be shown to. `ca_file`: PEM of the authorities that alone are trusted.
    `allow_loopback_http`: http:// is allowed, of this machine.
    """

    issuer: str | None = None
    client_id: str = ""
    client_secret: str | None = attrs.field(default=None, repr=False)
    client_secret_file: Path | None = None
    auth_method: AuthMethod = AuthMethod.BASIC
    scope: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    audience: str | None = None
    allowed_hosts: tuple[str, ...] = ALLOWED_HOSTS
    ca_file: Path | None = None
    allow_loopback_http: bool = False


def check_options(options: PersonOptions, source: str) -> None:
    """Refuse options that lead to no login, when the source is made.

    Raises:
        ConfigError: `key` says which option it is.
    """

    def wrong(name: str, problem: str) -> ConfigError:
        return ConfigError(problem, key=f"credentials.{source}.{name}")

    if options.issuer is not None:
        problem = address_problem(options.issuer, options)
        if problem is not None:
            raise wrong("issuer", problem)
    secrets = [n for n in ("client_secret", "client_secret_file") if getattr(options, n)]
    if len(secrets) == 2:
        raise wrong("client_secret_file", "client_secret is given too; keep one")
    for name in ("issuer", "client_id") if secrets else ():
        if not getattr(options, name):
            # Otherwise the server would say who gets to see the secret.
            raise wrong(name, f"the option is missing; {secrets[0]} is shown to nobody else")
    for scope in options.scope:
        if SCOPE.fullmatch(scope) is None:
            raise wrong("scope", "a scope is printable ASCII without blanks, quotes and \\")
    for name in ("client_id", "client_secret", "resource", "audience"):
        value: str | tuple[str, ...] | None = getattr(options, name)
        problem = form_problem((value,) if isinstance(value, str) else value or ())
        if problem is not None:
            raise wrong(name, problem)


def form_problem(values: Iterable[str]) -> str | None:
    """Why `values` can be sent in no form; None: they can."""
    try:
        _ = [form(each) for each in values]
    except UsageError as error:
        return str(error)
    return None


def address_problem(issuer: str, options: PersonOptions) -> str | None:
    """Why `issuer` is none that is asked under these options; None: it is."""
    try:
        _ = check_url(issuer, what="the issuer", allow_loopback_http=options.allow_loopback_http)
        _ = origin_and_path(issuer)
    except UrlProblem as error:
        return error.problem.replace("allowLoopbackHttp", "allow_loopback_http")
    return None


def odd(code: str, problem: str) -> BackendError:
    """What a provider says makes no sense, and will make none the next time."""
    return BackendError(code=code, detail=problem, temporary=False)
