"""The options of `[mechanisms.OAUTHBEARER]` and of `[mechanisms.XOAUTH2]`.

An option that has nothing to do with the chosen `validation` is an error, for whoever wrote
it believes in a check that nobody makes.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import ConfigError, UsageError, printable
from sasl_tokens.names import Namespaces
from sasl_tokens.scopes import is_scope
from sasl_tokens.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import SaslUtils

__all__ = ["BearerOptions", "Validation", "bearer_options"]


class Validation(Enum):
    """Who says whether a token is good, and whose it is."""

    TOKENS = "tokens"
    INTROSPECTION = "introspection"
    APPLICATION = "application"


def _scopes(_options: object, _field: object, scopes: tuple[str, ...]) -> None:
    for scope in scopes:
        if not is_scope(scope):
            raise ConfigError(f"{printable(scope, 40)!r} is no scope (RFC 6749 section 3.3)")


def _address(_options: object, _field: object, url: str | None) -> None:
    if url is not None:
        _ = check_url(url, what="the address", allow_loopback_http=True)


def _filled(_options: object, _field: object, value: str | None) -> None:
    if value is not None and (not value or not value.isprintable()):
        raise ConfigError("it is empty, or holds what cannot be printed")


def _namespace(_options: object, _field: object, namespace: str | None) -> None:
    try:
        _ = Namespaces(namespace or "", "")
    except UsageError as error:
        problem = str(error)
    else:
        return
    raise ConfigError(problem)


def _seconds(_options: object, _field: object, value: float | None) -> None:
    if value is not None and not 0.1 <= value <= 60:
        raise ConfigError("expected from 0.1 to 60 seconds")


@attrs.frozen
class BearerOptions:
    """The options of a bearer mechanism.

    `validation`: "tokens", the identity providers of the configuration check a signed token
    (the default); "introspection", its issuer is asked (RFC 7662); "application", the callable
    that was given to `sasl_tokens.bearer.set_validator`. `scope`: what a token has to be good
    for, each of them. `openid_configuration`: the address where a client learns of the
    provider; by default that of the only provider there is.

    With "tokens": `plain_names`: users are called what the provider calls them, without its
    prefix. `user_namespace`, `role_namespace`: what stands before these names, "" by default.

    With "introspection": `introspection_url`; `client_id` and `client_secret_file`, who we are
    to it; `introspection_ca_file`, whose certificates alone are trusted; `issuer` and
    `audience`, what the answer has to name; `principal_claim`, the member that names the user
    ("sub"); `introspection_deadline` in seconds (10); `allow_loopback_http`, for an endpoint on
    this very machine. One of `audience` and `scope` is needed: otherwise a token that was
    given to any other service would do.
    """

    validation: Validation = Validation.TOKENS
    scope: tuple[str, ...] = attrs.field(default=(), validator=_scopes)
    openid_configuration: str | None = attrs.field(default=None, validator=_address)
    plain_names: bool | None = None
    user_namespace: str | None = attrs.field(default=None, validator=_namespace)
    role_namespace: str | None = attrs.field(default=None, validator=_namespace)
    introspection_url: str | None = attrs.field(default=None, validator=_address)
    introspection_ca_file: Path | None = None
    introspection_deadline: float | None = attrs.field(default=None, validator=_seconds)
    allow_loopback_http: bool | None = None
    client_id: str | None = attrs.field(default=None, validator=_filled)
    client_secret_file: Path | None = None
    issuer: str | None = attrs.field(default=None, validator=_filled)
    audience: str | None = attrs.field(default=None, validator=_filled)
    principal_claim: str | None = attrs.field(default=None, validator=_filled)

    def problem(self) -> str | None:
        """What is wrong with the options together; each by itself has been checked."""
        for name, validation in _ONLY.items():
            if validation is not self.validation and getattr(self, name) is not None:
                return f"{name} is for validation = {validation.value!r} only"
        if self.validation is not Validation.INTROSPECTION:
            return None
        for name in ("introspection_url", "client_id", "client_secret_file"):
            if getattr(self, name) is None:
                return f"validation = 'introspection' needs {name}"
        if self.audience is None and not self.scope:
            return (
                "validation = 'introspection' needs audience or scope: otherwise a token that was "
                "given to any other service would do"
            )
        if str(self.introspection_url).startswith("http:") and not self.allow_loopback_http:
            return "introspection_url: http to this machine needs allow_loopback_http"
        return None


def bearer_options(utils: SaslUtils) -> BearerOptions:
    """The options of the mechanism that `utils` are of.

    Raises:
        ConfigError: one is wrong by itself or beside the others.
    """
    options = utils.options(BearerOptions)
    problem = options.problem()
    if problem is not None:
        raise ConfigError(problem, key=f"mechanisms.{utils.name}")
    return options


_ONLY: Final[Mapping[str, Validation]] = {
    **dict.fromkeys(("plain_names", "user_namespace", "role_namespace"), Validation.TOKENS),
    **dict.fromkeys(
        (
            "introspection_url",
            "introspection_ca_file",
            "introspection_deadline",
            "allow_loopback_http",
            "client_id",
            "client_secret_file",
            "issuer",
            "audience",
            "principal_claim",
        ),
        Validation.INTROSPECTION,
    ),
}
