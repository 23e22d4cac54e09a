"""A token as one mechanism of a server sees it: by that mechanism's own options.

Invariant: whose a token is, is decided by what the mechanism itself decides by; the stores, which
may have locked the user, or have to know it, are not asked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from sasl_cli.importing.records import RecordError, exact_name
from sasl_core.plugin import ConfigError, UsageError, printable, record
from sasl_tokens.bearer_options import BearerOptions, Validation
from sasl_tokens.bearer_validators import BearerRequest, validator_of
from sasl_tokens.errors import TokenError
from sasl_tokens.login import TokenLogin
from sasl_tokens.manager import idp_manager
from sasl_tokens.names import Namespaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core import Configuration, Server
    from sasl_core.plugin import Needs, ValidatedToken

__all__ = ["View", "view_of"]

MONGODB: Final = "MONGODB-OIDC"
BEARERS: Final = ("OAUTHBEARER", "XOAUTH2")


@record
class View:
    """How `mechanism` looks at tokens.

    `audience`: whom a token has to be for, where the providers do not say that. `signed`: it is
    judged by its signature, and not by what its issuer says when it is asked.
    """

    mechanism: str
    audience: str | None
    signed: bool
    validate: Callable[[str], Needs[ValidatedToken]]


@record
class _Mongodb:
    """The options of MONGODB-OIDC; the defaults of the names are the library's."""

    user_namespace: str = Namespaces().user
    role_namespace: str = Namespaces().role
    allow_loopback_http: bool = False


def view_of(server: Server, settings: Configuration, mechanism: str, *, bare: bool) -> View:
    """The view of `mechanism`. `bare`: by the one provider of the command line, for whose names
    no option says what they are called.

    Raises:
        UsageError: it takes no access tokens, or nobody but the application can judge them.
        ConfigError: its options are wrong, or no identity provider is configured.
        PluginError: it is not installed.
    """
    if mechanism != MONGODB and mechanism not in BEARERS:
        names = ", ".join((MONGODB, *BEARERS))
        raise UsageError(
            f"{printable(mechanism, 40)!r} takes no access tokens; those that do: {names}"
        )
    manager = idp_manager(server.utils)
    # As a server has it: an option that is wrong is told by the mechanism.
    _ = server.core.plugs.get("mechanisms", mechanism)
    if mechanism == MONGODB:
        if not manager.configured:
            raise _no_provider(settings)
        mongodb = settings.plugin_options("mechanisms", mechanism, _Mongodb)
        named = Namespaces(mongodb.user_namespace, mongodb.role_namespace)
        validate = partial(manager.authenticate, namespaces=Namespaces() if bare else named)
        return View(mechanism, None, signed=True, validate=validate)
    options = settings.plugin_options("mechanisms", mechanism, BearerOptions)
    if options.validation is Validation.APPLICATION:
        raise UsageError(
            f"[mechanisms.{mechanism}] has validation = 'application': nobody but the application "
            "can say whose a token is"
        )
    signed = options.validation is Validation.TOKENS
    if bare and not signed:
        raise UsageError(
            f"--issuer does not go with [mechanisms.{mechanism}], which asks the token's issuer "
            "(validation = 'introspection')"
        )
    if signed and not manager.configured:
        raise _no_provider(settings)
    if bare:
        options = attrs.evolve(options, plain_names=None, user_namespace=None, role_namespace=None)
    validator = validator_of(server.utils, options)
    problem = validator.availability()
    if problem is not None:
        raise ConfigError(problem, key=f"mechanisms.{mechanism}")
    core = server.core
    request = BearerRequest(mechanism, core.service, core.host, None, None, options.scope)

    def by_options(token: str) -> Needs[ValidatedToken]:
        login = yield from validator.validate(token, request)
        if not isinstance(login, TokenLogin):
            manager.check_unprefixed(login.principal)
            _check_name(login.principal)
        return login

    return View(mechanism, options.audience, signed, by_options)


def _check_name(principal: str) -> None:
    """Refuse a name that a server lets nobody log in by, whoever vouches for it.

    Raises:
        TokenError: token-identity.
    """
    try:
        _ = exact_name(principal)
    except RecordError as error:
        problem = str(error)
    else:
        return
    raise TokenError("token-identity", problem)


def _no_provider(settings: Configuration) -> UsageError:
    return UsageError(
        f"no identity provider is configured for {settings.appname!r}: give --issuer and "
        "--audience, or the --config and --appname that have some"
    )
