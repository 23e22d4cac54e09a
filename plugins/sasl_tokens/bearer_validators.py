"""Who says whether a bearer token is good, and whose it is: one of three.

`ByProviders`: the identity providers of the configuration read a signed token.
`ByIntrospection`: its issuer is asked (RFC 7662). `ByApplication`: a callable of the
application's own, given to `set_validator`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from sasl_core.plugin import BackendError, ConfigError, UsageError, ValidatedToken, record
from sasl_tokens.bearer_options import Validation
from sasl_tokens.errors import TokenError
from sasl_tokens.names import Namespaces
from sasl_tokens.scopes import require_scopes

if TYPE_CHECKING:
    from sasl_core.plugin import Needs, SaslUtils
    from sasl_tokens.bearer_options import BearerOptions

__all__ = ["BearerRequest", "TokenValidator", "Validator", "set_validator", "validator_of"]


@record
class BearerRequest:
    """What a validator of the application is told besides the token.

    `remote`: "address;port" of the client, if known. `wanted`: the name that it asks for, or
    None; whether it may have it is decided afterwards, by the proxy policy. `scope`: what the
    configuration demands; whoever finds one missing raises
    `TokenError("token-scope", detail)`.
    """

    mechanism: str
    service: str
    host: str
    remote: str | None
    wanted: str | None
    scope: tuple[str, ...]


TokenValidator: TypeAlias = Callable[
    [str, BearerRequest],
    "ValidatedToken | Needs[ValidatedToken] | Needs[ValidatedToken | None] | None",
]
"""Whose a token is; None refuses it. What has to wait is a generator of needs
(`yield from NeedCall(...)`, `NeedHttp`): a plain function must not block. An outage is a
`BackendError`."""


def set_validator(utils: SaslUtils, validator: TokenValidator | None) -> None:
    """Have `validator` check the tokens of this Server where `validation = "application"`.

    `utils`: the Server's. Sessions from now on are offered what it makes possible; None takes
    the validator away.
    """
    utils.shared(_HOOK, _Hook).validator = validator
    utils.reconsider()


class _Hook:
    """Where the application's validator is kept."""

    validator: TokenValidator | None = None


_HOOK: Final = "bearer-validator"


# --- who checks --------------------------------------------------------------------------


class Validator(Protocol):
    """One of the three ways."""

    def availability(self) -> str | None:
        """Why it cannot be used; None: it can."""
        ...

    def configuration(self) -> str | None:
        """Where a client learns of the provider, if that is known."""
        ...

    def validate(self, token: str, request: BearerRequest) -> Needs[ValidatedToken]:
        """Whose `token` is.

        Raises:
            AuthenticationError: it is refused.
            BackendError: nobody can say now.
        """
        ...


class ByProviders:
    """The identity providers of the configuration."""

    def __init__(self, utils: SaslUtils, options: BearerOptions) -> None:
        from sasl_tokens.manager import idp_manager

        self._manager = idp_manager(utils)
        self._namespaces = Namespaces(options.user_namespace or "", options.role_namespace or "")
        self._plain_names = bool(options.plain_names)

    def availability(self) -> str | None:
        if not self._manager.configured:
            return "no identity provider is configured: add [[identity_providers]], or validation"
        return self._manager.plain_names_problem if self._plain_names else None

    def configuration(self) -> str | None:
        issuers = {provider.config.issuer for provider in self._manager.providers}
        if len(issuers) != 1:
            return None
        return f"{issuers.pop().removesuffix('/')}/.well-known/openid-configuration"

    def validate(self, token: str, request: BearerRequest) -> Needs[ValidatedToken]:
        login = yield from self._manager.authenticate(
            token, namespaces=self._namespaces, plain_names=self._plain_names
        )
        require_scopes(login.scopes, request.scope)
        return login


class ByIntrospection:
    """The token's issuer."""

    def __init__(self, utils: SaslUtils, options: BearerOptions) -> None:
        from sasl_tokens.introspection import Endpoint, Introspector
        from sasl_tokens.urls import check_url

        url, cleartext = check_url(
            options.introspection_url or "",
            what="introspection_url",
            allow_loopback_http=bool(options.allow_loopback_http),
        )
        self._issuer = options.issuer
        endpoint = Endpoint(
            url,
            options.client_id or "",
            _secret(utils, options),
            cleartext=cleartext,
            ca_file=str(options.introspection_ca_file) if options.introspection_ca_file else None,
            deadline=options.introspection_deadline or 10.0,
            issuer=options.issuer,
            audience=options.audience,
            scope=options.scope,
            principal_claim=options.principal_claim or "sub",
        )
        self._introspector = Introspector(endpoint, utils.clock)

    def availability(self) -> str | None:
        return None

    def configuration(self) -> str | None:
        if self._issuer is None or not self._issuer.startswith("https://"):
            return None
        return f"{self._issuer.removesuffix('/')}/.well-known/openid-configuration"

    def validate(self, token: str, request: BearerRequest) -> Needs[ValidatedToken]:
        del request
        return (yield from self._introspector.validate(token))


def _secret(utils: SaslUtils, options: BearerOptions) -> str:
    if options.client_secret_file is None:  # pragma: no cover - the options have checked it.
        raise ConfigError("client_secret_file is missing")
    secret = utils.read_text(options.client_secret_file).rstrip("\r\n")
    if not secret or not secret.isprintable():
        raise ConfigError(
            "the file holds no secret of one line",
            key=f"mechanisms.{utils.name}.client_secret_file",
        )
    return secret


class ByApplication:
    """What the application gave to `set_validator`."""

    def __init__(self, utils: SaslUtils) -> None:
        self._hook = utils.shared(_HOOK, _Hook)

    def availability(self) -> str | None:
        if self._hook.validator is not None:
            return None
        return "the application gave no validator: sasl_tokens.bearer.set_validator"

    def configuration(self) -> str | None:
        return None

    def validate(self, token: str, request: BearerRequest) -> Needs[ValidatedToken]:
        validator = self._hook.validator
        if validator is None:
            raise BackendError(
                code="no-validator", detail="the application's validator is gone", temporary=False
            )
        answer = validator(token, request)
        if isinstance(cast("object", answer), Coroutine):
            cast("Coroutine[object, object, object]", answer).close()
            raise UsageError(
                "a validator is no async def: what has to wait is a generator of needs, as "
                "`yield from NeedCall(...)`",
                code="async-validator",
            )
        if isinstance(answer, Generator):
            answer = yield from answer
        if answer is None:
            raise TokenError("token-inactive", "the application's validator refuses the token")
        # It is the application's: what it returns may be of any type.
        if not isinstance(cast("object", answer), ValidatedToken):
            raise UsageError(
                f"a validator returns a ValidatedToken or None, not a {type(answer).__name__}"
            )
        return answer


def validator_of(utils: SaslUtils, options: BearerOptions) -> Validator:
    """The one that the options choose.

    Raises:
        ConfigError: an option, or a file that it names, is wrong.
    """
    if options.validation is Validation.TOKENS:
        return ByProviders(utils, options)
    if options.validation is Validation.INTROSPECTION:
        return ByIntrospection(utils, options)
    return ByApplication(utils)
